// The choice of the programs to compare, which have the same role. The address names them.

import { ask } from "./address.js";
import { element, select, span } from "./dom.js";
import { run } from "./store.js";

const MOST = 4; // columns
const USUAL = 3;

export function choice(query) {
  const roles = Object.keys(run.roles).filter((role) => allOf(role).length > 1);
  const role = roles.includes(query.role) ? query.role : roles[0];
  const all = allOf(role);
  const named = all.filter((one) => (query.of || "").split(",").includes(one.name));
  const programs = named.length > 1 ? named.slice(0, MOST) : all.slice(0, USUAL);
  return { roles, role, all, programs };
}

const allOf = (role) => run.programs.filter((one) => one.role === role);

export function chooser({ roles, role, all, programs }) {
  const kinds = roles.map((name) => [name, `${name}s`]);
  return element(
    "div",
    { class: "filters", role: "group", "aria-label": "What is compared" },
    roles.length > 1 && select("Role", kinds, role, (name) => ask({ role: name, of: "" })),
    all.map((one) => toggle(one, all, programs)),
  );
}

function toggle(one, all, programs) {
  const isOn = programs.includes(one);
  const isBound = isOn ? programs.length === 2 : programs.length === MOST;
  const change = () => {
    const next = all.filter((other) => programs.includes(other) !== (other === one));
    ask({ of: next.map((other) => other.name).join(",") });
  };
  const box = element("input", { type: "checkbox", checked: isOn, disabled: isBound, change });
  return element("label", { class: "toggle" }, box, ` ${one.name} `, span("soft", one.language));
}

// The colour of a program, the same in every view.
export const colorOf = (one) => `var(--program-${run.programs.indexOf(one) % 6})`;
