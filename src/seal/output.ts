import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { openErofs, type Erofs } from "./erofs.ts";
import { imageOf, manifestFiles, parseManifest, type Manifest } from "./manifest.ts";
import { openArtifact } from "./verify-artifact.ts";
import { readBootFile } from "./verify-fat.ts";
import { verifyGpt } from "./verify-gpt.ts";
import { readUki, type BootImage } from "./verify-uki.ts";

/** What a build has put out, opened to be looked into. Nothing of it is verified. */
export interface Output {
  manifest: Manifest;
  /** Text of the CycloneDX bill of materials, where it is there. */
  sbom?: string;
  /** Root and boot image, from the first artifact that could be opened. */
  root?: Erofs;
  boot?: BootImage;
}

/**
 * Opens an output directory, a manifest, or one artifact.
 *
 * @throws KubedosError when there is no manifest, or it is not one
 */
export async function openOutput(path: string, signal: AbortSignal): Promise<Output> {
  const scratch = await mkdtemp(join(tmpdir(), "kubedos-open-"));
  try {
    return await open(path, scratch, signal);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function open(path: string, scratch: string, signal: AbortSignal): Promise<Output> {
  const whole = resolve(path);
  const info = await stat(whole).catch(() => undefined);
  if (info === undefined) {
    throw new KubedosError("usage", `there is no ${path}`, { hint: "name an output directory of `kubedos build`" });
  }
  const directory = info.isDirectory() ? whole : dirname(whole);
  const only = info.isDirectory() ? undefined : basename(whole);
  const manifestPath = join(directory, manifestFiles.manifest);
  const text = await readFile(manifestPath, "utf8").catch((cause: unknown) => {
    throw new KubedosError("usage", `there is no ${manifestFiles.manifest} in ${directory}`, {
      hint: "name the output directory of a build (out/cluster), or an artifact in it",
      cause,
    });
  });
  const published = parseManifest(text, manifestPath);
  const wanted = published.artifacts.filter(
    ({ file }) => only === undefined || only === manifestFiles.manifest || only === file,
  );
  // In place, where that is possible, before what has to be unpacked.
  const quick = ["raw", "metal", "qcow2", "vhd"];
  const order = wanted.toSorted((a, b) => Number(quick.includes(b.target)) - Number(quick.includes(a.target)));
  // One sealed image, where there are several: that of the artifact that was named, else the platform's own.
  const { manifest, files, holds } = imageOf(published, only === undefined ? "" : (wanted[0]?.target ?? ""));
  const sbom = await readFile(join(directory, files.cyclonedx), "utf8").catch(() => undefined);
  for (const { target, file } of order) {
    if (!holds(target)) continue;
    const image = await stat(join(directory, file))
      .then(() => openArtifact(target, join(directory, file), scratch, manifest, signal))
      .catch((error: unknown) => {
        signal.throwIfAborted();
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
        throw new KubedosError("failed", `${join(directory, file)} cannot be read: ${(error as Error).message}`, {
          hint: "`kubedos verify` says what is wrong with it",
          cause: error,
        });
      });
    if (image === undefined) continue;
    try {
      const { partitions } = await verifyGpt(image);
      const [esp, root] = partitions;
      if (esp === undefined || root === undefined) throw new Error("it has no partitions");
      const fat = await image.read(esp.firstByte, esp.sizeBytes);
      const { firstByte, sizeBytes } = readBootFile(fat);
      const boot = readUki(fat.subarray(firstByte, firstByte + sizeBytes), manifest.boot.layer.sizeBytes);
      const bytes = await image.read(root.firstByte, manifest.platform.root.sizeBytes);
      return { manifest, sbom, root: openErofs(bytes), boot };
    } catch (error) {
      signal.throwIfAborted();
      throw new KubedosError("failed", `${join(directory, file)} cannot be read: ${(error as Error).message}`, {
        hint: "`kubedos verify` says what is wrong with it",
        cause: error,
      });
    } finally {
      await image.close();
    }
  }
  return { manifest, sbom };
}
