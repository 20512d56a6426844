// Makes elements. A text always becomes a text node, never HTML.

// element("a", { class: "soft", style: { left: "0" }, click: act }, "text", child, [children], null)
export function element(name, attributes, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function drawing(name, attributes, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) set(made, key, value);
  made.append(...children.flat(Infinity).filter(isThere));
  return made;
}

const isThere = (value) => value !== null && value !== undefined && value !== false;

function set(made, key, value) {
  if (typeof value === "function") made.addEventListener(key, value);
  else if (key === "style")
    for (const rule of Object.entries(value)) made.style.setProperty(...rule);
  else if (isThere(value)) made.setAttribute(key, value === true ? "" : value);
}

export const span = (kind, ...children) => element("span", { class: kind }, ...children);
export const paragraph = (kind, ...children) => element("p", { class: kind }, ...children);
export const link = (href, ...children) => element("a", { href }, ...children);
export const place = (id) => document.getElementById(id);

// Text with `code` between backticks, as in the protocol.
export function prose(text) {
  const pieces = text.split("`");
  const whole = pieces.length % 2 === 1;
  return pieces.map((piece, i) => (whole && i % 2 ? element("code", null, piece) : piece));
}

export function section(title, ...children) {
  return element("section", null, element("h2", null, title), ...children);
}

// A box that scrolls sideways, by mouse or keyboard, for contents wider than the window.
export function wide(label, ...children) {
  const attributes = { class: "scroll card", tabindex: "0", role: "group", "aria-label": label };
  return element("div", attributes, ...children);
}

export function headRow(cells) {
  return element("thead", null, element("tr", null, ...cells));
}

export const columnHead = (...children) => element("th", { scope: "col" }, ...children);
export const rowHead = (...children) => element("th", { scope: "row" }, ...children);

export function folded(title, isOpen, ...children) {
  return element(
    "details",
    { class: "part", open: isOpen },
    element("summary", null, title),
    ...children,
  );
}

// `options` are pairs of a value and its text.
export function select(label, options, chosen, choose) {
  const items = options.map(([value, text]) =>
    element("option", { value, selected: value === chosen }, text),
  );
  const change = (event) => choose(event.target.value);
  return element("select", { "aria-label": label, title: label, change }, items);
}

export function counted(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

export const minute = (moment) => moment.slice(0, 16).replace("T", " ");

const AT_ONCE = 100;

// A list that shows its first items at once, and others when its end comes into view.
export function longList(items, draw) {
  if (!items.length) return paragraph("card empty", "No matches. Clear a filter.");
  const end = element("div");
  const list = element("div", { class: "card list" }, end);
  let shown = 0;
  const more = () => {
    end.before(...items.slice(shown, shown + AT_ONCE).map(draw));
    shown += AT_ONCE;
    if (shown >= items.length) end.remove();
  };
  more();
  if (shown < items.length) whenNear(end, more);
  return list;
}

function whenNear(end, more) {
  const see = (seen) => {
    if (!end.isConnected) watcher.disconnect();
    else if (seen.some((one) => one.isIntersecting)) more();
  };
  const watcher = new IntersectionObserver(see, { rootMargin: "800px" });
  watcher.observe(end);
}
