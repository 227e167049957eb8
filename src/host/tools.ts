import { access, constants } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { cleanEnvironment } from "./run.ts";

/** Which of these commands are not on the path, with the Debian package that brings each. */
export async function missingTools(tools: Record<string, string>): Promise<{ what: string; hint: string }[]> {
  const missing: { what: string; hint: string }[] = [];
  for (const [tool, debianPackage] of Object.entries(tools)) {
    if ((await findTool(tool)) === undefined) {
      missing.push({ what: `command not found: ${tool}`, hint: `apt-get install ${debianPackage}` });
    }
  }
  return missing;
}

/** @throws KubedosError that names every command that is not on the path, and its Debian package */
export async function requireTools(tools: Record<string, string>): Promise<void> {
  const missing = await missingTools(tools);
  if (missing.length === 0) return;
  throw new KubedosError("failed", missing.map(({ what }) => what).join(", "), {
    hint: missing.map(({ hint }) => hint).join(", "),
  });
}

/** Absolute path of a command, or undefined. */
export async function findTool(tool: string): Promise<string | undefined> {
  for (const directory of cleanEnvironment()["PATH"]!.split(":")) {
    const path = join(directory, tool);
    const found = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return path;
  }
  return undefined;
}
