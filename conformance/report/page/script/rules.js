// The table of rules and implementations.

import { ask, casesAddress, ruleAddress } from "./address.js";
import {
  columnHead,
  counted,
  element,
  headRow,
  paragraph,
  prose,
  rowHead,
  select,
  span,
  wide,
} from "./dom.js";
import { STANDINGS, nameOf } from "./parts.js";
import { casesOfRule, grouped, mutantsOf, rulesWith, run, sectionOf, tally } from "./store.js";

export function rulesView(query) {
  const labels = Object.keys(run.standings);
  const stands = (rule) => labels.some((label) => run.standings[label][rule.id] === query.standing);
  const some = rulesWith(query.text || "");
  const found = query.standing ? some.filter(stands) : some;
  const parts = [...grouped(found, (rule) => [sectionOf(rule.id)]).values()];
  const bodies = parts.map((rules) =>
    element(
      "tbody",
      null,
      rules.map((rule) => ruleRow(rule, labels)),
    ),
  );
  return [
    element("h1", null, counted(found.length, "rule")),
    standingFilter(query),
    legend(),
    wide(
      "Rules and implementations",
      element("table", { class: "rules" }, tableHead(labels), bodies),
    ),
  ];
}

function standingFilter(query) {
  const shown = standingsShown();
  if (shown.size < 2 && !query.standing) return null;
  const options = Object.entries(STANDINGS)
    .filter(([name]) => shown.has(name))
    .map(([name, [sign, , words]]) => [name, `${sign} ${words}`]);
  const choose = (standing) => ask({ standing });
  return element(
    "div",
    { class: "filters" },
    select("Standing", [["", "any standing"], ...options], query.standing || "", choose),
  );
}

const standingsShown = () => new Set(Object.values(run.standings).flatMap(Object.values));

function legend() {
  const shown = standingsShown();
  const entry = ([, [sign, kind, words]]) => span(null, span(`sign ${kind}`, sign), ` ${words}`);
  const entries = Object.entries(STANDINGS).filter(([name]) => shown.has(name));
  return paragraph("legend soft", entries.map(entry));
}

function tableHead(labels) {
  return headRow([
    columnHead("rule"),
    element("th", { scope: "col", class: "words" }, "text"),
    labels.map((label) => columnHead(nameOf(label))),
    run.mutants && columnHead("mutants"),
  ]);
}

function ruleRow(rule, labels) {
  const counts = countsOf(rule.id);
  const [killed, all] = tally(mutantsOf(rule.id));
  const level = rule.level !== "MUST" && element("em", null, `${rule.level} `);
  return element(
    "tr",
    null,
    rowHead(
      element("a", { class: "mono", href: ruleAddress(rule.id), "data-item": true }, rule.id),
    ),
    element("td", { class: "words" }, element("div", { class: "clip" }, level, prose(rule.text))),
    labels.map((label) => element("td", null, standing(rule.id, label, counts))),
    run.mutants && element("td", { class: "number" }, all ? `${killed}/${all}` : ""),
  );
}

// Label of a program → [passed cases, all cases] of a rule.
export function countsOf(rule) {
  const counts = new Map();
  for (const one of casesOfRule(rule)) {
    for (const label of one.labels) {
      const [passed, all] = counts.get(label) || [0, 0];
      counts.set(label, [passed + (one.verdict === "PASSED"), all + 1]);
    }
  }
  return counts;
}

// The sign for a rule and a program, with a link to the cases.
export function standing(rule, label, counts) {
  const which = STANDINGS[run.standings[label][rule]];
  if (!which) return element("span", { class: "soft", title: "no case was played" }, "–");
  const [sign, kind, words] = which;
  const [passed, all] = counts.get(label);
  const name = label.slice(label.indexOf("-") + 1);
  const place = label.startsWith("server-") ? { row: name } : { column: name };
  const title = `${rule}, ${nameOf(label)}: ${words}; ${passed} of ${all} passed`;
  const look = { class: `sign ${kind}`, title, "aria-label": title };
  const text = kind === "good" ? `${sign} ${passed}` : sign;
  return element("a", { ...look, href: casesAddress({ rule, ...place }) }, text);
}
