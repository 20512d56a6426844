// The transcripts of two cases of one scenario, side by side.

import { ask } from "./address.js";
import { sideBySide } from "./compare.js";
import { element, paragraph, section, select } from "./dom.js";
import { sourceBox } from "./source.js";
import { casesOfScenario, run, titleOf } from "./store.js";

const NOTHING = "There are no transcripts of these programs: play cases with conformance run.";

export function saidView({ role, programs }, query) {
  const found = scenarios(role, programs);
  if (!found.size) return [paragraph("card empty", NOTHING)];
  const key = found.has(query.scenario) ? query.scenario : usual(found);
  const cases = found.get(key);
  const left = caseOf(cases, query.left) || cases[0];
  const right = caseOf(cases, query.right) || counterpart(left, cases, role);
  return [choosers(found, key, cases, left, right), comparison(left, right), yaml(key)];
}

// Scenario → its cases with these programs, for scenarios with at least two such cases.
function scenarios(role, programs) {
  const of = (one) => (role === "server" ? [one.server] : one.clients || []);
  const isMine = (one) =>
    one.transcript !== undefined && programs.some((each) => of(one).includes(each.name));
  const found = Object.keys(run.scenarios).map((key) => [key, casesOfScenario(key).filter(isMine)]);
  return new Map(found.filter(([, cases]) => cases.length > 1));
}

const caseOf = (cases, id) => cases.find((one) => one.id === id);
const differs = (cases) => new Set(cases.map((one) => one.transcript)).size > 1;

// The default scenario: the first in which the transcripts differ.
function usual(found) {
  const odd = [...found].find(([, cases]) => differs(cases));
  return (odd || [...found][0])[0];
}

// The most similar case with another program in this role, preferably with another transcript.
function counterpart(one, cases, role) {
  const mine = (each) => (role === "server" ? each.server : String(each.clients));
  const other = (each) => (role === "server" ? String(each.clients) : each.server);
  const likeness = (each) =>
    4 * (mine(each) !== mine(one)) +
    2 * (other(each) === other(one)) +
    (each.transcript !== one.transcript);
  return cases.filter((each) => each !== one).sort((a, b) => likeness(b) - likeness(a))[0];
}

function choosers(found, key, cases, left, right) {
  const sign = (some) => (differs(some) ? "≠" : "=");
  const titles = [...found].map(([name, some]) => [name, `${sign(some)} ${name}`]);
  const ids = cases.map((one) => [one.id, `${one.pairing} (${one.verdict})`]);
  const take = (change) => (value) =>
    ask({ scenario: key, left: left.id, right: right.id, [change]: value });
  return element(
    "div",
    { class: "filters" },
    select("Scenario", titles, key, (scenario) => ask({ scenario, left: "", right: "" })),
    select("Left", ids, left.id, take("left")),
    select("Right", ids, right.id, take("right")),
  );
}

function comparison(left, right) {
  const isSame = left.transcript === right.transcript;
  const words = isSame
    ? "The two transcripts are identical."
    : "Lines that differ are highlighted.";
  return section(
    titleOf(left),
    paragraph("soft", words),
    sideBySide(left, right, left.pairing, right.pairing),
  );
}

const yaml = (key) => section("The scenario", sourceBox(run.scenarios[key]));
