// Small elements that several views share.

import { caseAddress, ruleAddress } from "./address.js";
import { element, link, paragraph, prose, span } from "./dom.js";
import { kindOf, run, titleOf } from "./store.js";

export const STANDINGS = {
  broken: ["✗", "bad", "broken"],
  suspected: ["✗?", "error", "broken by this or the other program"],
  known: ["~", "known", "known failure"],
  advice: ["~", "known", "advice, not kept"],
  open: ["…", "idle", "not reached: its cases fail at other rules"],
  kept: ["✓", "good", "kept"],
};

export const tag = (one) => span(`tag ${kindOf(one)}`, one.verdict);
export const nameOf = (label) => label.replace("-", " ");
export const seconds = (value) => span("seconds", value ? `${value.toFixed(2)} s` : "");

// An item of a list, with a link to a view.
export function item(href, ...children) {
  return element("a", { class: "item", href, "data-item": true }, ...children);
}

export function caseRow(one) {
  const name = [span("mono", one.scenario), " ", span("soft mono", `[${one.pairing}]`), " "];
  const title = span("title soft", titleOf(one));
  return item(caseAddress(one.id), tag(one), span("name", name, title), seconds(one.seconds));
}

// The pairings of one scenario, each a link in the colour of its verdict.
export function pairings(cases, here) {
  const chip = (one) => {
    const current = one === here ? "true" : null;
    const look = { class: `chip ${kindOf(one)}`, title: one.verdict, "aria-current": current };
    const name = one.delivery ? `${one.pairing} ${one.delivery}` : one.pairing;
    return element("a", { href: caseAddress(one.id), ...look }, name);
  };
  return span("pairings", cases.map(chip));
}

export function ruleText(id) {
  const rule = run.rules[id];
  const words = rule && [span("soft", `(${rule.level}) `), prose(rule.text)];
  return paragraph("rule", link(ruleAddress(id), id), " ", words);
}

// A stacked bar of `all` units. `parts` are pairs of a count and a class; the rest stays empty.
export function meter(all, words, parts) {
  const pieces = parts
    .filter(([count]) => count)
    .map(([count, kind]) =>
      element("span", { class: `bar-${kind}`, style: { width: `${(100 * count) / all}%` } }),
    );
  return element("span", { class: "meter", role: "img", "aria-label": words }, pieces);
}
