// The attached tables, which other programs measured.

import { address } from "./address.js";
import { element, headRow, link, minute, paragraph, section, wide } from "./dom.js";
import { run } from "./store.js";

export function tablesView(query) {
  const some = query.id ? run.tables.filter((one) => one.title === query.id) : run.tables;
  return [element("h1", null, "Attached tables"), some.map(table)];
}

function table(one) {
  const isNumber = (i) => one.rows.every((row) => typeof row[i] === "number" || row[i] === null);
  const kinds = one.columns.map((_, i) => (isNumber(i) ? "number" : null));
  const head = one.columns.map((name, i) => element("th", { scope: "col", class: kinds[i] }, name));
  const cell = (value, i) => element("td", { class: kinds[i] }, shown(value));
  const rows = one.rows.map((row) => element("tr", null, row.map(cell)));
  const notes = one.notes.map((note) => element("li", null, note));
  return section(
    link(address({ view: "tables", id: one.title }), one.title),
    paragraph("soft", minute(one.when)),
    wide(
      one.title,
      element("table", { class: "plain" }, headRow(head), element("tbody", null, rows)),
    ),
    notes.length > 0 && element("ul", { class: "notes" }, notes),
  );
}

function shown(value) {
  if (value === null) return "–";
  return typeof value === "number"
    ? value.toLocaleString("en", { maximumFractionDigits: 3 })
    : String(value);
}
