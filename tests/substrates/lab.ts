import { mkdir, mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EventBody } from "../../shared/events.ts";
import type { RunContext } from "../../src/host/context.ts";
import type { SpecPaths } from "../../src/host/paths.ts";
import type { SubstrateName } from "../../src/spec/types.ts";
import type { Lab, LabArtifacts, NodeSeed } from "../../src/substrates/types.ts";
import { fakeSpec } from "../fakes/spec.ts";
import { makeTree } from "./tree.ts";

export const layerFile = "cluster-id";
export const credential = { name: "kubedos.node", value: "hub-1" };

/** A cluster of machines that boot next to nothing: firmware with a blank disk, or a shell as init. */
export interface TestLab extends Lab {
  root: string;
  seed: NodeSeed;
  context: RunContext;
  events: EventBody[];
}

export async function makeLab(substrate: SubstrateName): Promise<TestLab> {
  const root = await mkdtemp(join(tmpdir(), "kubedos-lab-"));
  const paths: SpecPaths = {
    spec: join(root, "lab.yaml"),
    lock: join(root, "lab.lock"),
    vault: join(root, "lab.vault"),
    out: join(root, "out"),
    state: join(root, "state"),
    keyring: join(root, "lab.keyring"),
    runtime: join(root, "run"),
  };
  const layer = join(root, "layer");
  await mkdir(layer);
  await writeFile(join(layer, layerFile), "0123");
  const events: EventBody[] = [];
  return {
    root,
    paths,
    spec: { ...fakeSpec(), substrate: { name: substrate } },
    artifacts: await makeArtifacts(substrate, root, layer),
    seed: {
      disk: Buffer.alloc(8192, "seed"),
      credentials: { [credential.name]: Buffer.from(credential.value) },
    },
    events,
    context: { emit: (event) => events.push(event), signal: AbortSignal.timeout(300_000), offline: true },
  };
}

async function makeArtifacts(substrate: SubstrateName, root: string, layer: string): Promise<LabArtifacts> {
  const hash = "a".repeat(64);
  if (substrate === "nspawn") return { hash, layer, tree: await makeTree(join(root, "tree")) };
  const image = join(root, "blank.raw");
  await writeFile(image, "");
  await truncate(image, 1024 * 1024);
  const ovmf = "/usr/share/OVMF";
  return {
    hash,
    layer,
    image,
    firmware: { code: `${ovmf}/OVMF_CODE_4M.secboot.fd`, vars: `${ovmf}/OVMF_VARS_4M.fd` },
  };
}

export async function removeLab(lab: TestLab): Promise<void> {
  await rm(lab.root, { recursive: true, force: true });
}
