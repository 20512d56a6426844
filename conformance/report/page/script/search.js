// Search results: the first rules, cases, mutants and tables, with links to all of them.

import { address, ruleAddress } from "./address.js";
import { chosenCases } from "./cases.js";
import { counted, element, link, paragraph, prose, section, span } from "./dom.js";
import { mutantRow } from "./mutants.js";
import { caseRow, item } from "./parts.js";
import { mutantsWith, rulesWith, tablesWith } from "./store.js";

const SHOWN = 8;

export function searchView({ text = "" }) {
  const kinds = [
    ["rules", "rule", rulesWith(text), ruleRow],
    ["cases", "case", chosenCases({ text }), caseRow],
    ["mutants", "mutant", mutantsWith(text), mutantRow],
    ["tables", "table", tablesWith(text), tableRow],
  ].filter(([, , found]) => found.length);
  const nothing = paragraph("card empty", "No matches.");
  return [
    element("h1", null, `“${text}”`),
    kinds.length ? kinds.map((kind) => group(text, ...kind)) : nothing,
  ];
}

function group(text, view, noun, found, draw) {
  return section(
    link(address({ view, text }), counted(found.length, noun)),
    element("div", { class: "card list" }, found.slice(0, SHOWN).map(draw)),
  );
}

const ruleRow = (rule) =>
  item(ruleAddress(rule.id), span("mono", rule.id), span("name clip", prose(rule.text)));
const tableRow = (one) => item(address({ view: "tables", id: one.title }), span("name", one.title));
