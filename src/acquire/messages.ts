import { KubedosError } from "../../shared/error.ts";
import type { Wanted } from "./places.ts";

/** A size for people: `12.3 MB`, powers of 1000. */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** Lists exactly what the store lacks while the network may not be used. */
export function offlineError(missing: readonly Wanted[]): KubedosError {
  const total = missing.reduce((sum, entry) => sum + entry.sizeBytes, 0);
  const problems = missing
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map((entry) => ({ message: `${entry.name} ${entry.version} ${entry.sizeBytes} bytes sha256:${entry.sha256}` }));
  const files = missing.length === 1 ? "1 file" : `${missing.length} files`;
  return new KubedosError("offline", `offline, and the store lacks ${files} (${formatBytes(total)})`, {
    hint: "run once without --offline, or `kubedos store import` a capsule that holds them",
    problems,
  });
}
