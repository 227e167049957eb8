import { randomBytes } from "node:crypto";

/** A file name that no other process and no other call uses: `<file>.<pid>-<random>`. */
export function uniqueBeside(file: string): string {
  return `${file}.${process.pid}-${randomBytes(8).toString("hex")}`;
}
