// Handles the keyboard, the help, and the colours.

import { element, place } from "./dom.js";

const KEYS = [
  ["/", "search"],
  ["j, k", "next, previous"],
  ["t", "light or dark"],
  ["?", "this help"],
];
const THEMES = { "": ["◐", "as in the system"], light: ["☀", "light"], dark: ["☾", "dark"] };

// Shows the help. `keys` and `signs` are pairs of a key or sign and its meaning.
function help(keys, signs) {
  const list = (items) =>
    element(
      "dl",
      null,
      items.map(([name, words]) => [element("dt", null, name), element("dd", null, words)]),
    );
  place("help").replaceChildren(
    element("h2", { id: "help-title" }, "Keys"),
    list(keys),
    ...(signs ? [element("h3", null, "In a timeline"), list(signs)] : []),
    element("form", { method: "dialog" }, element("button", { type: "submit" }, "Close")),
  );
  place("help").showModal();
}

// Reads or writes the stored theme. Some browsers store nothing for files.
function kept(value) {
  try {
    if (value !== undefined) localStorage.setItem("conformance-theme", value);
    return localStorage.getItem("conformance-theme") || "";
  } catch {
    return value || "";
  }
}

function useTheme(name) {
  const [sign, words] = THEMES[name] || THEMES[""];
  document.documentElement.dataset.theme = name;
  place("theme").replaceChildren(sign);
  place("theme").setAttribute("aria-label", `Colours: ${words}`);
  place("theme").title = `Colours: ${words} (t)`;
}

function nextTheme() {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length];
  useTheme(next);
  kept(next);
}

// Moves the focus to the next item of a view (by = 1) or the previous one (by = -1).
function step(by) {
  const items = [...place("main").querySelectorAll("[data-item]")].filter((one) =>
    one.checkVisibility(),
  );
  const at = items.indexOf(document.activeElement.closest("[data-item]"));
  const next =
    items[
      at < 0 ? (by > 0 ? 0 : items.length - 1) : Math.min(items.length - 1, Math.max(0, at + by))
    ];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

export function listen({ actions, keys, signs }) {
  const showHelp = () => help([...keys, ...KEYS], signs);
  useTheme(kept());
  place("theme").addEventListener("click", nextTheme);
  place("keys").addEventListener("click", showHelp);
  const all = {
    "/": () => place("search").select(),
    j: () => step(1),
    k: () => step(-1),
    t: nextTheme,
    "?": showHelp,
    ...actions,
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || place("help").open) return;
    const typing = event.target.matches("input, select, textarea");
    if (typing && event.key !== "Escape") return;
    const action = all[event.key];
    if (!action) return;
    event.preventDefault();
    if (typing) event.target.blur();
    else action();
  });
}
