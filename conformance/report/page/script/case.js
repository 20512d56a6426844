// The view of one case: failures, the timeline next to the scenario, another pairing, the output.

import { ask, note } from "./address.js";
import { counted, element, folded, link, paragraph, section, span } from "./dom.js";
import { comparison, counterpart } from "./compare.js";
import { pairings, ruleText, seconds, tag } from "./parts.js";
import { lineOf, markLine, sourceBox } from "./source.js";
import { caseOf, casesOfScenario, rowsOf, run, titleOf } from "./store.js";
import { timeline } from "./timeline.js";

const NOTHING = "(nothing)";
const FEW_RULES = 2; // so many rules are shown unfolded

export function caseView(query) {
  const one = caseOf(query.id);
  if (!one) return element("h1", null, "There is no such case in this run");
  return [
    head(one),
    one.failure && section("What went wrong", failure(one.failure)),
    one.afterwards && section("What went wrong after the last step", failure(one.afterwards)),
    played(one, query),
    beside(one, caseOf(query.beside)),
    output(one),
    one.replay && section("Play it again", element("pre", { class: "card" }, one.replay)),
  ];
}

function head(one) {
  const rules = one.requirements || [];
  const script = run.scenarios[one.scenario];
  const where = script && span("soft mono", ` ${script.file}:${script.line}`);
  const delivery = one.delivery && ` delivery: ${one.delivery} `;
  const isShort = !one.failure && rules.length <= FEW_RULES;
  return element(
    "div",
    { class: "head" },
    element("h1", null, titleOf(one) || one.scenario),
    paragraph(
      null,
      tag(one),
      " ",
      span("mono", one.id),
      " ",
      seconds(one.seconds),
      delivery,
      where,
    ),
    one.reason && element("pre", { class: "card" }, one.reason.join("\n")),
    paragraph("siblings", span("soft", "Played by "), pairings(casesOfScenario(one.scenario), one)),
    rules.length > 0 && folded(`Proves ${rules.join(", ")}`, isShort, rules.map(ruleText)),
  );
}

function failure(it) {
  const facts = [
    ["step", it.step, "mono"],
    ["why", it.reason, null],
    ["expected", differing(it.differ, "wanted"), "mono"],
    ["seen", differing(it.differ, "got"), "mono"],
  ];
  const list = facts
    .filter(([, words]) => words)
    .map(([name, words, kind]) => [
      element("dt", null, name),
      element("dd", { class: kind }, words),
    ]);
  return element(
    "div",
    { class: "card failure" },
    it.requirement && ruleText(it.requirement),
    element("dl", null, list),
  );
}

// The middle part is highlighted, unless it is the whole text.
function differing({ before, after, ...middles }, kind) {
  if (!before && !after && !middles[kind]) return span("soft", NOTHING);
  const isPart = (before || after) && middles[kind];
  return [before, isPart ? element("mark", { class: kind }, middles[kind]) : middles[kind], after];
}

// The timeline, and next to it the scenario, which highlights the step of the chosen row.
function played(one, query) {
  const script = run.scenarios[one.scenario];
  const it = one.failure || one.afterwards;
  const all = [...rowsOf(one), ...missed(it)];
  if (!all.length) return null;
  const rows = query.brief ? all.filter((row) => !row.origin) : all;
  const source = script && run.sources[script.file] && sourceBox(script, lineOf(it));
  const choose = (row) => {
    note({ row: String(row.number) });
    if (source && row.line) markLine(source, row.line);
  };
  const chosen = all.find((row) => String(row.number) === query.row);
  if (source && chosen) markLine(source, chosen.line);
  const drawn = timeline(rows, castOf(one), choose, query.row);
  return element(
    "div",
    { class: source ? "played" : null },
    section("Who said what, and who saw it", all.some((row) => row.origin) && brief(query), drawn),
    source && section("The scenario", source),
  );
}

function brief(query) {
  const change = (event) => ask({ brief: event.target.checked ? "yes" : "", row: "" });
  const box = element("input", { type: "checkbox", checked: Boolean(query.brief), change });
  return element("label", { class: "soft" }, box, " without fences and the suite's ending");
}

// Actor → its kind and its program. Mixed clients get the programs in order.
function castOf(one) {
  const clients = one.clients || [];
  let turn = 0;
  const programs = { server: () => one.server, client: () => clients[turn++ % clients.length] };
  const whole = ([actor, member]) => [
    actor,
    `${member} ${programs[member.split(" ")[0]]?.() || ""}`.trim(),
  ];
  return Object.fromEntries(Object.entries(run.scenarios[one.scenario]?.cast || {}).map(whole));
}

// The expected and the seen text, as the last rows of the timeline.
function missed(it) {
  if (!it) return [];
  const row = { line: lineOf(it), origin: "", actor: it.actor, mark: "", when: "" };
  return [
    { ...row, number: "wanted", kind: "wanted", text: `expected  ${it.expected || NOTHING}` },
    { ...row, number: "got", kind: "got", text: `seen  ${it.seen || NOTHING}` },
  ];
}

function beside(one, chosen) {
  const other = chosen || counterpart(one);
  if (!other || one.transcript === undefined) return null;
  const title = element("h2", null, "Comparison with another pairing");
  return folded(title, Boolean(one.failure || chosen), comparison(one, other));
}

function output(one) {
  const it = one.failure || one.afterwards || {};
  const parts = [
    ["The last lines of all actors, in order", it.timeline || []],
    ["Standard error", it.stderr || []],
    ...(one.output?.streams || []).map((stream) => [streamTitle(one, stream), stream.lines]),
  ].filter(([, lines]) => lines.length);
  if (!parts.length) return null;
  const file = one.output && `transcripts/${encodeURIComponent(one.output.file)}`;
  return section(
    "What the programs wrote",
    parts.map(([title, lines]) =>
      folded(title, false, element("pre", { class: "card", tabindex: "0" }, lines.join("\n"))),
    ),
    file && paragraph(null, link(file, "the file with the whole output")),
  );
}

// For wire and scripted actors, the stream has their input, not their output.
function streamTitle(one, { actor, what, lines }) {
  const whole = castOf(one)[actor];
  const isPeer = ["wire", "scripted"].includes(whole);
  const isNamed = !whole || whole.split(" ")[0] === actor; // `server go` says it all
  const name = isNamed ? whole || actor : `${actor}, ${whole}`;
  return `${name}: ${isPeer ? "what came to it" : what} (${counted(lines.length, "line")})`;
}
