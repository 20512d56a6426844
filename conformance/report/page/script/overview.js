// The first view: the result, what to mend first, the matrix, and the sections of the protocol.

import { address, caseAddress, casesAddress } from "./address.js";
import {
  columnHead,
  element,
  headRow,
  link,
  paragraph,
  prose,
  rowHead,
  section,
  span,
  wide,
} from "./dom.js";
import { STANDINGS, caseRow, meter, nameOf } from "./parts.js";
import { grouped, run, sectionOf } from "./store.js";

const MARKS = { "✓": "good", "~": "known", "✗": "bad", "!": "error", "−": "idle", "?": "idle" };
const SLOWEST = 5;
const FIRST = 8; // groups of "Mend first"; the others are folded

export function overview() {
  return [head(), mendFirst(), matrix(), sections(), slowest()];
}

function head() {
  const sign = run.green ? "✓" : "✗";
  const facts = run.facts.map((fact) => span(null, fact));
  const notes = run.notes.map((note) => element("li", null, note));
  return element(
    "div",
    { class: "head" },
    element("h1", { class: run.green ? "green" : "red" }, `${sign} ${run.totals}`),
    paragraph("facts soft", facts),
    notes.length > 0 && element("ul", { class: "notes" }, notes),
  );
}

function mendFirst() {
  if (!run.mend.length) return null;
  const items = run.mend.map((one) =>
    element(
      "li",
      null,
      element("a", { href: caseAddress(one.case), "data-item": true }, prose(one.text)),
    ),
  );
  const more = items.slice(FIRST);
  const others =
    more.length > 0 &&
    element(
      "details",
      null,
      element("summary", null, `and ${more.length} more`),
      element("ol", { start: FIRST + 1 }, more),
    );
  return section(
    "Mend first",
    element("div", { class: "card mend" }, element("ol", null, items.slice(0, FIRST)), others),
  );
}

// The row and the columns for cases that test only one program are set apart.
function matrix() {
  const { corner, columns, rows, legend } = run.grid;
  const apart = (one) => (one.alone ? "alone" : null);
  const heads = columns.map((one) =>
    element(
      "th",
      { scope: "col", class: apart(one) },
      link(casesAddress({ column: one.name }), one.name),
    ),
  );
  const body = rows.map((row) =>
    element(
      "tr",
      { class: apart(row) },
      rowHead(link(casesAddress({ row: row.name }), row.name)),
      row.cells.map((cell, i) =>
        element("td", { class: apart(columns[i]) }, cell && matrixCell(cell, row, columns[i])),
      ),
    ),
  );
  return section(
    "Every server with every client",
    wide(
      "Matrix",
      element(
        "table",
        { class: "matrix" },
        headRow([element("td", { class: "corner" }, corner), heads]),
        element("tbody", null, body),
      ),
    ),
    paragraph(
      "legend soft",
      legend.map((text) => span(null, text)),
    ),
  );
}

function matrixCell(cell, row, column) {
  const href = casesAddress({ row: row.name, column: column.name });
  return element("a", { class: `cell ${MARKS[cell.mark]}`, "data-item": true, href }, cell.text);
}

// A bar for each section of the protocol and each implementation.
function sections() {
  const labels = Object.keys(run.standings);
  const parts = [...grouped(Object.keys(run.rules), (id) => [sectionOf(id)])];
  if (!labels.length || !parts.length) return null;
  const heads = labels.map((label) => columnHead(nameOf(label)));
  const rows = parts.map(([name, ids]) =>
    element(
      "tr",
      null,
      rowHead(link(address({ view: "rules", text: name }), name)),
      labels.map((label) => sectionCell(ids, run.standings[label])),
    ),
  );
  return section(
    "Rules kept, by section",
    wide(
      "Sections",
      element(
        "table",
        { class: "sections" },
        headRow([element("td"), heads]),
        element("tbody", null, rows),
      ),
    ),
  );
}

function sectionCell(ids, mine) {
  const played = ids.filter((id) => mine[id] && mine[id] !== "advice");
  if (!played.length) return element("td", { class: "soft" }, "–");
  const count = (standing) => played.filter((id) => mine[id] === standing).length;
  const parts = ["kept", "known", "suspected", "broken"].map((one) => [
    count(one),
    STANDINGS[one][1],
  ]);
  const kept = count("kept");
  const bar = meter(played.length, `${kept} of ${played.length} kept`, parts);
  return element("td", null, bar, ` ${kept}/${played.length}`);
}

function slowest() {
  const some = [...run.cases].sort((one, other) => other.seconds - one.seconds).slice(0, SLOWEST);
  if (!some.length) return null;
  return section(
    "Slowest cases",
    element("div", { class: "card list" }, some.map(caseRow)),
    paragraph(null, link(casesAddress({ sort: "slowest" }), "all cases by duration")),
  );
}
