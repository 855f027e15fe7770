"use strict";
// Tables whose headings are buttons: a press sorts by that column, another the other way round.

/** Turns a heading's order round and says whether it descends now. */
function turned(head) {
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  return down;
}

/** An order of things by a key: numbers or texts; what has none comes last either way. */
function ordering(key, numbers, down) {
  const none = (value) => value === "" || value === null || value === undefined;
  return (a, b) => {
    const [one, two] = [key(a), key(b)];
    if (none(one) || none(two)) return none(one) - none(two);
    const order = numbers ? one - two : String(one).localeCompare(String(two), undefined, { numeric: true });
    return down ? -order : order;
  };
}

for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const body = head.closest("table").tBodies[0];
    const key = (row) => row.cells[head.cellIndex].dataset.value;
    body.append(...Array.from(body.rows).sort(ordering(key, head.dataset.kind === "number", turned(head))));
  });
}
