import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";

/** A file name that no other process and no other call uses: `<file>.<pid>-<random>`. */
export function uniqueBeside(file: string): string {
  return `${file}.${process.pid}-${randomBytes(8).toString("hex")}`;
}

/** Whether a name made by `uniqueBeside` is of a process that has ended. */
export function isLeftover(name: string): boolean {
  const [, pid] = /\.(\d+)-[0-9a-f]{16}(\.\w+)?$/.exec(name) ?? [];
  return pid !== undefined && !existsSync(`/proc/${pid}`);
}
