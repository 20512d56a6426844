// Sources side by side, by section, with a row for each function that programs have in common.

import { address, asked } from "./address.js";
import { colorOf } from "./choice.js";
import { counted, element, folded, paragraph, prose, span } from "./dom.js";
import { isKept, plain } from "./ideas.js";
import { run } from "./store.js";

const DECLARING = /^(class|struct|enum|union|interface|trait|type)$/;

export function codeView({ role, programs }, { text }) {
  const common = new Set(run.roles[role].shared);
  const sections = run.roles[role].sections
    .map((one) => ({ ...one, rows: rowsOf(one, programs, text) }))
    .filter((one) => one.rows.length);
  return [
    element("nav", { class: "filters", "aria-label": "Sections" }, sections.map(sectionLink)),
    heads(programs),
    sections.map((one) => sectionView(one, programs, common)),
    sections.length === 0 && paragraph("card empty", `No function or rule is called “${text}”.`),
  ];
}

export const keyOf = ({ unit, title }) => (title ? `${unit}: ${title}` : unit);

function sectionLink(section) {
  const at = keyOf(section);
  return element("a", { class: "chip idle", href: address({ ...asked(), view: "code", at }) }, at);
}

const heads = (programs) =>
  element(
    "div",
    { class: "columns heads", style: { "--columns": programs.length } },
    programs.map((one) =>
      element(
        "div",
        { style: { "--program": colorOf(one) } },
        one.name,
        span("soft", ` ${one.folder}`),
      ),
    ),
  );

// A row for each name in common; between them, one row for all that only one program has.
export function rowsOf(section, programs, text) {
  const rows = [];
  for (const row of section.rows) {
    const cells = programs.map((one) => row.cells[one.label] || []);
    const count = cells.filter((pieces) => pieces.length).length;
    if (!count || (text && !isNamed(row, cells, text))) continue;
    if (row.idea && count > 1) rows.push({ idea: row.idea, cells });
    else if (rows.at(-1)?.idea === "") pile(rows.at(-1), cells);
    else rows.push({ idea: "", cells });
  }
  return rows;
}

function pile(row, cells) {
  row.cells = row.cells.map((pieces, i) => [...pieces, ...cells[i]]);
}

function isNamed(row, cells, text) {
  const rule = text.toUpperCase();
  return row.idea.includes(plain(text.replaceAll(" ", ""))) || rulesOf(cells).includes(rule);
}

const rulesOf = (cells) => {
  const named = new Set(cells.flat().flatMap((piece) => piece.rules));
  return Object.keys(run.proofs).filter((id) => named.has(id));
};

function sectionView(section, programs, common) {
  const cells = section.rows.map((row) => row.cells).flat();
  const sizes = programs.map((one, i) => `${one.name} ${linesOf(section.rows, i)}`).join(" · ");
  return element(
    "section",
    { class: "compared", "data-section": keyOf(section) },
    element("h2", null, keyOf(section), " ", span("soft sizes", `${sizes} lines`)),
    rulesBox(rulesOf(cells)),
    section.rows.map((row) => rowView(row, programs, common)),
  );
}

export const linesOf = (rows, i) =>
  rows
    .flatMap((row) => row.cells[i])
    .map((piece) => piece.last - piece.first + 1)
    .reduce((sum, size) => sum + size, 0);

// The rules that a section names, and the scenarios that prove them.
function rulesBox(ids) {
  if (!ids.length) return null;
  const scenarios = new Set(ids.flatMap((id) => run.proofs[id].scenarios.map(([key]) => key)));
  const words = `${counted(ids.length, "rule")} named here, ${counted(scenarios.size, "scenario")}`;
  return folded(words, false, element("ul", { class: "card proofs" }, ids.map(ruleItem)));
}

function ruleItem(id) {
  const { level, text, scenarios } = run.proofs[id];
  const proven = scenarios.map(([key, title]) =>
    element("li", null, span("mono", key), ` ${title}`),
  );
  return element(
    "li",
    null,
    ruleName(id),
    span("soft", ` (${level}) `),
    prose(text),
    proven.length > 0 &&
      folded(`Proven by ${counted(proven.length, "scenario")}`, false, element("ul", null, proven)),
  );
}

// A link to the rule in the report, if there is one.
function ruleName(id) {
  const title = run.proofs[id].text;
  if (!run.cases.length) return element("strong", { title }, id);
  return element("a", { href: `index.html#view=rule&id=${id}`, title }, id);
}

function rowView(row, programs, common) {
  const columns = { class: "columns card", style: { "--columns": programs.length } };
  const cells = row.cells.map((pieces, i) => cellView(pieces, programs[i], row.idea, common));
  const head = row.idea ? ideaHead(row) : ownHead(row, programs);
  return [head, element("div", columns, cells)];
}

// The head of a row of names that only one program has.
function ownHead({ cells }, programs) {
  const names = cells.map((pieces) =>
    pieces
      .map((piece) => piece.name)
      .filter(Boolean)
      .join(", "),
  );
  const words = names.map((some, i) => some && `${programs[i].name}: ${some}`).filter(Boolean);
  return words.length > 0 && element("h3", { class: "own soft" }, `Alone: ${words.join(" · ")}`);
}

function ideaHead({ idea, cells }) {
  const look = { type: "button", "data-idea": idea, "data-item": true };
  const name = cells.flat()[0].name;
  return element(
    "h3",
    { class: "idea" },
    element("button", { ...look, "aria-pressed": String(isKept(idea)) }, name),
    rulesOf(cells).map((id) => [" ", span("chip idle", ruleName(id))]),
  );
}

function cellView(pieces, program, idea, common) {
  const label = `${idea || "more"} in ${program.name}`;
  const style = { "--program": colorOf(program) };
  if (!pieces.length) return element("div", { class: "none", style });
  return element(
    "pre",
    { class: "code", role: "group", "aria-label": label, style },
    pieces.map((piece) => codeOf(piece, program.files[piece.file], common)),
  );
}

function codeOf({ first, last }, file, common) {
  return element(
    "code",
    { "data-file": file.path },
    file.lines
      .slice(first - 1, last)
      .map((line, i) =>
        element("span", { class: "line", "data-line": first + i }, painted(line, common), "\n"),
      ),
  );
}

// A line alternates kinds and texts: [kind, text, kind, text, …].
function painted(line, common) {
  const parts = [];
  for (let i = 0; i < line.length; i += 2) {
    const [kind, text] = [line[i], line[i + 1]];
    if (isIdea(line, i, common)) parts.push(element("span", { "data-idea": plain(text) }, text));
    else parts.push(kind && kind !== "n" ? span(kind, text) : text);
  }
  return parts;
}

// A short word such as `end` may also be a variable. It counts only where it is called or declared.
function isIdea(line, i, common) {
  const text = line[i + 1];
  if (line[i] !== "n" || !common.has(plain(text))) return false;
  const isCalled = (line[i + 3] || "").startsWith("(");
  const isDeclared = line[i - 1] === " " && DECLARING.test(line[i - 3]);
  return isCalled || isDeclared || /[a-z0-9][A-Z]|\w_\w/.test(text);
}
