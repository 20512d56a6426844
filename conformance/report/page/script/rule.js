// The view of one rule: its text, its standing for each program, its scenarios and mutants.

import { caseAddress, casesAddress } from "./address.js";
import { counted, element, link, paragraph, prose, section, span } from "./dom.js";
import { mutantRow } from "./mutants.js";
import { nameOf, pairings } from "./parts.js";
import { countsOf, standing } from "./rules.js";
import { casesOfRule, grouped, isOdd, mutantsOf, rank, run } from "./store.js";

export function ruleView(query) {
  const rule = run.rules[query.id];
  if (!rule) return element("h1", null, "There is no such rule in this run");
  const counts = countsOf(rule.id);
  const signs = Object.keys(run.standings).map((label) =>
    span(null, nameOf(label), " ", standing(rule.id, label, counts)),
  );
  return [
    element("h1", null, rule.id, " ", span("soft", rule.level)),
    paragraph("text", prose(rule.text)),
    paragraph(
      "soft mono",
      `${rule.place.file}:${rule.place.line}`,
      rule.feature && `, feature ${rule.feature}`,
    ),
    paragraph("standings", signs),
    stopping(rule.id),
    proving(rule.id),
    run.mutants && killing(mutantsOf(rule.id)),
  ];
}

// The unexpected cases that fail at the rule, whether they are meant to prove it or not.
function stopping(rule) {
  const stops = (one) =>
    isOdd(one) && [one.failure, one.afterwards].some((it) => it?.requirement === rule);
  const some = casesOfRule(rule).filter(stops);
  return (
    some.length > 0 && section(`${counted(some.length, "case")} not as expected`, scenarios(some))
  );
}

function proving(rule) {
  const cases = casesOfRule(rule).filter((one) => one.requirements?.includes(rule));
  const count = new Set(cases.map((one) => one.scenario)).size;
  return section(
    `${counted(count, "scenario")}, ${counted(cases.length, "case")}`,
    cases.length > 0 && scenarios(cases),
    cases.length > 0 &&
      paragraph(null, link(casesAddress({ rule }), "list of all these cases")),
  );
}

// Problems come first.
function scenarios(cases) {
  const worst = ([, some]) => Math.min(...some.map(rank));
  const groups = [...grouped(cases, (one) => [one.scenario])].sort(
    (one, other) => worst(one) - worst(other),
  );
  return element(
    "div",
    { class: "card list" },
    groups.map(([key, some]) => scenario(key, some)),
  );
}

function scenario(key, cases) {
  const name = element(
    "a",
    { class: "mono", href: caseAddress(cases[0].id), "data-item": true },
    key,
  );
  const title = span("title soft", run.scenarios[key]?.title || "");
  return element("div", { class: "scenario" }, span("name", name, " ", title), pairings(cases));
}

function killing(mutants) {
  const none = paragraph("soft", "No mutant that breaks this rule was played.");
  return section(
    counted(mutants.length, "mutant"),
    mutants.length ? element("div", { class: "card list" }, mutants.map(mutantRow)) : none,
  );
}
