import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";

/** What is known of an upload that has begun: enough to go on with it in another process. */
export interface UploadRecord {
  format: 1;
  snapshotId: string;
  artifact: string;
  region: string;
  /** Indexes of blocks that AWS has confirmed. */
  done: number[];
}

/** The record, or undefined where there is none, it is damaged, or it is of another image or region. */
export async function readUpload(
  file: string,
  of: { artifact: string; region: string },
): Promise<UploadRecord | undefined> {
  const text = await readFile(file, "utf8").catch(() => "");
  try {
    const record = JSON.parse(text) as UploadRecord;
    const fits = record.format === 1 && record.artifact === of.artifact && record.region === of.region;
    return fits && typeof record.snapshotId === "string" && Array.isArray(record.done) ? record : undefined;
  } catch {
    return undefined;
  }
}

export async function writeUpload(file: string, record: UploadRecord): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await writeFile(`${file}.new`, JSON.stringify(record));
  await rename(`${file}.new`, file);
}

export async function forgetUpload(file: string): Promise<void> {
  await rm(file, { force: true });
}
