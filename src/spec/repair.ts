import type { z } from "zod";
import type { Path } from "./finding.ts";
import { valueAt } from "./issues.ts";
import { knownKeys } from "./keys.ts";
import { specSchema, type WrittenSpec } from "./schema.ts";
import { nearest } from "./suggest.ts";

/** A spec without its misshapen parts, so that the rest can still be checked. */
export interface Repaired {
  written: WrittenSpec;
  /** Fields that were taken out, list positions left out (`nodes.index`). */
  tainted: string[];
}

/** Needed to go on at all; what takes their place is never shown. */
const standIns: Record<string, unknown> = { apiVersion: "kubedos/v1", metadata: { name: "unnamed" } };
/** Taking out a field may leave its map without something it needs: then the map goes too, level by level. */
const maxRounds = 8;

/**
 * Takes what zod objects to out of a value until the rest has the right shape. A bad field falls back to its default;
 * a map that lacks a needed field goes as a whole, and so does the list that it is an item of (taking out one item
 * would move the others away from their lines). Undefined where nothing is left.
 */
export function repair(value: unknown, issues: readonly z.core.$ZodIssue[]): Repaired | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const rest = structuredClone(value) as Record<string, unknown>;
  const tainted = new Set<string>();
  let current = issues;
  for (let round = 0; round < maxRounds; round++) {
    for (const issue of current) {
      if (issue.code === "unrecognized_keys") removeUnknown(rest, issue.path as Path, issue.keys, tainted);
      else remove(rest, issue.path as Path, tainted);
    }
    const result = specSchema.safeParse(rest);
    if (result.success) return { written: result.data, tainted: [...tainted] };
    current = result.error.issues;
  }
  return undefined;
}

/** A misspelt field counts as taken out under its right name too: what its default leads to is not the person's. */
function removeUnknown(rest: Record<string, unknown>, parent: Path, keys: string[], tainted: Set<string>): void {
  for (const key of keys) {
    remove(rest, [...parent, key], tainted);
    const meant = nearest(key, knownKeys(parent));
    if (meant !== undefined) tainted.add(fieldOf([...parent, meant]));
  }
}

function remove(rest: Record<string, unknown>, path: Path, tainted: Set<string>): void {
  let target = path;
  if (valueAt(rest, target) === undefined && target.length > 1) target = target.slice(0, -1);
  while (typeof target.at(-1) === "number") target = target.slice(0, -1);
  const top = target[0];
  if (top === undefined) return;
  tainted.add(fieldOf(target));
  if (target.length === 1 && typeof top === "string" && Object.hasOwn(standIns, top)) {
    rest[top] = structuredClone(standIns[top]);
    return;
  }
  const holder = valueAt(rest, target.slice(0, -1));
  if (typeof holder === "object" && holder !== null) delete (holder as Record<string, unknown>)[String(target.at(-1))];
}

function fieldOf(path: Path): string {
  return path.filter((part) => typeof part === "string").join(".");
}

/** Whether one of the fields that were taken out is, holds or is part of one of these. */
export function isTainted(tainted: readonly string[], fields: readonly string[]): boolean {
  return tainted.some((bad) =>
    fields.some((field) => bad === field || bad.startsWith(`${field}.`) || field.startsWith(`${bad}.`)),
  );
}
