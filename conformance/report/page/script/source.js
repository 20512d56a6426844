// The YAML of a scenario, with the line of a step highlighted.

import { element, span } from "./dom.js";
import { entryOf } from "./store.js";

// The line number of a failed step: 14 of `scenarios/chat.yaml:14:9  bob: …`.
export const lineOf = (failure) => Number(/:(\d+):\d+ {2}/.exec(failure?.step)?.[1] || 0);

export function sourceBox(script, failing) {
  const lines = entryOf(script).map(([number, text]) =>
    element(
      "span",
      { class: number === failing ? "line failing" : "line", "data-line": number },
      span("number", number),
      colored(text),
    ),
  );
  const attributes = { class: "card yaml", tabindex: "0", role: "group" };
  return element("pre", { ...attributes, "aria-label": "The scenario's YAML" }, lines);
}

function colored(text) {
  if (text.trim().startsWith("#")) return span("comment", `${text}\n`);
  const [, before, key, rest] = /^(\s*(?:- )?)([\w ,-]+:)?(.*)$/.exec(text);
  return [before, key && span("key", key), `${rest}\n`];
}

export function markLine(box, number) {
  for (const line of box.querySelectorAll(".line")) {
    const isIt = Number(line.dataset.line) === number;
    line.classList.toggle("at", isIt);
    if (isIt) box.scrollTop = line.offsetTop - box.clientHeight / 2;
  }
}
