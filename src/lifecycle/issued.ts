import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { nowMs } from "../host/clock.ts";
import { takeExclusive } from "../host/lease.ts";
import type { SpecPaths } from "../host/paths.ts";
import type { Spec } from "../spec/types.ts";

/**
 * When certificates were issued. A certificate depends on an instant, so the instant is written down: a seed made again
 * is the same bytes until its certificates are renewed. `<state>/issued.json`; nothing in it is secret.
 */
export interface IssueRecord {
  /** ISO 8601, UTC, whole seconds. */
  issuedAt: string;
  /** Validity it was issued with. */
  days: number;
}

/** Whose certificates. */
export type Holder = { node: string } | { operator: string };

interface IssueFile {
  format: 1;
  nodes: Record<string, IssueRecord>;
  operators: Record<string, IssueRecord>;
}

const dayMs = 24 * 3600 * 1000;

/** What was issued, by holder; empty before the first `up`. @throws KubedosError when the record is damaged */
export async function readIssued(paths: Pick<SpecPaths, "state">): Promise<IssueFile> {
  const path = file(paths);
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw new KubedosError("failed", `cannot read ${path}: ${error.message}`, { cause: error });
  });
  if (text === undefined) return { format: 1, nodes: {}, operators: {} };
  try {
    const value = JSON.parse(text) as Partial<IssueFile>;
    const { nodes, operators } = value;
    const records = [...Object.values(nodes ?? {}), ...Object.values(operators ?? {})];
    const sound = records.every(({ issuedAt, days }) => !Number.isNaN(Date.parse(issuedAt)) && days > 0);
    if (value.format === 1 && nodes !== undefined && operators !== undefined && sound) return value as IssueFile;
  } catch {
    // said below
  }
  throw new KubedosError("failed", `${path} is damaged: it says when certificates were issued`, {
    hint: "remove it: the next `kubedos up` issues new certificates",
  });
}

/**
 * When a holder's certificates are issued: as recorded, or now, where there is no record, the validity in the spec has
 * changed, half of the time has passed, or `renew` asks for it. What is new is written down first.
 */
export async function issueTime(
  paths: SpecPaths,
  spec: Pick<Spec, "trust">,
  holder: Holder,
  options: { renew?: boolean; signal?: AbortSignal } = {},
): Promise<Date> {
  await mkdir(paths.state, { recursive: true });
  const lease = await takeExclusive(`${file(paths)}.lease`, options.signal);
  try {
    const issued = await readIssued(paths);
    const [list, name] =
      "node" in holder ? ([issued.nodes, holder.node] as const) : ([issued.operators, holder.operator] as const);
    const days = spec.trust.certificateDays;
    const record = list[name];
    if (record !== undefined && options.renew !== true && !isDue(record, days, nowMs())) {
      return new Date(record.issuedAt);
    }
    const issuedAt = new Date(Math.floor(nowMs() / 1000) * 1000);
    list[name] = { issuedAt: issuedAt.toISOString(), days };
    await writeFile(`${file(paths)}.new`, `${JSON.stringify(issued, undefined, 2)}\n`);
    await rename(`${file(paths)}.new`, file(paths));
    return issuedAt;
  } finally {
    await lease.release();
  }
}

/** Whether a certificate should be issued anew: past half of its life, from the future, or of another validity. */
export function isDue(record: IssueRecord, days: number, atMs: number): boolean {
  const issuedMs = Date.parse(record.issuedAt);
  return record.days !== days || issuedMs > atMs + dayMs || atMs - issuedMs > (days * dayMs) / 2;
}

function file(paths: Pick<SpecPaths, "state">): string {
  return join(paths.state, "issued.json");
}
