import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { installedPackages } from "./dpkg.ts";
import type { Erofs } from "./erofs.ts";
import { metadataPath, readMetadata, type Distribution } from "./python-metadata.ts";
import type { Finding } from "./verify-image.ts";

const cyclonedxSchema = z.object({
  bomFormat: z.literal("CycloneDX"),
  components: z.array(
    z.object({
      type: z.string(),
      name: z.string(),
      version: z.string().optional(),
      purl: z.string().optional(),
      hashes: z.array(z.object({ alg: z.string(), content: z.string() })).default([]),
      properties: z.array(z.object({ name: z.string(), value: z.string() })).default([]),
    }),
  ),
});
const spdxSchema = z.object({
  packages: z.array(
    z.object({
      name: z.string(),
      versionInfo: z.string().optional(),
      comment: z.string().optional(),
    }),
  ),
});

/** What a bill of materials lists of the root: `name version` (`below prefix`), and files by path. */
interface Listed {
  packages: Set<string>;
  files: Map<string, string>;
}

/**
 * Compares both bills of materials with what is inside of the root: the packages that dpkg lists and the Python
 * distributions of virtual environments, no more and no less, and the bytes of every file that is listed. Findings by file name.
 */
export async function checkSboms(
  directory: string,
  { cyclonedx, spdx }: { cyclonedx: string; spdx: string },
  root: Erofs,
): Promise<Record<string, Finding[]>> {
  const debs = [...installedPackages(readText(root, "/var/lib/dpkg/status"))];
  const installed = new Set([
    ...debs.map(([name, { version }]) => `${name} ${version}`),
    ...distributions(root).map(({ prefix, name, version }) => `${name} ${version} below ${prefix}`),
  ]);
  const check = async (name: string, read: (text: string) => Listed): Promise<Finding[]> => {
    let listed: Listed;
    try {
      listed = read(await readFile(join(directory, name), "utf8"));
    } catch (error) {
      return [{ structure: name, message: (error as Error).message }];
    }
    return compare(listed, installed, root);
  };
  return { [cyclonedx]: await check(cyclonedx, readCycloneDx), [spdx]: await check(spdx, readSpdx) };
}

function compare(listed: Listed, installed: ReadonlySet<string>, root: Erofs): Finding[] {
  const findings: Finding[] = [];
  for (const item of listed.packages) {
    if (!installed.has(item))
      findings.push({ structure: "package", message: `${item} is listed and not in the image` });
  }
  for (const item of installed) {
    if (!listed.packages.has(item)) {
      findings.push({ structure: "package", message: `${item} is in the image and not listed` });
    }
  }
  for (const [path, sha256] of listed.files) {
    const entry = root.find(path);
    if (entry?.type !== "file") findings.push({ structure: "file", message: `${path} is listed and not in the image` });
    else if (createHash("sha256").update(root.read(entry)).digest("hex") !== sha256) {
      findings.push({ structure: "file", message: `${path} has other bytes in the image` });
    }
  }
  return findings;
}

function readCycloneDx(text: string): Listed {
  const json = parse(text);
  const { specVersion } = json as { specVersion?: unknown };
  if (specVersion !== "1.6") throw new Error(`it is CycloneDX ${show(specVersion)}; this kubedos reads 1.6`);
  const { components } = cyclonedxSchema.parse(json);
  const inRoot = components.filter(({ properties }) =>
    properties.some(({ name, value }) => name === "kubedos:layer" && value === "root"),
  );
  const sha256 = (hashes: (typeof components)[number]["hashes"]) =>
    hashes.find(({ alg }) => alg === "SHA-256")?.content ?? "";
  return {
    packages: new Set(
      inRoot
        .filter(({ type }) => type === "library")
        .map(({ name, version, properties }) => {
          const prefix = properties.find((one) => one.name === "kubedos:prefix")?.value;
          return `${name} ${version ?? ""}${prefix === undefined ? "" : ` below ${prefix}`}`;
        }),
    ),
    files: new Map(
      inRoot.flatMap(({ type, name, hashes, properties }) => {
        const path = type === "file" ? name : properties.find((one) => one.name === "kubedos:path")?.value;
        return path === undefined ? [] : [[path, sha256(hashes)] as const];
      }),
    ),
  };
}

function readSpdx(text: string): Listed {
  const json = parse(text);
  const { spdxVersion } = json as { spdxVersion?: unknown };
  if (spdxVersion !== "SPDX-2.3") throw new Error(`it is ${show(spdxVersion)}; this kubedos reads SPDX-2.3`);
  const { packages } = spdxSchema.parse(json);
  const files = z
    .object({
      files: z.array(
        z.object({
          fileName: z.string(),
          checksums: z.array(z.object({ algorithm: z.string(), checksumValue: z.string() })),
        }),
      ),
    })
    .parse(json).files;
  return {
    packages: new Set(
      packages.flatMap(({ name, versionInfo, comment }) => {
        const [, below] = /^in the root( below .*)?$/.exec(comment ?? "") ?? [undefined, undefined];
        return comment?.startsWith("in the root") === true ? [`${name} ${versionInfo ?? ""}${below ?? ""}`] : [];
      }),
    ),
    files: new Map(
      files.map(({ fileName, checksums }) => [
        fileName.slice(1),
        checksums.find(({ algorithm }) => algorithm === "SHA256")?.checksumValue ?? "",
      ]),
    ),
  };
}

function parse(text: string): object {
  const value: unknown = JSON.parse(text);
  if (typeof value === "object" && value !== null) return value;
  throw new Error("it is not a JSON object");
}

function show(value: unknown): string {
  return typeof value === "string" ? value.slice(0, 40) : "of no version";
}

function readText(root: Erofs, path: string): string {
  const entry = root.find(path);
  if (entry?.type !== "file") throw new Error(`the root has no ${path}`);
  return root.read(entry).toString();
}

/** Python distributions of the root's virtual environments, as their own metadata has them. */
function distributions(root: Erofs): Distribution[] {
  return root.entries().flatMap((entry) => {
    const prefix = entry.type === "file" ? metadataPath.exec(entry.path)?.[1] : undefined;
    return prefix === undefined ? [] : [readMetadata(prefix, root.read(entry).toString())];
  });
}
