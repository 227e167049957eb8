import { KubedosError } from "../../shared/error.ts";
import type { Lock } from "../lock/types.ts";
import { metadataPath, readMetadata } from "./python-metadata.ts";
import type { LicenceReference } from "./sbom-licences.ts";
import { readTarMembers } from "./sbom-tar.ts";
import type { SbomPackage } from "./sbom.ts";

/** What a lock names beside Debian's packages and is shipped: distributions, files of the web, OCI images. */
export function lockedExtras({ wheels = [], blobs = [], images = [] }: Pick<Lock, "wheels" | "blobs" | "images">) {
  const part = (text: string) => encodeURIComponent(text).replaceAll("%3A", ":");
  return [
    ...wheels
      .filter(({ buildOf }) => buildOf === undefined)
      .map(({ name, version, sha256, prefix }): SbomPackage => {
        const purl = `pkg:pypi/${part(name)}@${part(version)}`;
        return { kind: "pypi", name, version, sha256, purl, layer: "root", prefix };
      }),
    ...blobs.map(({ name, sha256, path }): SbomPackage => {
      const purl = `pkg:generic/${part(name)}?checksum=sha256:${sha256}`;
      const where = path === undefined ? { layer: "darksite" as const } : { layer: "root" as const, path };
      return { kind: "blob", name, version: `sha256:${sha256}`, sha256, purl, ...where };
    }),
    ...images.map(({ reference, manifest: { sha256 } }): SbomPackage => {
      const [, repository = reference, name = reference, tag] =
        /^(.*?([^/:@]+))(?::([^/@]+))?(?:@.*)?$/.exec(reference) ?? [];
      const words = [`repository_url=${part(repository)}`, ...(tag === undefined ? [] : [`tag=${part(tag)}`])];
      const purl = `pkg:oci/${part(name.toLowerCase())}@sha256:${sha256}?${words.join("&")}`;
      return { kind: "oci", name: reference, version: `sha256:${sha256}`, sha256, purl, layer: "darksite" };
    }),
  ];
}

/**
 * The same with the licences that the distributions declare.
 *
 * @param python tar of the virtual environments
 * @throws KubedosError when the environments hold other distributions than the lock
 */
export async function readDistributions(
  python: string | undefined,
  extras: readonly SbomPackage[],
): Promise<{ packages: SbomPackage[]; references: LicenceReference[] }> {
  const members = python === undefined ? [] : await readTarMembers(python, (path) => metadataPath.test(`/${path}`));
  const inside = new Map(
    members.map(({ path, content }) => {
      const one = readMetadata(metadataPath.exec(`/${path}`)![1]!, content.toString());
      return [`${one.name} ${one.version} below ${one.prefix}`, one] as [string, typeof one];
    }),
  );
  const wanted = new Set(
    extras
      .filter(({ kind }) => kind === "pypi")
      .map(({ name, version, prefix }) => `${name} ${version} below ${prefix}`),
  );
  const differing = [
    ...[...inside.keys()].filter((one) => !wanted.has(one)),
    ...[...wanted].filter((one) => !inside.has(one)),
  ];
  if (differing.length > 0) {
    const message = `the virtual environments do not hold what the lock says: ${differing.join(", ")}`;
    throw new KubedosError("failed", message);
  }
  const packages = extras.map((item) => {
    const licence = inside.get(`${item.name} ${item.version} below ${item.prefix}`)?.licence;
    return licence === undefined ? item : { ...item, licence };
  });
  const named = packages.flatMap(({ licence = "" }) => licence.match(/LicenseRef-[\w.-]+/g) ?? []);
  return { packages, references: [...new Set(named)].map((id) => ({ id, name: id.slice("LicenseRef-".length) })) };
}
