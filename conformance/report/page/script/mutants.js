// Mutants, which are programs with one deliberate fault each, and the cases that killed them.

import { address, ask, caseAddress, ruleAddress } from "./address.js";
import {
  columnHead,
  counted,
  element,
  headRow,
  link,
  longList,
  minute,
  paragraph,
  rowHead,
  section,
  select,
  span,
  wide,
} from "./dom.js";
import { item, meter } from "./parts.js";
import { caseOf, grouped, mutantsWith, run, sectionOf, tally } from "./store.js";

// In order of importance.
const LOOKS = { SURVIVED: "bad", KILLED: "good", EQUIVALENT: "idle", "DID NOT BUILD": "idle" };
const ORDER = Object.keys(LOOKS);

export function mutantsView(query) {
  const all = run.mutants?.mutants || [];
  const is = (key, value) => !query[key] || query[key] === value;
  const found = mutantsWith(query.text || "").filter(
    (one) =>
      is("verdict", one.verdict) &&
      is("program", one.program) &&
      is("section", sectionOf(one.rule)),
  );
  found.sort((one, other) => ORDER.indexOf(one.verdict) - ORDER.indexOf(other.verdict));
  const [killed, count] = tally(all);
  return [
    element(
      "h1",
      null,
      `${killed} of ${counted(count, "mutant")} killed`,
      span("soft", ` · ${minute(run.mutants?.when || "")}`),
    ),
    scores(all),
    filters(query, all),
    element("h2", null, counted(found.length, "mutant")),
    longList(found, mutantRow),
  ];
}

// Scores by section of the protocol and by program.
function scores(all) {
  const programs = [...grouped(all, (one) => [one.program]).keys()].sort();
  const order = [...new Set(Object.keys(run.rules).map(sectionOf)), ""];
  const bySection = grouped(all, (one) => [sectionOf(one.rule)]);
  const parts = [...bySection].sort(([one], [other]) => order.indexOf(one) - order.indexOf(other));
  const row = (head, some) =>
    element(
      "tr",
      null,
      rowHead(head),
      programs.map((program) => scoreCell(some.filter((one) => one.program === program))),
      scoreCell(some),
    );
  const rows = parts.map(([name, some]) =>
    row(name ? link(address({ view: "mutants", section: name }), name) : "no rule", some),
  );
  const heads = [element("td"), ...programs.map((name) => columnHead(name)), columnHead("all")];
  return wide(
    "Mutants by section",
    element(
      "table",
      { class: "sections" },
      headRow(heads),
      element("tbody", null, rows, row("all", all)),
    ),
  );
}

function scoreCell(some) {
  const [killed, all] = tally(some);
  if (!all) return element("td", { class: "soft" }, "–");
  const bar = meter(all, `${killed} of ${all} killed`, [
    [killed, "good"],
    [all - killed, "bad"],
  ]);
  return element("td", null, bar, ` ${killed}/${all}`);
}

function filters(query, all) {
  const filter = (key, label, valueOf) => {
    const values = [...new Set(all.map(valueOf))].filter(Boolean).map((name) => [name, name]);
    const options = [["", `any ${key}`], ...values];
    return select(label, options, query[key] || "", (value) => ask({ [key]: value }));
  };
  return element(
    "div",
    { class: "filters" },
    filter("verdict", "Verdict", (one) => one.verdict),
    filter("program", "Program", (one) => one.program),
    filter("section", "Section", (one) => sectionOf(one.rule)),
  );
}

const look = (one) => span(`tag ${LOOKS[one.verdict]}`, one.verdict);

export function mutantRow(one) {
  const name = [span("mono", one.id), ` ${one.rule} `, span("title soft", one.what)];
  const seconds = span("seconds", `${one.seconds.toFixed(1)} s`);
  return item(address({ view: "mutant", id: one.id }), look(one), span("name", name), seconds);
}

export function mutantView(query) {
  const one = run.mutants?.mutants.find((each) => each.id === query.id);
  if (!one) return element("h1", null, "There is no such mutant here");
  const rule = one.rule && link(ruleAddress(one.rule), one.rule);
  const code = (lines) => element("pre", { class: "card" }, lines.join("\n"));
  const killers = one.killed_by.map((id) => element("li", null, killer(id)));
  return [
    element("h1", null, one.what || one.id),
    paragraph(null, look(one), " ", span("mono", `${one.id} ${one.file}:${one.line}`), " ", rule),
    one.reason && paragraph(null, one.reason),
    section("Before", code(one.before)),
    section("After", code(one.after)),
    killers.length > 0 && section("Killed by", element("ul", { class: "card notes" }, killers)),
  ];
}

// The id of a killing case, with a link if this run has a case of the same scenario.
function killer(id) {
  const scenario = id.replace(/\[.*/, "");
  const known = caseOf(id) || run.cases.find((one) => one.scenario === scenario);
  return known
    ? element("a", { class: "mono", href: caseAddress(known.id), "data-item": true }, id)
    : span("mono", id);
}
