import { KubedosError } from "../../shared/error.ts";
import {
  forgetCached,
  holdersOf,
  looksBlank,
  openExclusively,
  readBlockDevice,
  rereadPartitions,
} from "../host/block-device.ts";
import type { RunContext } from "../host/context.ts";
import { openSeedSource } from "../lifecycle/project.ts";
import { mediumToken, nodeSeed } from "../lifecycle/up-project.ts";
import type { UnlockOptions } from "../vault/types.ts";
import { checkArtifact, readArtifact, type MediumArtifact } from "./artifact.ts";
import { describeDevice, missingConsent, refusals, type WriteConsent } from "./refusals.ts";
import { describeSeeds, readPassphrase, sealedSeeds } from "./seeds.ts";
import { writeDevice, type Patch } from "./write-device.ts";

export interface WriteRequest {
  artifact: string;
  device: string;
  consent: WriteConsent;
  /** raw: node whose seed goes on the disk. */
  seedOf?: string;
  /** iso: put the seeds of all nodes on it. File with the passphrase that seals them, or true: TPMs alone do. */
  seeds?: string | true;
  specFile: string;
  vault: UnlockOptions;
}

export interface WriteResult {
  /** The device for people: path, model, serial number, size. */
  device: string;
  sizeBytes: number;
  sha256: string;
  /** What of seeds was put on it. */
  seeds?: string;
}

/**
 * Writes an artifact to a whole disk and reads it back.
 *
 * @throws KubedosError when the artifact is no medium or not what its manifest says; when the disk may not be written
 *   (all reasons), or more must be said first; when the disk does not give back what was written
 */
export async function writeMedium(request: WriteRequest, context: RunContext): Promise<WriteResult> {
  const { signal, emit } = context;
  // 1. Artifact and disk, before anything is asked or opened.
  const artifact = await readArtifact(request.artifact);
  const device = await readBlockDevice(request.device, signal);
  const name = describeDevice(device);
  const refused = refusals(device, await holdersOf(device.path), artifact.sizeBytes);
  if (refused.length > 0) {
    throw new KubedosError("failed", `${name}: nothing is written to it`, {
      problems: refused,
      hint: refused[0]!.hint,
    });
  }
  const unsaid = missingConsent(device, await looksBlank(device), request.consent);
  if (unsaid.length > 0) {
    throw new KubedosError("usage", `${name}: this would be written over`, { problems: unsaid, hint: unsaid[0]!.hint });
  }
  const manifest = await checkArtifact(artifact, signal);
  emit({ type: "log", level: "info", message: `${artifact.path} (${manifest}) goes to ${name}` });
  const { patches, seeds } = await makePatches(request, artifact, context);
  // 2. Write and read back.
  const handle = await openExclusively(device.path);
  try {
    const stage = "write";
    const sha256 = await writeDevice(artifact.path, handle, device.size, patches, {
      signal,
      forgetCached: () => forgetCached(device.path, signal),
      progress: (note, done, total) => emit({ type: "stage.progress", stage, done, total, unit: "bytes", note }),
    });
    return { device: name, sizeBytes: artifact.sizeBytes, sha256, seeds };
  } finally {
    await handle.close();
    await rereadPartitions(device.path);
  }
}

async function makePatches(
  request: WriteRequest,
  artifact: MediumArtifact,
  context: RunContext,
): Promise<{ patches: Patch[]; seeds?: string }> {
  const { seedOf, seeds, specFile } = request;
  if (seedOf === undefined && seeds === undefined) return { patches: [] };
  const { seedRoom } = artifact;
  const fits = artifact.kind === (seedOf === undefined ? "iso" : "raw");
  if (!fits || seedRoom === undefined) {
    throw new KubedosError("usage", `${artifact.path} has no room for ${seedOf === undefined ? "seeds" : "a seed"}`, {
      hint: "--seed is for a disk (target raw), --seeds for an installation medium (target iso)",
    });
  }
  const source = await openSeedSource(specFile, { vault: request.vault }, context);
  if (seedOf !== undefined) {
    const content = (await nodeSeed(source, seedOf, mediumToken)).disk;
    return { patches: [{ offsetBytes: seedRoom.offsetBytes, content }], seeds: `seed of ${seedOf}` };
  }
  const content = await sealedSeeds(source, await readPassphrase(seeds ?? true), seedRoom.sizeBytes);
  return { patches: [{ offsetBytes: seedRoom.offsetBytes, content }], seeds: describeSeeds(source) };
}
