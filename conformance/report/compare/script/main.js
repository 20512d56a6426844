// Shows the view that the address names.

import { address, asked, askQuietly } from "./address.js";
import { chooser, choice } from "./choice.js";
import { codeView } from "./code.js";
import { element, place } from "./dom.js";
import { factsView } from "./facts.js";
import { followIdeas } from "./ideas.js";
import { listen } from "./keys.js";
import { saidView } from "./said.js";
import { load, loadSaid, run } from "./store.js";

const VIEWS = { code: codeView, figures: factsView, transcripts: saidView };
const TITLES = { code: "Code", figures: "Figures", transcripts: "Transcripts" };
const KEYS = [
  ["Tab", "next function; its name is highlighted in all programs"],
  ["Enter", "keep it highlighted, or stop that"],
  ["Esc", "clear the search"],
];

const viewOf = (query) => (VIEWS[query.view] ? query.view : "code");

function show() {
  const query = asked();
  const view = viewOf(query);
  const what = choice(query);
  const parts = [chooser(what), ...VIEWS[view](what, query)].flat(Infinity).filter(Boolean);
  place("main").replaceChildren(element("h1", null, headline(what)), ...parts);
  showTabs(view, query);
  if (document.activeElement !== place("search")) place("search").value = query.text || "";
  arrive(query.at);
  document.title = `${headline(what)} · ${run.suite}`;
}

// Scrolls to the section that the address names.
function arrive(at) {
  const section = at && document.querySelector(`[data-section="${CSS.escape(at)}"]`);
  if (section) section.scrollIntoView();
}

const headline = ({ role, programs }) =>
  `${programs.map((one) => one.name).join(", ")}: ${programs.length} ${role}s side by side`;

function showTabs(view, { role, of }) {
  const tab = ([name, title]) =>
    element(
      "a",
      {
        href: address({ view: name, role, of }),
        "aria-current": name === view ? "page" : null,
      },
      title,
    );
  const report = run.cases.length > 0 && element("a", { href: "index.html" }, "Report");
  place("tabs").replaceChildren(...[...Object.entries(TITLES).map(tab), report].filter(Boolean));
}

function start() {
  addEventListener("hashchange", show);
  place("search").addEventListener("input", () =>
    askQuietly({ view: "code", text: place("search").value }),
  );
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    place("main").focus();
  });
  followIdeas(place("main"));
  listen({ actions: { Escape: () => askQuietly({ text: "" }) }, keys: KEYS });
  show();
}

async function open() {
  await load(place("first").textContent);
  start();
  await loadSaid(place("said").textContent);
  if (asked().view === "transcripts") show();
  document.body.dataset.ready = "yes";
}

open().catch((problem) => {
  place("main").replaceChildren(
    element("p", null, `This page cannot be shown by this browser: ${problem}`),
  );
});
