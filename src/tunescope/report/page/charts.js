"use strict";
// Charts are drawn when they come near the window, and again when they come near it after a choice.
// `document.documentElement.dataset.charts` says whether all that were asked for are drawn; `?all` asks for all.
let choices = 0; // how often the reader has chosen
let drawing = 0;
const charts = Array.from(document.querySelectorAll("[data-chart]"), (place) => ({
  place,
  fixed: place.dataset.follows === "nothing",
  near: location.search === "?all",
  drawn: -1,
  view: null,
  selected: {}, // by name of its selects
  work: Promise.resolve(),
}));

const specOf = (chart) => unpacked(JSON.parse(document.getElementById(chart.place.dataset.chart).textContent));
const shownOf = (chart) => (chart.fixed ? { spec: specOf(chart), owned: 0, left: 0, means: false } : narrowed(specOf(chart)));

async function embed(chart) {
  if (chart.drawn === choices || (chart.drawn >= 0 && chart.fixed)) return;
  chart.drawn = choices;
  const { spec, owned, left, means } = shownOf(chart);
  if (chart.view) {
    for (const param of spec.params ?? []) if (param.bind) chart.selected[param.name] = chart.view.view.signal(param.name);
    chart.view.finalize();
    chart.view = null;
  }
  for (const param of spec.params ?? []) {
    if (param.bind && param.bind.options?.includes(chart.selected[param.name])) param.value = chart.selected[param.name];
  }
  if (means) note(chart, "Means over seeds stay those over all seeds: a choice of seeds narrows single runs alone.");
  else if (!chart.fixed && !owned && !(allGroups() && allSeeds())) note(chart, "All runs stand behind this chart, whatever is chosen.");
  else note(chart, "");
  if (owned && !left) {
    chart.place.textContent = "Nothing here is of the runs and layers that are chosen.";
    return;
  }
  const settings = {
    ast: true, // expressions are interpreted: the page's policy allows no evaluation of text
    renderer: "svg",
    actions: { export: true, source: false, compiled: false, editor: false },
    downloadFileName: chart.place.dataset.chart,
    logLevel: showsAll() ? 2 : 1, // a panel of which nothing is chosen has no extent, and that is no fault
  };
  chart.view = await vegaEmbed(chart.place, spec, settings);
  const svg = chart.place.querySelector("svg.marks");
  svg.setAttribute("role", "img"); // its marks are read from the table of its data
  if (spec.description) svg.setAttribute("aria-label", spec.description);
  chart.place.querySelector("details > summary")?.setAttribute("aria-label", "Save this chart as a picture");
}

function note(chart, text) {
  const plot = chart.place.closest(".plot");
  let words = plot.querySelector(".note");
  if (!words && !text) return;
  if (!words) {
    words = document.createElement("p");
    words.className = "note small";
    plot.append(words);
  }
  words.textContent = text;
}

function settled() {
  if (drawing) return;
  document.documentElement.dataset.charts = charts.some((chart) => chart.failed) ? "failed" : "drawn";
}

function draw(chart) {
  drawing += 1;
  delete document.documentElement.dataset.charts;
  chart.work = chart.work
    .then(() => embed(chart))
    .catch((error) => {
      chart.failed = true;
      chart.place.textContent = "This chart could not be drawn: " + error.message;
      console.error(error);
    })
    .then(() => {
      chart.place.classList.remove("undrawn");
      drawing -= 1;
      settled();
    });
  return chart.work;
}

const drawAll = () => Promise.all(charts.map(draw));

document.addEventListener("narrowed", () => {
  choices += 1;
  for (const chart of charts) if (chart.near && !chart.fixed) draw(chart);
  settled();
});

if (location.search === "?all") {
  drawAll();
  settled();
} else {
  const watch = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        const chart = charts.find((one) => one.place === entry.target);
        chart.near = entry.isIntersecting;
        if (chart.near) draw(chart);
      }
      settled();
    },
    { rootMargin: "500px 0px" },
  );
  for (const chart of charts) {
    chart.place.classList.add("undrawn");
    watch.observe(chart.place);
  }
  if (!charts.length) settled();
}
