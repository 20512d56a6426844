// Shows the view that the address names.

import { address, asked, askQuietly, caseAddress } from "./address.js";
import { casesView, chosenCases } from "./cases.js";
import { caseView } from "./case.js";
import { element, place } from "./dom.js";
import { listen } from "./keys.js";
import { mutantsView, mutantView } from "./mutants.js";
import { overview } from "./overview.js";
import { ruleView } from "./rule.js";
import { rulesView } from "./rules.js";
import { searchView } from "./search.js";
import { load, loadSaid, run } from "./store.js";
import { tablesView } from "./tables.js";

const VIEWS = {
  overview,
  cases: casesView,
  case: caseView,
  rules: rulesView,
  rule: ruleView,
  mutants: mutantsView,
  mutant: mutantView,
  tables: tablesView,
  search: searchView,
};
const LISTS = new Set(["cases", "rules", "mutants", "search"]); // the search filters these views
const TABS = {
  overview: "Overview",
  cases: "Cases",
  rules: "Rules",
  mutants: "Mutants",
  tables: "Tables",
};
const KEYS = [
  ["Enter", "open; in a timeline: go to the other end of the arrow"],
  ["n, p", "next, previous case of the last list"],
  ["Esc", "go back to the list, or leave the search"],
];
const SIGNS = [
  ["●", "said it"],
  ["○", "saw it, or did something"],
  ["→", "from the actor that said a line to an actor that saw it, guessed by text and order"],
  ["thin →", "to or from the server, if no other actor said or saw the line"],
  ["fence", "a line of the harness, which proves that nothing else came"],
  ["ending", "how the suite ends each case"],
];
const PARENTS = { case: "cases", rule: "rules", mutant: "mutants" };

let last = {}; // the query of the last list, for going back
let shown = ""; // the current view and its id

const viewOf = (query) => (VIEWS[query.view] ? query.view : "overview");

function show() {
  const query = asked();
  const view = viewOf(query);
  const main = place("main");
  const isTyping = document.activeElement === place("search");
  main.replaceChildren(...[VIEWS[view](query)].flat(Infinity).filter(Boolean));
  showTabs(PARENTS[view] || view);
  if (LISTS.has(view)) last = query;
  if (!isTyping) place("search").value = (LISTS.has(view) && query.text) || "";
  document.title = `${main.querySelector("h1")?.textContent || ""} · ${run.suite}`;
  const here = `${view} ${query.id || ""}`;
  if (here !== shown && !isTyping) arrive(main, shown !== "");
  shown = here;
}

// Scrolls to the top of a new view, or to the row that its address names.
function arrive(main, takesFocus) {
  const row = main.querySelector(".rows .chosen");
  if (takesFocus) main.focus({ preventScroll: true });
  if (row) row.scrollIntoView({ block: "center" });
  else if (takesFocus) scrollTo(0, 0);
}

function showTabs(view) {
  const has = {
    mutants: run.mutants,
    tables: run.tables.length,
    rules: Object.keys(run.rules).length,
  };
  const tabs = Object.entries(TABS).filter(([name]) => !(name in has) || has[name]);
  place("tabs").replaceChildren(
    ...tabs.map(([name, title]) =>
      element(
        "a",
        {
          href: name === "overview" ? "#" : address({ view: name }),
          "aria-current": name === view ? "page" : null,
        },
        title,
      ),
    ),
  );
}

function back() {
  const view = viewOf(asked());
  if (view === "search" || view === "overview") location.hash = "";
  else if (PARENTS[view]) location.hash = address(last.view ? last : { view: PARENTS[view] });
  else location.hash = "";
}

function besideCase(by) {
  const found = chosenCases(last.view === "cases" || last.view === "search" ? last : {});
  const next = found[found.findIndex((one) => one.id === asked().id) + by];
  if (next) location.hash = caseAddress(next.id);
}

function search() {
  const text = place("search").value;
  const view = viewOf(asked());
  if (LISTS.has(view)) askQuietly({ text });
  else location.hash = address({ view: "search", text });
}

function start() {
  addEventListener("hashchange", show);
  place("search").addEventListener("input", search);
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    place("main").focus();
  });
  const actions = { n: () => besideCase(1), p: () => besideCase(-1), Escape: back };
  listen({ actions, keys: KEYS, signs: SIGNS });
  show();
}

// Shows the first view before the transcripts are loaded, which takes longer.
async function open() {
  await load(place("first").textContent);
  start();
  await loadSaid(place("said").textContent);
  const query = asked();
  if (query.view === "case") shown = ""; // scroll again: there is a timeline now
  if (query.view === "case" || query.text) show();
  document.body.dataset.ready = "yes";
}

open().catch((problem) => {
  place("main").replaceChildren(
    element("p", null, `This page cannot be shown by this browser: ${problem}`),
  );
});
