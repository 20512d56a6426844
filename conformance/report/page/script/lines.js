// Draws the lifelines of a timeline, dots for rows, and arrows between them.

import { isSaid, isSeen } from "./arrows.js";
import { drawing } from "./dom.js";

const ROW = 32; // pixels, as in style.css
const ARROW = 26; // pixels from the top of a row to its arrow, which is below the text

const level = (row) => row * ROW + ARROW;

export function arrowsOf(plan) {
  const height = plan.rows.length * ROW;
  const lives = plan.actors.map((actor) =>
    drawing("line", { class: "life", x1: x(plan, actor), x2: x(plan, actor), y1: 0, y2: height }),
  );
  const drawn = plan.rows.map((row, i) => row.actor && [linesOf(plan, row, i), dot(plan, row, i)]);
  return drawing("svg", { class: "arrows", height, "aria-hidden": "true" }, tip(), lives, drawn);
}

const x = ({ at }, actor) => `${at(actor)}%`;

// The arrow from the actor that said a line, or from or to the server if no other actor did.
function linesOf(plan, row, i) {
  const source = plan.comesFrom[i];
  if (row.kind) return null;
  if (source >= 0)
    return [bond(plan, source, i), arrow(plan, plan.rows[source].actor, row.actor, source, i)];
  if (row.actor === plan.server) return null;
  if (isSeen(row)) return arrow(plan, plan.server, row.actor, i, i);
  return isSaid(row) && !plan.shownBy[i].length ? arrow(plan, row.actor, plan.server, i, i) : null;
}

// The part of the sender's lifeline from the row that said a line to the row that saw it.
function bond(plan, from, to) {
  const { actor } = plan.rows[from];
  const ends = { x1: x(plan, actor), x2: x(plan, actor), y1: level(from), y2: level(to) };
  return drawing("line", {
    class: "bond",
    ...ends,
    "data-from": from,
    "data-to": to,
    style: plan.hue(actor),
  });
}

function arrow(plan, from, to, said, seen) {
  const kind = said === seen ? "arrow thin" : "arrow";
  const ends = { x1: x(plan, from), x2: x(plan, to), y1: level(seen), y2: level(seen) };
  const rows = { "data-from": said, "data-to": seen };
  return drawing("line", {
    class: kind,
    "marker-end": "url(#tip)",
    ...ends,
    ...rows,
    style: plan.hue(from),
  });
}

function dot(plan, row, i) {
  const kind = isSaid(row) ? "dot full" : "dot";
  return drawing("circle", {
    class: kind,
    cx: x(plan, row.actor),
    cy: level(i),
    r: 3.5,
    style: plan.hue(row.actor),
  });
}

function tip() {
  const size = { viewBox: "0 0 8 8", refX: 9, refY: 4, markerWidth: 8, markerHeight: 8 };
  const head = drawing("path", { d: "M0 .5 8 4 0 7.5z" });
  return drawing(
    "defs",
    null,
    drawing("marker", { id: "tip", ...size, markerUnits: "userSpaceOnUse", orient: "auto" }, head),
  );
}
