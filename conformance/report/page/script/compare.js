// Two transcripts of one scenario side by side, aligned by equal lines.

import { ask, caseAddress } from "./address.js";
import { aligned } from "./align.js";
import { columnHead, element, headRow, link, paragraph, select, wide } from "./dom.js";
import { tag } from "./parts.js";
import { casesOfScenario, rowsOf } from "./store.js";

const MOST = 1500; // lines of each transcript that are compared

const othersOf = (one) =>
  casesOfScenario(one.scenario).filter((other) => other !== one && other.transcript !== undefined);

// The best case to compare with: one that passed, preferably with the same programs.
export function counterpart(one) {
  const likeness = (other) =>
    4 * (other.verdict === "PASSED") + (other.row === one.row) + (other.column === one.column);
  return othersOf(one).sort((first, second) => likeness(second) - likeness(first))[0];
}

export function comparison(one, other) {
  const options = othersOf(one).map((each) => [each.id, `${each.pairing} (${each.verdict})`]);
  const chooser = select("Other case", options, other.id, (id) => ask({ beside: id }));
  if (one.transcript === other.transcript && !one.failure)
    return paragraph(null, "The two transcripts are identical. Other case: ", chooser);
  const there = link(caseAddress(other.id), tag(other), ` ${other.pairing}`);
  return sideBySide(one, other, [tag(one), ` ${one.pairing}`], [there, " ", chooser]);
}

// Both transcripts in a table, each with a head.
export function sideBySide(one, other, head, otherHead) {
  const rows = rowsOfPairs(aligned(textsOf(one), textsOf(other)));
  return wide(
    "Two transcripts",
    element(
      "table",
      { class: "beside mono" },
      headRow([columnHead(head), columnHead(otherHead)]),
      element("tbody", null, rows),
    ),
  );
}

const shown = (text) => text || "(nothing)";

// The lines of a transcript; for a failed case, with the expected and the seen text at the end.
function textsOf(one) {
  const texts = rowsOf(one)
    .slice(0, MOST)
    .map((row) => row.whole);
  const it = one.failure || one.afterwards;
  return it
    ? [...texts, `✗ ${it.actor} expected ${shown(it.expected)}`, `✗ ${it.actor} saw ${shown(it.seen)}`]
    : texts;
}

// Lines after the end of the shorter transcript are not highlighted as differences.
function rowsOfPairs(pairs) {
  const ends = [0, 1].map((side) => pairs.findLastIndex((pair) => pair[side] !== undefined));
  const end = Math.min(...ends);
  const cell = (pair, side, i) =>
    element("td", null, pair[side] ?? (i === ends[side] + 1 ? "(this case ends here)" : ""));
  return pairs.map((pair, i) => {
    const kind = i > end ? "alone" : pair[0] === pair[1] ? null : "differs";
    return element("tr", { class: kind }, cell(pair, 0, i), cell(pair, 1, i));
  });
}
