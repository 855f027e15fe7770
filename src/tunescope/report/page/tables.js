"use strict";
// The data of each chart as tables below it, made when they are opened, and as CSV that no spreadsheet executes.
const ROWS_AT_MOST = 300;
const NUMBER = /^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$/;
const FORMULA = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/;

/** A text with an apostrophe before it if a spreadsheet would take it for a formula. */
const inert = (text) => (FORMULA.test(text) && !NUMBER.test(text) ? "'" + text : text);

function csv(sheet) {
  const cell = (value) => {
    const text = typeof value === "string" ? inert(value) : String(value ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const line = (cells) => cells.map(cell).join(",") + "\n";
  return line(sheet.columns) + sheet.rows.map((row) => line(sheet.columns.map((column) => row[column]))).join("");
}

/** What a document calls its fields, how it writes their numbers, and which are there for the looks alone. */
function fieldsOf(spec) {
  const fields = new Map();
  const meet = (channel, definition) => {
    if (!definition || typeof definition.field !== "string") return;
    const field = fields.get(definition.field) ?? { seen: false, said: new Set() };
    field.seen ||= !["opacity", "size", "order"].includes(channel);
    if (channel === "tooltip") field.said.add(`${definition.title} ${definition.format}`);
    if (typeof definition.title === "string" && definition.title) field.title ??= definition.title;
    if (typeof definition.format === "string") field.format ??= definition.format;
    if (field.said.size > 1) field.title = field.format = undefined; // it is another quantity in each panel
    fields.set(definition.field, field);
  };
  const walk = (node) => {
    for (const tip of [node.encoding?.tooltip ?? []].flat()) meet("tooltip", tip);
    for (const [channel, definition] of Object.entries(node.encoding ?? {})) if (channel !== "tooltip") meet(channel, definition);
    for (const part of PARTS) for (const child of node[part] ?? []) walk(child);
    if (node.spec) walk(node.spec);
  };
  walk(spec);
  return fields;
}

/** The records of a document as tables, one for each set of columns, the longest first. */
function sheetsOf(spec) {
  const sheets = new Map();
  const seen = new Set();
  const panels = [...PARTS.slice(1)].some((part) => spec[part]?.length > 1);
  withRecords(spec, (values, panel) => {
    const text = JSON.stringify(values);
    if (!values.length || seen.has(text)) return values; // layers of one chart draw the same records
    seen.add(text);
    const rows = values.flatMap(unfolded).map((row) => (panels && panel && panel !== spec.title ? { panel, ...row } : row));
    const columns = [...new Set(rows.flatMap(Object.keys))];
    const sheet = sheets.get(String(columns)) ?? { columns, rows: [] };
    sheet.rows.push(...rows);
    sheets.set(String(columns), sheet);
    return values;
  });
  const all = [...sheets.values()].filter((sheet) => sheet.columns.length > 1); // one alone is a line's place
  return all.sort((a, b) => b.rows.length - a.rows.length);
}

/** The records of one whose lists are columns. */
function unfolded(record) {
  const lists = Object.keys(record).filter((key) => Array.isArray(record[key]));
  if (!lists.length) return [record];
  const length = Math.max(...lists.map((key) => record[key].length));
  return Array.from({ length }, (_, place) => {
    const row = { ...record };
    for (const key of lists) row[key] = record[key][place] ?? null;
    return row;
  });
}

function element(tag, attributes = {}, text = "") {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

/** Four digits, or a percentage where the chart's own labels are. */
function written(value, format = "") {
  if (typeof value !== "number") return value === null || value === undefined ? "–" : String(value);
  if (format.endsWith("%")) return `${(100 * value).toFixed(1)} %`;
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
}

/** A table of a sheet's first rows, with its caption and a button that saves all of them. */
function tableOf(sheet, fields, name, title) {
  const there = (column) => sheet.rows.some((row) => (row[column] ?? "") !== "");
  const columns = sheet.columns.filter((column) => there(column) && (!fields.has(column) || fields.get(column).seen));
  const table = element("table", { class: "sortable" });
  const caption = table.appendChild(element("caption"));
  const heads = table.createTHead().insertRow();
  const body = table.createTBody();
  const numeric = (column) => sheet.rows.every((row) => row[column] === null || row[column] === undefined || typeof row[column] === "number");
  const fill = () => {
    const shown = sheet.rows.slice(0, ROWS_AT_MOST);
    const more = sheet.rows.length > shown.length ? `, the first ${shown.length} of ${sheet.rows.length} rows; the CSV has all` : `, ${shown.length} row${shown.length === 1 ? "" : "s"}`;
    caption.textContent = `Data of: ${title}${more}`;
    body.replaceChildren(
      ...shown.map((row) => {
        const line = element("tr");
        columns.forEach((column, place) => {
          const text = written(row[column], fields.get(column)?.format);
          const kind = numeric(column) ? { class: "number" } : {};
          line.append(element(place ? "td" : "th", place ? kind : { scope: "row", ...kind }, text));
        });
        return line;
      }),
    );
  };
  for (const column of columns) {
    const head = element("th", { scope: "col", ...(numeric(column) ? { class: "number" } : {}) });
    const button = head.appendChild(element("button", { type: "button" }, fields.get(column)?.title ?? column.replaceAll("_", " ")));
    button.addEventListener("click", () => {
      sheet.rows.sort(ordering((row) => row[column], numeric(column), turned(head)));
      fill();
    });
    heads.append(head);
  }
  fill();
  const save = element("button", { type: "button", class: "save" }, "Save as CSV");
  save.addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob([csv(sheet)], { type: "text/csv;charset=utf-8" }));
    element("a", { href: address, download: `${name}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  });
  const scroll = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Data of: ${title}` });
  scroll.append(table);
  return [save, scroll];
}

for (const chart of charts) {
  const details = element("details", { class: "data" });
  details.append(element("summary", {}, "Data of this chart"));
  chart.place.closest(".plot").append(details);
  const show = () => {
    if (!details.open) return;
    const { spec } = shownOf(chart);
    const title = typeof spec.title === "string" ? spec.title : (spec.description || "this chart").replace(/\.$/, "");
    const sheets = sheetsOf(spec);
    const fields = fieldsOf(spec);
    const name = (place) => chart.place.dataset.chart + (place ? `-data${place + 1}` : "");
    const tables = sheets.flatMap((sheet, place) => tableOf(sheet, fields, name(place), title));
    details.replaceChildren(details.firstElementChild, ...(sheets.length ? tables : [element("p", {}, "There is none of what is chosen.")]));
  };
  details.addEventListener("toggle", show);
  document.addEventListener("narrowed", show);
}
