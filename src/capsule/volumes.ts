import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { KubedosError } from "../../shared/error.ts";
import type { RunContext } from "../host/context.ts";
import { readProjectFile } from "../host/project.ts";
import { createDirectory, createIso, createUnder, type CreatedCapsule } from "./create.ts";
import { sumsText } from "./format.ts";
import type { PlannedFile } from "./layout.ts";

/** Room for what every volume says of itself, and for the file system. */
const reserveBytes = 4_000_000;

/**
 * Splits a capsule into volumes of a size: `volume-01`, `volume-02` … in the output directory (or as ISO files, when the
 * output's name ends with `.iso`). A file that does not fit is cut into parts; JOIN.sh on each volume puts the capsule
 * together again, with nothing but a shell and coreutils.
 *
 * @throws KubedosError when a volume would be too small to be useful
 */
export async function createVolumes(
  files: readonly PlannedFile[],
  output: string,
  volumeBytes: number,
  tools: { root: string; epoch: number; label: string },
  context: RunContext,
): Promise<CreatedCapsule> {
  if (volumeBytes < 4 * reserveBytes) {
    throw new KubedosError("usage", `--split: volumes of ${volumeBytes} bytes are too small`, {
      hint: "at least 16 MB",
    });
  }
  const volumes = await assign(files, volumeBytes - reserveBytes);
  const iso = output.endsWith(".iso");
  const directory = iso ? output.replace(/\.iso$/, "") : output;
  await createUnder(directory);
  const names = volumes.map((_, index) => `volume-${String(index + 1).padStart(2, "0")}`);
  const where = volumes.flatMap((members, index) => members.map(({ path }) => `${names[index]}  ${path}\n`)).join("");
  const total: CreatedCapsule = { path: directory, files: 0, sizeBytes: 0, resumed: 0 };
  for (const [index, members] of volumes.entries()) {
    const own = [
      ...members,
      text("VOLUMES", where),
      text("JOIN.sh", await readProjectFile("src/capsule/files/JOIN.sh"), 0o755),
    ];
    const sums = text("VOLUME.SHA256SUMS", sumsText(own));
    const path = join(directory, names[index]!);
    const created = await createDirectory([...own, sums], path, tools.epoch, context);
    total.files += created.files;
    total.sizeBytes += created.sizeBytes;
    if (!iso) continue;
    const label = `${tools.label}_${index + 1}`;
    await createIso(path, `${path}.iso`, { ...tools, label }, context);
    await rm(path, { recursive: true, force: true });
  }
  return total;
}

/** Whole files where they fit, in their order; a larger one begins on what is left of a volume and goes on. */
async function assign(files: readonly PlannedFile[], roomBytes: number): Promise<PlannedFile[][]> {
  const volumes: PlannedFile[][] = [[]];
  let left = roomBytes;
  const next = () => {
    volumes.push([]);
    left = roomBytes;
  };
  for (const file of files) {
    if (file.sizeBytes > left && file.sizeBytes <= roomBytes) next();
    if (file.sizeBytes <= left) {
      volumes.at(-1)!.push(file);
      left -= file.sizeBytes;
      continue;
    }
    for (let at = 0, part = 1; at < file.sizeBytes; part++) {
      if (left === 0) next();
      const size = Math.min(left, file.sizeBytes - at);
      volumes.at(-1)!.push(await cut(file, at, size, `${file.path}.part-${String(part).padStart(3, "0")}`));
      at += size;
      left -= size;
    }
  }
  return volumes;
}

async function cut(file: PlannedFile, at: number, sizeBytes: number, path: string): Promise<PlannedFile> {
  if (typeof file.from !== "string") {
    const from = file.from.subarray(at, at + sizeBytes);
    return { ...file, path, sizeBytes, sha256: createHash("sha256").update(from).digest("hex"), from };
  }
  const hash = createHash("sha256");
  await pipeline(createReadStream(file.from, { start: at, end: at + sizeBytes - 1 }), hash);
  return { ...file, path, sizeBytes, sha256: hash.digest("hex"), offsetBytes: at };
}

function text(path: string, content: string, mode = 0o644): PlannedFile {
  const from = Buffer.from(content);
  return { path, sizeBytes: from.length, sha256: createHash("sha256").update(from).digest("hex"), from, mode };
}
