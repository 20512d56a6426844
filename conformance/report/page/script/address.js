// The state of the page is in the fragment of its address, so that each view has a link.

export const asked = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

export function address(query) {
  const set = Object.entries(query).filter(([, value]) => value);
  return `#${new URLSearchParams(set)}`;
}

// Changes some parameters of the view.
export function ask(changes) {
  location.hash = address({ ...asked(), ...changes });
}

// The same without an entry in the history, for each letter that is typed.
export function askQuietly(changes) {
  note(changes);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

// Changes only the address, when the view shows the change already.
export function note(changes) {
  history.replaceState(null, "", address({ ...asked(), ...changes }));
}

export const caseAddress = (id) => address({ view: "case", id });
export const ruleAddress = (id) => address({ view: "rule", id });
export const casesAddress = (query) => address({ view: "cases", ...query });
