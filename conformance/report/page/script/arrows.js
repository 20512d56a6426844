// Finds out, by content and order, which row of a transcript shows a line that another row said.

const SAID = new Set([">", ">>", ">."]);
const SEEN = new Set(["<", "<~", "<?", "<<"]);

// comesFrom: for each row that was seen, the index of the row that said it, or -1 if it came from the
// server by itself. shownBy: for each row that was said, the indices of the rows that show it.
export function links(rows) {
  const shownBy = rows.map(() => []);
  const comesFrom = rows.map(() => -1);
  const said = []; // line by line
  rows.forEach((row, at) => {
    if (SAID.has(row.mark)) said.push(...linesOf(row.text).map((text) => lineSaid(row, text, at)));
    const source = SEEN.has(row.mark) && best(said, row);
    if (!source) return;
    source.seenBy.add(row.actor);
    comesFrom[at] = source.at;
    shownBy[source.at].push(at);
  });
  return { comesFrom, shownBy };
}

export const isSaid = (row) => SAID.has(row.mark);
export const isSeen = (row) => SEEN.has(row.mark) || row.mark === "?";

// Line ends are visible as a sign or as escapes.
const linesOf = (text) => text.split(/⏎|\\r|\\n/).filter(Boolean);
const lineSaid = ({ actor }, text, at) => ({ actor, text, at, seenBy: new Set() });

// The best fitting line of another actor that this actor has not seen yet; of equals, the earliest.
function best(said, row) {
  const latest = new Map(said.map((one) => [one.actor, one.at]));
  let found = null;
  let most = 0;
  for (const one of said) {
    if (one.actor === row.actor || one.seenBy.has(row.actor)) continue;
    const fit = fits(one, row.text, latest.get(one.actor) === one.at);
    if (fit > most) [found, most] = [one, fit];
  }
  return found;
}

// How well a seen text fits a said one; 0: not at all. It fits if it ends with the whole said text,
// or with the said text without its command or first character, or if it has the said text as a
// word and its actor has said nothing since. More common characters fit better.
function fits({ actor, text }, seen, isLatest) {
  const named = holdsWord(seen, actor) ? 1 : 0;
  const shared = commonEnd(text, seen);
  if (shared === text.length && (named || shared >= 2)) return 2 + shared + named;
  const start = text.length - shared;
  const isRest = start === 1 || text.slice(start - 1, start + 1).includes(" ");
  if (shared >= 1 && isRest && (named || shared >= 2)) return 1 + shared + named;
  return isLatest && text.length >= 3 && holdsWord(seen, text) ? 1 : 0;
}

function commonEnd(one, other) {
  const most = Math.min(one.length, other.length);
  let count = 0;
  while (count < most && one.at(-1 - count) === other.at(-1 - count)) count += 1;
  return count;
}

function holdsWord(text, word) {
  const isWord = (char) => char !== undefined && /[\w-]/.test(char);
  for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1)) {
    if (!isWord(text[at - 1]) && !isWord(text[at + word.length])) return true;
  }
  return false;
}
