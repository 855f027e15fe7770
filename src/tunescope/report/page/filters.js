"use strict";
// Which runs the page shows: by group, seed and layer. What follows listens for "narrowed".
const known = JSON.parse(document.getElementById("known").textContent);
const chosen = {
  groups: new Set(known.groups.keys()),
  seeds: new Set(known.seeds),
  first: known.layers.length ? known.layers[0] : 0,
  last: known.layers.length ? known.layers[known.layers.length - 1] : 0,
};
const placeOf = new Map(known.groups.map((group, place) => [group, place]));
const runsByName = new Map(Object.entries(known.runs));
const settingsByName = new Map(Object.entries(known.settings));

const allGroups = () => chosen.groups.size === known.groups.length;
const allSeeds = () => chosen.seeds.size === known.seeds.length;
const allLayers = () =>
  !known.layers.length || (chosen.first === known.layers[0] && chosen.last === known.layers[known.layers.length - 1]);
const showsAll = () => allGroups() && allSeeds() && allLayers();

/** The place of a name's group and its seed: of a run, or of a setting, which has no seed. */
function whose(name) {
  if (runsByName.has(name)) return runsByName.get(name);
  return settingsByName.has(name) ? [settingsByName.get(name), null] : null;
}

function showsName(name) {
  const owner = whose(name);
  return !owner || (chosen.groups.has(owner[0]) && (owner[1] === null || chosen.seeds.has(owner[1])));
}

const showsGroup = (group) => !placeOf.has(group) || chosen.groups.has(placeOf.get(group));
const showsSeed = (seed) => seed === null || seed === "" || allSeeds() || chosen.seeds.has(Number(seed));
const showsLayer = (layer) => layer === null || layer === "" || (layer >= chosen.first && layer <= chosen.last);

{
  const form = document.getElementById("filters");
  const named = (name) => (form ? Array.from(form.querySelectorAll(`input[name="${name}"]`)) : []);
  const [from, to] = ["first", "last"].map((name) => form && form.querySelector(`select[name="${name}"]`));

  const read = () => {
    chosen.groups = new Set(named("group").filter((box) => box.checked).map((box) => Number(box.value)));
    chosen.seeds = new Set(named("seed").filter((box) => box.checked).map((box) => Number(box.value)));
    if (!named("group").length) chosen.groups = new Set(known.groups.keys());
    if (!named("seed").length) chosen.seeds = new Set(known.seeds);
    if (from) [chosen.first, chosen.last] = [from, to].map((select) => Number(select.value)).sort((a, b) => a - b);
  };

  const address = () => {
    const parts = new URLSearchParams();
    if (!allGroups()) parts.set("groups", Array.from(chosen.groups, (place) => known.groups[place]).join("\n"));
    if (!allSeeds()) parts.set("seeds", Array.from(chosen.seeds).join(" "));
    if (!allLayers()) parts.set("layers", `${chosen.first} ${chosen.last}`);
    if (String(parts) || location.hash.startsWith("#only?")) {
      history.replaceState(null, "", String(parts) ? `#only?${parts}` : "#");
    }
  };

  const recall = () => {
    if (!location.hash.startsWith("#only?")) return false;
    const parts = new URLSearchParams(location.hash.slice("#only?".length));
    const among = (key, apart, all) => (parts.has(key) ? parts.get(key).split(apart) : all);
    const groups = among("groups", "\n", known.groups);
    const seeds = among("seeds", " ", known.seeds.map(String));
    const layers = among("layers", " ", []);
    for (const box of named("group")) box.checked = groups.includes(known.groups[box.value]);
    for (const box of named("seed")) box.checked = seeds.includes(box.value);
    if (from && layers.length === 2 && layers.every((layer) => known.layers.includes(Number(layer)))) {
      [from.value, to.value] = layers;
    }
    return true;
  };

  const tell = () => {
    const rows = Array.from(document.querySelectorAll("#runs tbody tr"));
    for (const row of rows) row.hidden = !showsName(row.cells[0].dataset.value);
    for (const part of document.querySelectorAll("[data-group], [data-seed]")) {
      part.hidden = !showsGroup(part.dataset.group ?? "") || !showsSeed(part.dataset.seed ?? "");
    }
    const shown = rows.filter((row) => !row.hidden).length;
    const layers = allLayers() ? "" : `, layers ${chosen.first} to ${chosen.last}`;
    form.querySelector("output").textContent =
      shown === rows.length ? `showing all ${rows.length} runs${layers}` : `showing ${shown} of ${rows.length} runs${layers}`;
    form.classList.toggle("narrowed", !showsAll());
  };

  if (form) {
    form.hidden = false;
    const panel = form.querySelector("details");
    const apply = () => {
      read();
      address();
      tell();
      document.dispatchEvent(new Event("narrowed"));
    };
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", apply);
    form.querySelector("button[type=reset]").addEventListener("click", (event) => {
      event.preventDefault();
      form.reset();
      apply();
    });
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !panel.open) return;
      panel.open = false;
      panel.querySelector("summary").focus();
    });
    for (const button of form.querySelectorAll("button[data-set]")) {
      button.addEventListener("click", () => {
        for (const box of button.closest("fieldset").querySelectorAll("input")) box.checked = button.dataset.set === "all";
        apply();
      });
    }
    addEventListener("hashchange", () => recall() && apply());
    recall();
    read();
    tell();
    if (!showsAll()) addEventListener("DOMContentLoaded", () => document.dispatchEvent(new Event("narrowed")));
  }
}
