// Figures: counts of the sources and of the run, and attached tables.

import { bars, shown } from "./bars.js";
import { keyOf, linesOf, rowsOf } from "./code.js";
import { columnHead, element, headRow, minute, paragraph, prose, rowHead, section, wide } from "./dom.js";
import { plain } from "./ideas.js";
import { run } from "./store.js";

const OTHERS =
  "This page does not measure speed under load. In a checkout of this project, `make bench` does, " +
  "and the next `make compare` shows its results here. `conformance compare --attach FILE` adds " +
  "any other table with a column for each program.";

export function factsView({ role, programs }) {
  return [
    section("At a glance", glance(role, programs), runNote()),
    section("Lines of each section", lineBars(role, programs)),
    measured(programs),
  ];
}

function runNote() {
  const words = run.cases.length
    ? `Verdicts are those of the run of ${run.facts[0]}.`
    : "There are no verdicts: play the cases with `conformance run`.";
  return paragraph("soft", words);
}

function glance(role, programs) {
  const common = new Set(run.roles[role].shared);
  const verdicts = [...new Set(programs.flatMap((one) => Object.keys(one.verdicts)))];
  const rows = [
    ["language", (one) => one.language],
    ["features", (one) => one.features.join(", ")],
    ["files", (one) => one.files.length],
    ["lines", (one) => linesIn(one).length],
    ["blank lines", (one) => linesIn(one).filter(isBlank).length],
    ["comment lines", (one) => linesIn(one).filter(isComment).length],
    ["functions and types", (one) => namesIn(role, one).length],
    [
      "of these in common",
      (one) => namesIn(role, one).filter((name) => common.has(name)).length,
    ],
    ...verdicts.map((name) => [`cases ${name}`, (one) => one.verdicts[name] || 0]),
  ];
  return table("At a glance", programs, rows);
}

function table(label, programs, rows) {
  const isNumber = (value) => (typeof value === "number" ? "number" : null);
  const cell = (value) => element("td", { class: isNumber(value) }, shown(value));
  const row = ([name, of]) =>
    element(
      "tr",
      null,
      rowHead(name),
      programs.map((one) => cell(of(one))),
    );
  const head = headRow([element("td"), ...programs.map((one) => columnHead(one.name))]);
  return wide(
    label,
    element("table", { class: "plain" }, head, element("tbody", null, rows.map(row))),
  );
}

const linesIn = (one) => one.files.flatMap((file) => file.lines);
const kindsOf = (line) => line.filter((_, i) => i % 2 === 0);
const textOf = (line) => line.filter((_, i) => i % 2 === 1).join("");
const isBlank = (line) => !textOf(line).trim();
const isComment = (line) =>
  !isBlank(line) && kindsOf(line).every((kind, i) => kind === "c" || !line[2 * i + 1].trim());

function namesIn(role, one) {
  const pieces = run.roles[role].sections.flatMap((each) =>
    each.rows.flatMap((row) => row.cells[one.label] || []),
  );
  return pieces.filter((piece) => piece.name).map((piece) => plain(piece.name));
}

function lineBars(role, programs) {
  const sizes = run.roles[role].sections.map((one) => {
    const rows = rowsOf(one, programs);
    return bars(
      keyOf(one),
      programs.map((each, i) => [each, rows.length ? linesOf(rows, i) : 0]),
    );
  });
  return element("div", { class: "figures" }, sizes);
}

// The attached tables that have columns for at least two of the programs.
function measured(programs) {
  const found = run.tables
    .map((one) =>
      tableView(
        one,
        programs.filter((each) => one.columns.includes(each.label)),
      ),
    )
    .filter(Boolean);
  return [found, paragraph("soft", prose(OTHERS))];
}

function tableView(one, programs) {
  if (programs.length < 2) return null;
  const at = (row, program) => row[one.columns.indexOf(program.label)];
  const isOfNumbers = (row) => programs.some((each) => typeof at(row, each) === "number");
  const rows = one.rows.map((row) => [row[0], (each) => at(row, each)]);
  const numbers = one.rows.filter(isOfNumbers);
  const pictures = numbers.map((row) =>
    bars(
      row[0],
      programs.map((each) => [each, at(row, each) ?? undefined]),
    ),
  );
  return section(
    one.title,
    paragraph("soft", [minute(one.when), ...one.notes].join(" · ")),
    element("div", { class: "figures" }, pictures),
    numbers.length < one.rows.length && table(one.title, programs, rows),
  );
}
