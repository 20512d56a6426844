// The list of cases, with filters.

import { address, ask } from "./address.js";
import { counted, element, link, longList, paragraph, select, span } from "./dom.js";
import { caseRow } from "./parts.js";
import { casesOfRule, hasText, isOdd, mutantsWith, rank, rulesWith, run } from "./store.js";

const UNEXPECTED = "not as expected";
const WHOLE = "whole"; // the delivery of a case without `delivery`
const byRank = (one, other) => rank(one) - rank(other);
const SORTS = {
  slowest: ["the slowest first", (one, other) => other.seconds - one.seconds],
  name: ["by name", (one, other) => (one.id < other.id ? -1 : 1)],
};

export function chosenCases(query) {
  const is = (key, value) => !query[key] || query[key] === value;
  const speaks = query.text ? hasText(query.text) : () => true;
  const ends = (one) => (query.verdict === UNEXPECTED ? isOdd(one) : is("verdict", one.verdict));
  const some = query.rule ? casesOfRule(query.rule) : run.cases;
  const found = some.filter(
    (one) =>
      is("row", one.row) &&
      is("column", one.column) &&
      is("delivery", one.delivery || WHOLE) &&
      ends(one) &&
      speaks(one),
  );
  return found.sort(SORTS[query.sort]?.[1] || byRank);
}

export function casesView(query) {
  const found = chosenCases(query);
  const all = run.cases.length;
  const ofAll = found.length < all && span("soft", ` of ${all.toLocaleString("en")}`);
  return [
    element("h1", null, counted(found.length, "case"), ofAll),
    filters(query),
    query.text && alsoFound(query.text),
    longList(found, caseRow),
  ];
}

// A filter is shown only if it has several values.
function filters(query) {
  const values = (key) => [...new Set(run.cases.map((one) => one[key]).filter(Boolean))];
  const filter = (key, label, any, some) =>
    (some.length > 1 || query[key]) &&
    select(label, [["", any], ...some.map(named)], query[key] || "", (value) =>
      ask({ [key]: value }),
    );
  const odd = run.cases.some(isOdd) ? [UNEXPECTED] : [];
  const deliveries = values("delivery");
  return element(
    "div",
    { class: "filters" },
    filter("verdict", "Verdict", "any verdict", [...odd, ...values("verdict")]),
    filter("row", "Server", "any server", values("row")),
    filter("column", "Client", "any client", values("column")),
    filter("rule", "Rule", "any rule", Object.keys(run.rules)),
    filter(
      "delivery",
      "Delivery",
      "any delivery",
      deliveries.length ? [...new Set([WHOLE, ...deliveries])] : [],
    ),
    filter(
      "sort",
      "Order",
      "problems first",
      Object.entries(SORTS).map(([key, [text]]) => [key, text]),
    ),
    Object.keys(query).length > 1 && link(address({ view: "cases" }), "clear all filters"),
  );
}

const named = (one) => (Array.isArray(one) ? one : [one, one]);

function alsoFound(text) {
  const others = [
    ["rules", "rule", rulesWith(text)],
    ["mutants", "mutant", mutantsWith(text)],
  ];
  const links = others
    .filter(([, , found]) => found.length)
    .map(([view, noun, found]) => [
      " ",
      link(address({ view, text }), counted(found.length, noun)),
    ]);
  return links.length > 0 && paragraph("soft", "Also with this text:", links);
}
