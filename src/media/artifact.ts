import { open, readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { manifestFiles, parseManifest } from "../seal/manifest.ts";
import { hashFile } from "../store/store.ts";
import { findInIso } from "./iso9660.ts";

/** What an artifact is that goes to a device as it is. */
export interface MediumArtifact {
  path: string;
  sizeBytes: number;
  kind: "raw" | "iso";
  /** The part that is left empty for seeds; absent in foreign images. */
  seedRoom?: { offsetBytes: number; sizeBytes: number };
}

/**
 * Reads what an artifact is, from its own bytes.
 *
 * @throws KubedosError when it is not one that can be written to a device
 */
export async function readArtifact(path: string): Promise<MediumArtifact> {
  const info = await stat(path).catch(() => undefined);
  if (info?.isFile() !== true) {
    throw new KubedosError("usage", `there is no artifact ${path}`, {
      hint: "`kubedos build --target raw,iso` writes them to out/",
    });
  }
  const seedRoom = await findInIso(path, "KUBEDOS/SEEDS");
  if (seedRoom !== undefined) return { path, sizeBytes: info.size, kind: "iso", seedRoom };
  const partitions = await readPartitions(path);
  if (partitions === undefined) {
    throw new KubedosError("usage", `${path} is no disk image and no installation medium`, {
      hint: "write the target `raw` or `iso`; the other formats are for hypervisors",
    });
  }
  return { path, sizeBytes: info.size, kind: "raw", seedRoom: partitions.get("kubedos-seed") };
}

/**
 * Compares the artifact with the manifest beside it, where there is one that names it.
 *
 * @throws KubedosError when it is not what the manifest says
 */
export async function checkArtifact(
  { path }: MediumArtifact,
  signal: AbortSignal,
): Promise<"as the manifest says" | "no manifest"> {
  const text = await readFile(join(dirname(path), manifestFiles.manifest), "utf8").catch(() => undefined);
  if (text === undefined) return "no manifest";
  const known = parseManifest(text, manifestFiles.manifest).artifacts.find(({ file }) => file === basename(path));
  if (known === undefined) return "no manifest";
  if ((await hashFile(path, signal)) === known.sha256) return "as the manifest says";
  throw new KubedosError("failed", `${path} is not what the manifest beside it says`, {
    hint: "build it again, or look with `kubedos verify`",
  });
}

/** Partitions by name (gpt.ts), undefined where there is no table. */
async function readPartitions(
  path: string,
): Promise<Map<string, { offsetBytes: number; sizeBytes: number }> | undefined> {
  const file = await open(path);
  try {
    const head = Buffer.alloc(34 * 512);
    await file.read(head, 0, head.length, 0);
    if (head.toString("latin1", 512, 520) !== "EFI PART") return undefined;
    const found = new Map<string, { offsetBytes: number; sizeBytes: number }>();
    for (let at = 1024; at < head.length; at += 128) {
      const [first, last] = [Number(head.readBigUInt64LE(at + 32)), Number(head.readBigUInt64LE(at + 40))];
      const name = head.toString("utf16le", at + 56, at + 128).replace(/\0+$/, "");
      if (name !== "") found.set(name, { offsetBytes: first * 512, sizeBytes: (last - first + 1) * 512 });
    }
    return found;
  } finally {
    await file.close();
  }
}
