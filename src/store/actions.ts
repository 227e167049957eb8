import { mkdir, readFile, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import * as z from "zod";
import { KubedosError } from "../../shared/error.ts";
import { touch, type Store } from "./store.ts";

/** An output of an action: an object of the store. */
export interface ActionOutput {
  sha256: string;
  sizeBytes: number;
}

/** What a stage made, kept under its id. */
export interface ActionRecord {
  outputs: Record<string, ActionOutput>;
  /** Facts about the outputs that later stages need, e.g. a root hash. */
  meta: Record<string, string | number | boolean>;
}

const recordSchema = z.strictObject({
  format: z.literal(1),
  outputs: z.record(
    z.string(),
    z.strictObject({ sha256: z.string().regex(/^[0-9a-f]{64}$/), sizeBytes: z.int().min(0) }),
  ),
  meta: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
});

/**
 * The record of an action, or undefined when it has not been done, its record is not readable, or one of its outputs
 * is missing or damaged. A hit counts as a use of the record and of its outputs.
 */
export async function readAction(store: Store, id: string): Promise<ActionRecord | undefined> {
  const file = actionPath(store, id);
  const record = await readRecord(file);
  if (record === undefined) return undefined;
  for (const { sha256, sizeBytes } of Object.values(record.outputs)) {
    if ((await store.verify(sha256, { sizeBytes })) !== "ok") return undefined;
  }
  await touch(file);
  return { outputs: record.outputs, meta: record.meta };
}

/** Whether `readAction` would find the record, by sizes only and without counting as a use. For `plan`. */
export async function peekAction(store: Store, id: string): Promise<ActionRecord | undefined> {
  const record = await readRecord(actionPath(store, id));
  if (record === undefined) return undefined;
  for (const { sha256, sizeBytes } of Object.values(record.outputs)) {
    if ((await store.size(sha256)) !== sizeBytes) return undefined;
  }
  return { outputs: record.outputs, meta: record.meta };
}

/** Records what an action made; its outputs must be in the store. The last of two writers wins. */
export async function writeAction(store: Store, id: string, record: ActionRecord): Promise<void> {
  for (const [name, { sha256, sizeBytes }] of Object.entries(record.outputs)) {
    if ((await store.size(sha256)) === sizeBytes) continue;
    throw new KubedosError("failed", `action ${id}: its output ${name} (${sha256}) is not in the store`);
  }
  const file = actionPath(store, id);
  await mkdir(dirname(file), { recursive: true });
  const temporary = await store.temporary();
  const text = JSON.stringify({ format: 1, outputs: record.outputs, meta: record.meta }, undefined, 2);
  await writeFile(temporary, `${text}\n`, { flag: "wx" });
  await rename(temporary, file);
}

/** All records with the time of their last use, milliseconds since 1970. */
export async function listActions(store: Store): Promise<{ id: string; record?: ActionRecord; usedMs: number }[]> {
  const directory = join(store.directory, "actions");
  const names = await readdir(directory).catch(() => []);
  const found = [];
  for (const name of names.toSorted((a, b) => (a < b ? -1 : 1))) {
    if (!name.endsWith(".json")) continue;
    const info = await stat(join(directory, name)).catch(() => undefined);
    if (info === undefined) continue;
    found.push({ id: name.slice(0, -5), record: await readRecord(join(directory, name)), usedMs: info.mtimeMs });
  }
  return found;
}

/** Forgets an action. */
export async function removeAction(store: Store, id: string): Promise<void> {
  await rm(actionPath(store, id), { force: true });
}

async function readRecord(file: string): Promise<z.infer<typeof recordSchema> | undefined> {
  try {
    return recordSchema.parse(JSON.parse(await readFile(file, "utf8")));
  } catch {
    return undefined; // none, cut off or of another format: the action is done again
  }
}

function actionPath(store: Store, id: string): string {
  if (!/^[\w.-]{1,200}$/.test(id) || id.startsWith(".")) {
    throw new KubedosError("failed", `not an action id: ${JSON.stringify(id)}`);
  }
  return join(store.directory, "actions", `${id}.json`);
}
