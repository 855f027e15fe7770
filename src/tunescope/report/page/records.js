"use strict";
// What a chart draws: the records inside its Vega-Lite document, and those of them that are chosen.
const NAMES = ["run", "setting", "first", "second"];
const PARTS = ["layer", "concat", "hconcat", "vconcat"];

/** The document with records in the place of their columns, as `report/packed.py` wrote them. */
function unpacked(node) {
  const own = { ...node };
  if (node.data?.packed) {
    const values = node.data.packed.flatMap((block) => {
      const columns = Object.entries(block).map(([name, column]) => [
        name,
        Array.isArray(column) ? column : column.at.map((place) => structuredClone(column.of[place])),
      ]);
      return columns[0][1].map((_, row) => Object.fromEntries(columns.map(([name, column]) => [name, column[row]])));
    });
    own.data = { ...node.data, values };
    delete own.data.packed;
  }
  for (const part of PARTS) if (Array.isArray(node[part])) own[part] = node[part].map(unpacked);
  if (node.spec) own.spec = unpacked(node.spec);
  return own;
}

/** The document with other records in every one of its data sets; `change` gets records and panel's title. */
function withRecords(node, change, panel = "") {
  const own = { ...node };
  if (typeof node.title === "string") panel = node.title;
  if (node.data && Array.isArray(node.data.values)) own.data = { ...node.data, values: change(node.data.values, panel, node) };
  for (const part of PARTS) if (Array.isArray(node[part])) own[part] = node[part].map((one) => withRecords(one, change, panel));
  if (node.spec) own.spec = withRecords(node.spec, change, panel);
  return own;
}

/** Whether a record without lists is chosen. */
function isChosen(record) {
  return (
    showsGroup(record.group) &&
    NAMES.every((name) => showsName(record[name])) &&
    showsSeed(record.seed ?? null) &&
    showsLayer(record.layer ?? null)
  );
}

const isOwned = (record) =>
  placeOf.has(record.group) || NAMES.some((name) => [record[name]].flat().some((one) => whose(one)));

/** Whether it is of single runs, so that a choice of seeds can narrow it. */
const hasSeed = (record) =>
  record.seed !== undefined || NAMES.some((name) => [record[name]].flat().some((one) => runsByName.has(one)));

/** A record whose lists are columns, with the places that are chosen; null where none is. */
function chosenPlaces(record) {
  const lists = Object.keys(record).filter((key) => Array.isArray(record[key]));
  if (!lists.length) return isChosen(record) ? record : null;
  const length = Math.max(...lists.map((key) => record[key].length));
  const kept = [];
  for (let place = 0; place < length; place++) {
    const one = { group: record.group, seed: record.seed, layer: record.layer };
    for (const name of NAMES) one[name] = record[name];
    for (const key of lists) if (key in one) one[key] = record[key][place] ?? null;
    if (isChosen(one)) kept.push(place);
  }
  if (kept.length === length) return record;
  if (!kept.length) return null;
  const narrowed = { ...record };
  for (const key of lists) narrowed[key] = kept.map((place) => record[key][place] ?? null);
  return narrowed;
}

/** The document narrowed to what is chosen, how much is left of it, and whether seeds can narrow all of it. */
function narrowed(spec) {
  if (showsAll()) return { spec, owned: 0, left: 0, means: false };
  let [owned, left, means] = [0, 0, false];
  const there = new Map(); // field → the texts that are left in it
  const narrow = (values) => {
    const kept = values.map(chosenPlaces).filter((record) => record);
    const of = values.filter(isOwned);
    owned += of.length;
    left += kept.filter(isOwned).length;
    means ||= of.some((record) => !hasSeed(record));
    for (const record of kept) {
      for (const [field, value] of Object.entries(record)) {
        if (!there.has(field)) there.set(field, new Set());
        for (const one of [value].flat()) there.get(field).add(one);
      }
    }
    return kept;
  };
  const fewer = withRecords(spec, narrow);
  return { spec: withChoices(withDomains(fewer, there)), owned, left, means: means && !allSeeds() };
}

/** Lines of runs that are not chosen take no room: axes of names lose them. Colours stay as they are. */
function withDomains(node, there) {
  const own = { ...node };
  const domains = (encoding) => {
    const fitted = { ...encoding };
    for (const channel of ["x", "y"]) {
      const domain = encoding[channel]?.scale?.domain;
      const field = encoding[channel]?.field;
      if (!Array.isArray(domain) || !there.has(field) || !["nominal", "ordinal"].includes(encoding[channel].type)) continue;
      const kept = domain.filter((one) => there.get(field).has(one));
      fitted[channel] = { ...encoding[channel], scale: { ...encoding[channel].scale, domain: kept } };
    }
    return fitted;
  };
  if (node.encoding) own.encoding = domains(node.encoding);
  for (const part of PARTS) if (Array.isArray(node[part])) own[part] = node[part].map((one) => withDomains(one, there));
  if (node.spec) own.spec = withDomains(node.spec, there);
  return own;
}

/** Selects of groups, settings or runs offer those that are chosen. */
function withChoices(spec) {
  if (!spec.params) return spec;
  let earlier = 0;
  const params = spec.params.map((param) => {
    const options = param.bind?.options;
    if (!options || !options.every((one) => placeOf.has(one) || whose(one))) return param;
    const places = options.map((_, place) => place).filter((place) => showsGroup(options[place]) && showsName(options[place]));
    if (!places.length) return param;
    const of = (list) => places.map((place) => list[place]);
    const kept = of(options);
    const value = kept.includes(param.value) ? param.value : kept[Math.min(earlier++, kept.length - 1)];
    return { ...param, value, bind: { ...param.bind, options: kept, labels: of(param.bind.labels ?? options) } };
  });
  return { ...spec, params };
}
