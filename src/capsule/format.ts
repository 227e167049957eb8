import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { KubedosError } from "../../shared/error.ts";

/** Names at the top of a capsule. */
export const capsuleFiles = {
  index: "capsule.json",
  /** `sha256sum` format: every file but itself and its signature. */
  sums: "SHA256SUMS",
  /** signify(1) signature over the sums. */
  signature: "SHA256SUMS.sig",
  readme: "README.md",
  restore: "RESTORE.md",
  verify: "VERIFY.sh",
  launcher: "kubedos.sh",
  /** Archive (ustar) of kubedos: bundle and sources. */
  tool: "tool/kubedos.tar",
  /** busybox, static: unpacks the rest. */
  busybox: "boot/busybox",
  /** Lines `sha256 name`: packages of the foundry root and what runs machines, in the order to unpack them. */
  packages: "boot/packages",
} as const;

/** Folders of a capsule. */
export const capsuleFolders = {
  spec: "spec",
  store: "store/sha256",
  artifacts: "artifacts",
  report: "report",
} as const;

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
/** Below the capsule, no hidden name, nothing that a list of sums would have to escape. */
// oxlint-disable-next-line no-control-regex
export const safePath = /^[^./\\\u0000-\u001f][^/\\\u0000-\u001f]*(?:\/[^./\\\u0000-\u001f][^/\\\u0000-\u001f]*)*$/;
const capsuleFile = z.strictObject({ path: z.string().regex(safePath), sizeBytes: z.int().min(0), sha256 });

const indexSchema = z.strictObject({
  format: z.literal(1),
  cluster: z.string(),
  /** Of the lock, seconds since 1970: the date of all that is in the capsule. */
  epoch: z.int(),
  /** Version of kubedos that made it and is in it. */
  kubedos: z.string(),
  /** Base name of spec, lock and vault. */
  spec: z.string().regex(/^[A-Za-z0-9][\w.-]*$/),
  /** Whether the sealed vault is in it. */
  vault: z.boolean(),
  /** Every file but this one, the sums and their signature; sorted. */
  files: z.array(capsuleFile),
});

/** What is in a capsule: `capsule.json`. */
export type CapsuleIndex = z.infer<typeof indexSchema>;
export type CapsuleFile = z.infer<typeof capsuleFile>;

/** The index as it is written. */
export function indexText(index: CapsuleIndex): string {
  const files = index.files.map((file) => `    ${JSON.stringify(file)}`).join(",\n");
  const head = JSON.stringify({ ...index, files: [] }, undefined, 2).replace(/\[\]\n}$/, "");
  return `${head}[\n${files}\n  ]\n}\n`;
}

/** `sha256sum`'s lines, sorted by path. */
export function sumsText(files: readonly Pick<CapsuleFile, "path" | "sha256">[]): string {
  const sorted = files.toSorted((a, b) => (a.path < b.path ? -1 : 1));
  return sorted.map(({ path, sha256: hash }) => `${hash}  ${path}\n`).join("");
}

/**
 * @throws KubedosError (code `failed`) when the text is no index, or one of a format that this version does not know
 */
export function parseIndex(text: string, path: string): CapsuleIndex {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new KubedosError("failed", `${path} is damaged: it is not JSON`, { cause });
  }
  const format = (value as { format?: unknown } | null)?.format;
  if (typeof format === "number" && format > 1) {
    throw new KubedosError("failed", `${path} has capsule format ${format}, which this kubedos does not know`, {
      hint: "use the kubedos in the capsule: sh kubedos.sh capsule rebuild",
    });
  }
  const parsed = indexSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new KubedosError("failed", `${path} is not a whole index: ${issue?.path.join(".")}: ${issue?.message}`);
}

/** @throws KubedosError (code `usage`) when the directory is no capsule */
export async function readIndex(directory: string): Promise<CapsuleIndex> {
  const path = join(directory, capsuleFiles.index);
  const text = await readFile(path, "utf8").catch((cause: unknown) => {
    throw new KubedosError("usage", `${directory} is not a capsule: there is no ${capsuleFiles.index}`, {
      hint: "name a directory or ISO that `kubedos capsule create` made; volumes are joined first (README.md)",
      cause,
    });
  });
  return parseIndex(text, path);
}
