/**
 * Compares two Debian versions as dpkg does: negative, zero or positive as `a` is older, the same or newer.
 * Debian policy 5.6.12, deb-version(7).
 */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [split(a), split(b)];
  return (
    left.epoch - right.epoch || comparePart(left.upstream, right.upstream) || comparePart(left.revision, right.revision)
  );
}

function split(version: string): { epoch: number; upstream: string; revision: string } {
  const colon = version.indexOf(":");
  const rest = version.slice(colon + 1);
  const dash = rest.lastIndexOf("-");
  return {
    epoch: colon < 0 ? 0 : Number(version.slice(0, colon)),
    upstream: dash < 0 ? rest : rest.slice(0, dash),
    revision: dash < 0 ? "" : rest.slice(dash + 1),
  };
}

/** In turn: a stretch without digits by character, then a number by its value. */
function comparePart(a: string, b: string): number {
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    while (isText(a[i]) || isText(b[j])) {
      const difference = weight(a[i]) - weight(b[j]);
      if (difference !== 0) return difference;
      i++;
      j++;
    }
    const [left, right] = [digits(a, i), digits(b, j)];
    const [x, y] = [left.replace(/^0+/, ""), right.replace(/^0+/, "")];
    const difference = x.length - y.length || (x < y ? -1 : x > y ? 1 : 0);
    if (difference !== 0) return difference;
    i += left.length;
    j += right.length;
  }
  return 0;
}

function isText(char: string | undefined): boolean {
  return char !== undefined && !/[0-9]/.test(char);
}

function digits(text: string, from: number): string {
  return /^[0-9]*/.exec(text.slice(from))![0];
}

/** `~` before the end, the end before letters, letters before everything else; a digit counts as the end. */
function weight(char: string | undefined): number {
  if (char === undefined || /[0-9]/.test(char)) return 0;
  if (char === "~") return -1;
  return /[A-Za-z]/.test(char) ? char.charCodeAt(0) : char.charCodeAt(0) + 256;
}
