import { printable } from "./format.ts";

/** What was found where, on one line. */
export function findingText(finding: { structure: string; offsetBytes?: number; message: string }): string {
  const { structure, offsetBytes, message } = finding;
  return printable(`${structure}${offsetBytes === undefined ? "" : `, byte ${offsetBytes}`}: ${message}`);
}
