import { chmod, copyFile, link, mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import type { RunContext } from "../host/context.ts";
import type { SpecPaths } from "../host/paths.ts";
import type { Spec } from "../spec/types.ts";
import type { LabArtifacts, Substrate } from "../substrates/types.ts";
import type { BuildResult } from "./build.ts";
import type { BuildInputs } from "./graph.ts";

/**
 * Machines of this spec that were made from another artifact: refused, or, where the spec says so in two places,
 * removed with the whole lab. One cluster runs one artifact.
 */
export async function settleOtherArtifacts(
  substrate: Substrate,
  lab: { spec: Spec; paths: SpecPaths },
  artifact: string,
  context: RunContext,
): Promise<void> {
  const machines = await substrate.status(lab);
  const other = machines.filter((machine) => machine.artifact !== undefined && machine.artifact !== artifact);
  if (other.length === 0) return;
  const names = other.map((machine) => machine.node).join(", ");
  const { onChange, allowDestroy } = lab.spec.policy;
  if (onChange !== "replace" || !allowDestroy) {
    throw new KubedosError("failed", `${names}: made from another artifact of this cluster`, {
      hint: "`kubedos down` first; or write `policy: { onChange: replace, allowDestroy: true }` to have `up` do it",
    });
  }
  context.emit({ type: "log", level: "warn", message: `replacing ${names}: made from another artifact` });
  await substrate.destroy(lab, context);
}

/** The cluster layer's files, for substrates without an initrd and for the verbs of a running cluster. */
export async function placeLayer(paths: SpecPaths, files: BuildInputs["layer"]): Promise<string> {
  const directory = join(paths.state, "layer");
  // Folders are the user's, whose files may have gone; the layer's own files stay where running containers see them.
  await rm(join(directory, "ansible"), { recursive: true, force: true });
  for (const file of files) {
    const path = join(directory, file.path);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, file.content);
    await chmod(path, file.mode);
  }
  return directory;
}

/**
 * The sealed image and its firmware under names of the lab's own: machines go on booting from them when the store is
 * cleaned up.
 */
export async function placeSealed(
  paths: SpecPaths,
  built: BuildResult,
): Promise<Required<Pick<LabArtifacts, "image" | "firmware">>> {
  return {
    image: await place(paths, built.image.path, "image.raw"),
    firmware: {
      code: await place(paths, built.firmware.code, "code.fd"),
      vars: await place(paths, built.firmware.vars, "vars.fd"),
    },
  };
}

/** The repository that hubs serve, where there is one. */
export async function placeDarksite(paths: SpecPaths, built: BuildResult): Promise<string | undefined> {
  return built.darksite === undefined ? undefined : place(paths, built.darksite.path, "darksite.tar");
}

async function place(paths: SpecPaths, object: string, name: string): Promise<string> {
  const directory = join(paths.state, "artifacts");
  await mkdir(directory, { recursive: true });
  const path = join(directory, name);
  const [source, target] = await Promise.all([stat(object), stat(path).catch(() => undefined)]);
  if (target !== undefined && target.dev === source.dev && target.ino === source.ino) return path;
  await rm(`${path}.new`, { force: true });
  await link(object, `${path}.new`).catch(() => copyFile(object, `${path}.new`));
  await rename(`${path}.new`, path);
  return path;
}
