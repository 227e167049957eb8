import { createHash, hkdfSync } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import { enrollLimits, tokenInfo, type TokenRecord, tokenSalt } from "../../shared/enroll.ts";
import { KubedosError } from "../../shared/error.ts";
import { nowMs } from "../host/clock.ts";
import { takeExclusive } from "../host/lease.ts";
import type { SpecPaths } from "../host/paths.ts";
import { freshBytes } from "../host/random.ts";
import type { Spec } from "../spec/types.ts";

/** What this machine notes about enrollment, `<state>/enrollment.json`; nothing in it is secret. */
interface EnrollmentNotes {
  format: 1;
  /** Tokens that hubs are to know: sha256 by hub. */
  tokens: { node: string; expiresAt: string; hashes: Record<string, string> }[];
  /** The last line that was seen of each hub's audit log. */
  heads: Record<string, { seq: number; hash: string }>;
}

/** What tokens are made for. */
export interface TokenCluster {
  cluster: string;
  hubs: readonly string[];
}

const secretBytes = 32;
/** Time for a machine to be made, to boot, and to find its hub. */
export const tokenMinutes = 60;

/** The cluster of a spec, or of a layer. */
export function tokenCluster(of: Spec | ClusterLayer): TokenCluster {
  const cluster = "metadata" in of ? of.metadata.name : of.cluster;
  return { cluster, hubs: of.nodes.filter(({ roles }) => roles.includes("hub")).map(({ name }) => name) };
}

/**
 * Draws a node's secret and notes the hashes of the tokens that it gives, in place of those that the node had. The
 * secret itself is kept nowhere here.
 *
 * @returns the secret, base64url
 */
export async function issueToken(
  paths: Pick<SpecPaths, "state">,
  { cluster, hubs }: TokenCluster,
  node: string,
  minutes: number = tokenMinutes,
): Promise<string> {
  if (!Number.isInteger(minutes) || minutes < 1 || minutes > enrollLimits.tokenMinutes) {
    throw new KubedosError("usage", `a token cannot be valid for ${minutes} minutes`, {
      hint: `from 1 to ${enrollLimits.tokenMinutes} (a week)`,
    });
  }
  const secret = freshBytes(secretBytes);
  const hashes = Object.fromEntries(hubs.map((hub) => [hub, tokenHash(secret, cluster, hub, node)]));
  const expiresAt = new Date(nowMs() + minutes * 60_000).toISOString();
  await changeNotes(paths, (notes) => {
    const others = notes.tokens.filter((token) => token.node !== node && Date.parse(token.expiresAt) > nowMs());
    return { ...notes, tokens: [...others, { node, expiresAt, hashes }] };
  });
  return secret.toString("base64url");
}

/** What one hub is to be told about tokens that are still good. */
export async function tokensFor(paths: Pick<SpecPaths, "state">, hub: string): Promise<TokenRecord[]> {
  const { tokens } = await readNotes(paths);
  return tokens.flatMap(({ node, expiresAt, hashes }) => {
    const validSeconds = Math.floor((Date.parse(expiresAt) - nowMs()) / 1000);
    const hash = hashes[hub];
    return hash === undefined || validSeconds < 1 ? [] : [{ node, hash, validSeconds }];
  });
}

/**
 * Compares a hub's audit log with the last line of it that was seen here, and notes its last line now.
 *
 * @param hashes of the log's lines, in order
 * @returns what is wrong
 */
export async function compareLog(
  paths: Pick<SpecPaths, "state">,
  hub: string,
  hashes: readonly string[],
): Promise<string | undefined> {
  let problem: string | undefined;
  await changeNotes(paths, (notes) => {
    const head = notes.heads[hub];
    if (head !== undefined && hashes[head.seq - 1] !== head.hash) {
      problem =
        hashes.length < head.seq
          ? `it has ${hashes.length} lines, and had ${head.seq} when it was last seen here`
          : `line ${head.seq} is another one than when it was last seen here`;
      return notes;
    }
    const last = hashes.at(-1);
    return last === undefined
      ? notes
      : { ...notes, heads: { ...notes.heads, [hub]: { seq: hashes.length, hash: last } } };
  });
  return problem;
}

/** sha256 of the token that a node's secret gives for one hub (shared/enroll.ts), hex. */
export function tokenHash(secret: Uint8Array, cluster: string, hub: string, node: string): string {
  const token = Buffer.from(hkdfSync("sha256", secret, tokenSalt, tokenInfo(cluster, hub, node), secretBytes));
  return createHash("sha256").update(token.toString("base64url")).digest("hex");
}

async function changeNotes(
  paths: Pick<SpecPaths, "state">,
  change: (notes: EnrollmentNotes) => EnrollmentNotes,
): Promise<void> {
  await mkdir(paths.state, { recursive: true });
  const lease = await takeExclusive(`${file(paths)}.lease`);
  try {
    const notes = await readNotes(paths);
    const changed = change(notes);
    if (changed === notes) return;
    await writeFile(`${file(paths)}.new`, `${JSON.stringify(changed, undefined, 2)}\n`);
    await rename(`${file(paths)}.new`, file(paths));
  } finally {
    await lease.release();
  }
}

async function readNotes(paths: Pick<SpecPaths, "state">): Promise<EnrollmentNotes> {
  const text = await readFile(file(paths), "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw new KubedosError("failed", `cannot read ${file(paths)}: ${error.message}`, { cause: error });
  });
  if (text === undefined) return { format: 1, tokens: [], heads: {} };
  try {
    const notes = JSON.parse(text) as Partial<EnrollmentNotes>;
    if (notes.format === 1 && Array.isArray(notes.tokens) && typeof notes.heads === "object") {
      return notes as EnrollmentNotes;
    }
  } catch {
    // said below
  }
  throw new KubedosError("failed", `${file(paths)} is damaged`, {
    hint: "remove it; nodes that are not enrolled yet need new tokens: kubedos enroll token NODE",
  });
}

function file({ state }: Pick<SpecPaths, "state">): string {
  return join(state, "enrollment.json");
}
