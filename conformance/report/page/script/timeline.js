// A transcript as a sequence diagram: a column for each actor, time from top to bottom.

import { isSaid, links } from "./arrows.js";
import { element, span } from "./dom.js";
import { arrowsOf } from "./lines.js";

const FEW = 8; // columns that fit on a wide screen
const SERVER = "server";
const KINDS = { "*": "event", "?": "prompt", "!": "stderr", "|": "screen" };
const VERBS = { "*": "", "?": "is asked", "!": "complains", "|": "shows" };
const KIND_VERBS = { wanted: "should have seen", got: "saw instead" };
const ORIGINS = {
  fence: "a line of the harness, which proves that nothing else came",
  ending: "how the suite ends each case",
};
const HUES = [212, 28, 152, 330, 268, 190, 95, 0, 245, 50];

// `rows` may end with rows of the kinds `wanted` and `got`. `choose(row)` is called when a row is
// chosen; `chosen` is the number of the row that is chosen at first.
export function timeline(rows, cast, choose, chosen) {
  const plan = planOf(rows, cast);
  const items = rows.map((row, i) => item(plan, row, i));
  const list = element("div", { class: "rows" }, arrowsOf(plan), element("ol", null, items));
  const style = { "--lanes": plan.actors.length };
  const whole = element("div", { class: "timeline", style }, headOf(plan, cast), list);
  const few = plan.actors.length <= FEW ? "few" : "";
  const attributes = { class: `scroll card ${few}`, role: "group", "aria-label": "Timeline" };
  const chooser = { plan, items, lines: list.querySelectorAll("[data-from]"), choose };
  whole.addEventListener("click", (event) => {
    const button = event.target.closest("[data-row]");
    if (button) follow(chooser, Number(button.dataset.row));
  });
  const first = rows.findIndex((row) => String(row.number) === chosen);
  if (first >= 0) mark(chooser, first);
  return element("div", attributes, whole);
}

// The columns and colours of actors, and the links between rows.
function planOf(rows, cast) {
  const speaking = new Set(rows.map((row) => row.actor).filter(Boolean));
  const named = Object.keys(cast).filter((name) => speaking.has(name));
  const actors = [...new Set([SERVER, ...named, ...speaking])];
  const at = (actor) => (100 * (actors.indexOf(actor) + 0.5)) / actors.length;
  const hue = (actor) => ({ "--hue": HUES[Math.max(0, actors.indexOf(actor)) % HUES.length] });
  return { rows, actors, at, hue, server: SERVER, ...links(rows) };
}

function headOf({ actors, hue }, cast) {
  const names = actors.map((actor) =>
    element(
      "span",
      { class: "lane", style: hue(actor) },
      element("strong", null, actor),
      span("soft", cast[actor] === actor ? "" : cast[actor]),
    ),
  );
  return element(
    "div",
    { class: "lanes", "aria-hidden": "true" },
    span("when soft", "ms"),
    span("where soft", "line"),
    span("names", names),
  );
}

function item(plan, row, i) {
  const attributes = { type: "button", "data-row": i, "data-item": true, title: row.text };
  const origin =
    row.origin && element("span", { class: "origin", title: ORIGINS[row.origin] }, row.origin);
  return element(
    "li",
    null,
    element(
      "button",
      { ...attributes, style: plan.hue(row.actor) },
      span("when", row.when),
      span("where", row.line || "", origin),
      span("track", said(plan, row)),
    ),
  );
}

// The text of a row, next to its actor's lifeline, on the side with more room.
function said({ at }, row) {
  const x = row.actor ? at(row.actor) : 0;
  const side = x <= 50 ? { left: `calc(${x}% + 9px)` } : { right: `calc(${100 - x}% + 9px)` };
  const style = { ...side, "max-width": `calc(${Math.max(x, 100 - x)}% - 14px)` };
  const kind = row.kind || KINDS[row.mark] || (isSaid(row) ? "says" : "sees");
  const verb = KIND_VERBS[row.kind] ?? VERBS[row.mark] ?? kind;
  return element(
    "span",
    { class: `said ${kind}`, style },
    span("hidden", `${row.actor} ${verb} `),
    row.text || " ",
  );
}

// Chooses a row. If it is chosen already, chooses the other end of its arrow.
function follow(chooser, i) {
  const { comesFrom, shownBy, rows } = chooser.plan;
  const ends = [comesFrom[i], ...shownBy[i]].filter((end) => end >= 0);
  const again = chooser.items[i].classList.contains("chosen");
  const next = again && ends.length ? ends[0] : i;
  mark(chooser, next);
  if (next !== i) chooser.items[next].firstChild.focus();
  chooser.choose(rows[next]);
}

// Highlights a row, its arrows, and the rows at their other ends.
function mark({ plan, items, lines }, i) {
  const tied = new Set([plan.comesFrom[i], ...plan.shownBy[i]]);
  items.forEach((one, at) => {
    one.classList.toggle("chosen", at === i);
    one.classList.toggle("linked", tied.has(at));
  });
  for (const line of lines) {
    const ends = [Number(line.dataset.from), Number(line.dataset.to)];
    line.classList.toggle("lit", ends[0] !== ends[1] && ends.includes(i));
  }
}
