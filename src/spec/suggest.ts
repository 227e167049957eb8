const longestCompared = 64;

/**
 * The candidate that a person most likely meant by `word`: the one with the fewest edits (insert, delete, replace,
 * swap of neighbours), where that is at most a third of the longer word; the first of several.
 */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  if (word.length > longestCompared) return undefined;
  let best: string | undefined;
  let bestDistance = Infinity;
  for (const candidate of candidates) {
    const allowed = Math.max(1, Math.floor(Math.max(word.length, candidate.length) / 3));
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance <= allowed && distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** A hint for a wrong name: the nearest valid one if there is one, and all of them where they are few. */
export function suggestName(word: string, candidates: readonly string[]): string {
  const guess = nearest(word, candidates);
  const choice = candidates.length <= 20 ? `one of ${candidates.join(", ")}` : undefined;
  if (guess === undefined) return choice === undefined ? "use another name" : `write ${choice}`;
  return choice === undefined ? `did you mean \`${guess}\`?` : `did you mean \`${guess}\`? It is ${choice}`;
}

/** Optimal string alignment distance (Damerau–Levenshtein without overlapping edits). */
export function editDistance(a: string, b: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min(previous[j]! + 1, current[j - 1]! + 1, previous[j - 1]! + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, beforePrevious[j - 2]! + 1);
      }
      current.push(best);
    }
    beforePrevious = previous;
    previous = current;
  }
  return previous[b.length]!;
}
