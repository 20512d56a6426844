// The data of the run, with indexes and search.

export const run = {};
let byId = new Map();
let byScenario = new Map();
let byRule = new Map();

// Loads the first part of the data; `loadSaid` loads the rest.
export async function load(text) {
  use(await unpacked(text));
}

export async function loadSaid(text) {
  const { said, ...others } = await unpacked(text);
  Object.assign(run, others);
  said.forEach((one, i) => Object.assign(run.cases[i], one));
  kept = new WeakMap();
}

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

function use(data) {
  Object.assign(run, { sources: {}, transcripts: [] }, data);
  byId = new Map(run.cases.map((one) => [one.id, one]));
  byScenario = grouped(run.cases, (one) => [one.scenario]);
  byRule = grouped(run.cases, rulesOf);
}

// The rules that a case proves or fails at.
function rulesOf(one) {
  return new Set(
    [...(one.requirements || []), one.failure?.requirement, one.afterwards?.requirement].filter(
      Boolean,
    ),
  );
}

export function grouped(items, keysOf) {
  const groups = new Map();
  for (const item of items) {
    for (const key of keysOf(item)) {
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(item);
    }
  }
  return groups;
}

export const caseOf = (id) => byId.get(id);
export const casesOfScenario = (key) => byScenario.get(key) || [];
export const casesOfRule = (id) => byRule.get(id) || [];
export const titleOf = (one) => run.scenarios[one.scenario]?.title || "";
export const sectionOf = (rule) => rule.replace(/-[^-]*$/, "");
export const mutantsOf = (rule) => (run.mutants?.mutants || []).filter((one) => one.rule === rule);

// The rows of a case's transcript, each with its time in milliseconds where it is known.
export function rowsOf(one) {
  if (one.transcript === undefined) return [];
  let tenths = 0;
  return run.transcripts[one.transcript].map((row, number) => {
    tenths += one.times?.[number] || 0;
    return { number, when: one.times ? (tenths / 10).toFixed(1) : "", ...parsed(row) };
  });
}

// `alice > a line`
function parsed([line, origin, whole]) {
  const found = /^(\S+) ([<>?!*|]\S*) ?(.*)$/.exec(whole);
  const [actor, mark, text] = found ? found.slice(1) : ["", "", whole];
  return { line, origin, actor, mark, text, whole };
}

const indentOf = (text) => /^ */.exec(text)[0].length;

// The numbered lines of a scenario in its file, without the common indentation.
export function entryOf({ file, line }) {
  const lines = run.sources[file] || [];
  if (lines[line - 1] === undefined) return [];
  const indent = indentOf(lines[line - 1]);
  const isNext = (text) =>
    text.trim() && indentOf(text) <= indent && !text.startsWith(`${" ".repeat(indent)}  `);
  const rest = lines.slice(line).findIndex(isNext);
  const end = rest < 0 ? lines.length : line + rest;
  const last = lines.slice(0, end).findLastIndex((text) => text.trim());
  return lines
    .slice(line - 1, last + 1)
    .map((text, i) => [line + i, text.slice(Math.max(0, indent - 2))]);
}

// Whether a case makes the run red, by its verdict or by a failure after its last step.
export const isOdd = (one) => !one.expected || Boolean(one.afterwards);

// The CSS class for the verdict of a case.
export function kindOf(one) {
  if (one.afterwards) return "bad";
  if (!one.expected) return one.verdict === "FAILED" || one.verdict === "PASSED" ? "bad" : "error";
  return { PASSED: "good", FAILED: "known", WARNED: "known" }[one.verdict] || "idle";
}

// The sort key of a case: problems come first.
export function rank(one) {
  if (isOdd(one)) return 0;
  return one.verdict === "PASSED" ? 2 : 1;
}

// All texts in plain data, in lower case.
const textsIn = (data) =>
  data && typeof data === "object"
    ? Object.values(data).map(textsIn).join("\n")
    : String(data ?? "").toLowerCase();

let kept = new WeakMap();

// Caches the lower-case text of data, because the search runs at each letter that is typed.
function textOf(data, make) {
  if (!kept.has(data)) kept.set(data, make());
  return kept.get(data);
}

function wordsOf(one) {
  const { id, verdict, requirements, reason, failure, afterwards, output } = one;
  return textsIn([id, verdict, requirements, reason, failure, afterwards, output, titleOf(one)]);
}

// A function that tells whether a case, its transcript or its scenario contains the text.
export function hasText(text) {
  const part = text.toLowerCase();
  const has = (data, make) => textOf(data, make).includes(part);
  const said = run.transcripts.map((rows) => has(rows, () => textsIn(rows.map((row) => row[2]))));
  const written = new Map(
    Object.entries(run.scenarios).map(([key, script]) => [
      key,
      has(script, () => textsIn(entryOf(script))),
    ]),
  );
  return (one) => said[one.transcript] || written.get(one.scenario) || has(one, () => wordsOf(one));
}

const holds = (text) => (data) => textsIn(data).includes(text.toLowerCase());

export const rulesWith = (text) => Object.values(run.rules).filter(holds(text));
export const mutantsWith = (text) => (run.mutants?.mutants || []).filter(holds(text));
export const tablesWith = (text) => run.tables.filter(holds(text));

// [killed, killed or survived]: other mutants do not count.
export function tally(mutants) {
  const count = (verdict) => mutants.filter((one) => one.verdict === verdict).length;
  return [count("KILLED"), count("KILLED") + count("SURVIVED")];
}
