"use strict";
const charts = Array.from(document.querySelectorAll("[data-chart]"), async (place) => {
  const spec = JSON.parse(document.getElementById(place.dataset.chart).textContent);
  const settings = {
    ast: true, // expressions are interpreted: the page's policy allows no evaluation of text
    renderer: "svg",
    actions: { export: true, source: false, compiled: false, editor: false },
    downloadFileName: place.dataset.chart,
  };
  try {
    await vegaEmbed(place, spec, settings);
  } catch (error) {
    place.textContent = "This chart could not be drawn: " + error.message;
    throw error;
  }
});
Promise.allSettled(charts).then((results) => {
  document.documentElement.dataset.charts = results.every((one) => one.status === "fulfilled") ? "drawn" : "failed";
});

for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const body = head.closest("table").tBodies[0];
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[head.cellIndex].dataset.value;
    const compare = (a, b) => {
      if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === "");
      const order = head.dataset.kind === "number" ? key(a) - key(b) : key(a).localeCompare(key(b), undefined, { numeric: true });
      return down ? -order : order;
    };
    body.append(...Array.from(body.rows).sort(compare));
  });
}

addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
