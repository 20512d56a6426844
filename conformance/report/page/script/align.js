// Aligns two lists of lines so that as many equal lines as possible are side by side.

// Pairs of lines, with undefined where one side has no line.
export function aligned(left, right) {
  const start = shared(left, right, 0, (lines, i) => lines[i]);
  const end = shared(left, right, start, (lines, i) => lines[lines.length - 1 - i]);
  const same = (lines) => lines.map((text) => [text, text]);
  return [
    ...same(left.slice(0, start)),
    ...mingled(left.slice(start, left.length - end), right.slice(start, right.length - end)),
    ...same(left.slice(left.length - end)),
  ];
}

// The number of equal lines at one end. `taken` lines at the other end do not count.
function shared(left, right, taken, at) {
  const most = Math.min(left.length, right.length) - taken;
  let count = 0;
  while (count < most && at(left, count) === at(right, count)) count += 1;
  return count;
}

// Aligns by the longest common subsequence.
function mingled(left, right) {
  const longest = lengths(left, right);
  const pairs = [];
  let [i, j] = [0, 0];
  while (i < left.length && j < right.length) {
    if (left[i] === right[j]) pairs.push([left[i++], right[j++]]);
    else if (longest[i + 1][j] >= longest[i][j + 1]) pairs.push([left[i++], undefined]);
    else pairs.push([undefined, right[j++]]);
  }
  const rest = [
    ...left.slice(i).map((text) => [text, undefined]),
    ...right.slice(j).map((text) => [undefined, text]),
  ];
  return [...pairs, ...rest];
}

// The length of the longest common subsequence, from each pair of indices on.
function lengths(left, right) {
  const table = Array.from({ length: left.length + 1 }, () => new Uint16Array(right.length + 1));
  for (let i = left.length - 1; i >= 0; i -= 1) {
    for (let j = right.length - 1; j >= 0; j -= 1) {
      const longer = Math.max(table[i + 1][j], table[i][j + 1]);
      table[i][j] = left[i] === right[j] ? table[i + 1][j + 1] + 1 : longer;
    }
  }
  return table;
}
