// A bar chart with one bar for each program.

import { colorOf } from "./choice.js";
import { drawing, element } from "./dom.js";

const [WIDTH, ROW, NAME, FIGURE] = [360, 24, 84, 76];

// `items` are pairs of a program and its value, or undefined without a value.
export function bars(title, items) {
  const most = Math.max(...items.map(([, value]) => value || 0)) || 1;
  const words = items.map(([one, value]) => `${one.name} ${shown(value)}`).join(", ");
  const rows = items.map(([one, value], i) => bar(one, value, (WIDTH - NAME - FIGURE) / most, i));
  const box = { viewBox: `0 0 ${WIDTH} ${ROW * items.length}`, role: "img", "aria-label": words };
  return element(
    "figure",
    { class: "card bars" },
    element("figcaption", null, title),
    drawing("svg", box, rows),
  );
}

function bar(one, value, scale, i) {
  const [middle, size] = [i * ROW + 16, (value || 0) * scale];
  return [
    drawing("text", { x: NAME - 8, y: middle, "text-anchor": "end" }, one.name),
    drawing("rect", {
      x: NAME,
      y: i * ROW + 4,
      width: size,
      height: ROW - 8,
      rx: 3,
      style: { fill: colorOf(one) },
    }),
    drawing("text", { x: NAME + size + 6, y: middle, class: "figure" }, shown(value)),
  ];
}

export function shown(value) {
  if (typeof value !== "number") return value ?? "–";
  return value.toLocaleString("en", {
    maximumSignificantDigits: 4,
    notation: value >= 1e6 ? "compact" : "standard",
  });
}
