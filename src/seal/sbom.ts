import { createHash } from "node:crypto";
import { guidFromHash } from "../targets/gpt.ts";
import type { LicenceReference } from "./sbom-licences.ts";

/**
 * Something that is shipped, and where: in the root, in the boot image (kernel, initrd, stub), or beside the images in
 * the darksite repository and the capsule. With Debian's installer: in the medium's repository, or in the installer that
 * it starts (boot loaders, kernel, initrd).
 */
export interface SbomPackage {
  kind: "deb" | "pypi" | "oci" | "blob";
  name: string;
  version: string;
  /** Of the locked file; of an OCI image, its manifest. Absent: it is in the file of another package that is listed. */
  sha256?: string;
  /** https://github.com/package-url/purl-spec */
  purl: string;
  layer: "root" | "boot image" | "darksite" | "medium" | "installer";
  /** Directory of the root that a Python distribution is installed below. */
  prefix?: string;
  /** Where a file of the web is in the root. */
  path?: string;
  maintainer?: string;
  /** SPDX expression. */
  licence?: string;
}

/** A file of our own in the root; on a medium: in its file system or in its installer's initrd. */
export interface SbomFile {
  path: string;
  layer?: "medium" | "installer";
  sha256: string;
  sha1: string;
}

/** What is in the platform, or on a medium. */
export interface SbomContent {
  /** Absent: the platform. */
  name?: string;
  /** Seconds since 1970. */
  epoch: number;
  suite: string;
  packages: readonly SbomPackage[];
  files: readonly SbomFile[];
  references: readonly LicenceReference[];
}

const platformName = "kubedos-platform";

/** CycloneDX 1.6 JSON. https://cyclonedx.org/docs/1.6/json/ */
export function cycloneDx(content: SbomContent): string {
  const version = contentHash(content).slice(0, 16);
  const name = content.name ?? platformName;
  const root = `${name}@${version}`;
  const packages = content.packages.map((item) => ({
    type: componentTypes[item.kind],
    "bom-ref": reference(item),
    name: item.name,
    version: item.version,
    ...(item.maintainer === undefined ? {} : { publisher: item.maintainer }),
    ...(item.sha256 === undefined ? {} : { hashes: [{ alg: "SHA-256", content: item.sha256 }] }),
    ...(item.licence === undefined ? {} : { licenses: [{ expression: item.licence }] }),
    purl: item.purl,
    properties: [
      { name: "kubedos:layer", value: item.layer },
      ...(item.prefix === undefined ? [] : [{ name: "kubedos:prefix", value: item.prefix }]),
      ...(item.path === undefined ? [] : [{ name: "kubedos:path", value: item.path }]),
    ],
  }));
  const files = content.files.map(({ path, layer, sha256, sha1 }) => ({
    type: "file",
    "bom-ref": `file:${path}${layer === undefined ? "" : `#${layer}`}`,
    name: path,
    hashes: [
      { alg: "SHA-1", content: sha1 },
      { alg: "SHA-256", content: sha256 },
    ],
    licenses: [{ license: { id: "Apache-2.0" } }],
    properties: [{ name: "kubedos:layer", value: layer ?? "root" }],
  }));
  const components = [...packages, ...files];
  return pretty({
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: `urn:uuid:${guidFromHash(contentHash(content)).toLowerCase()}`,
    version: 1,
    metadata: {
      timestamp: timestamp(content.epoch),
      tools: { components: [{ type: "application", name: "kubedos" }] },
      component: { type: "operating-system", "bom-ref": root, name, version },
    },
    components,
    dependencies: [{ ref: root, dependsOn: components.map((item) => item["bom-ref"]) }],
  });
}

/** SPDX 2.3 JSON. https://spdx.github.io/spdx-spec/v2.3/ */
export function spdx(content: SbomContent): string {
  const version = contentHash(content).slice(0, 16);
  const { name = platformName } = content;
  const root = `SPDXRef-${name.slice("kubedos-".length)}`;
  const inImage = content.name === undefined ? ", which is in the image" : "";
  const packages = content.packages.map((item) => ({
    SPDXID: spdxId(item),
    name: item.name,
    versionInfo: item.version,
    ...(item.maintainer === undefined ? {} : { supplier: supplier(item.maintainer) }),
    downloadLocation: "NOASSERTION",
    filesAnalyzed: false,
    ...(item.sha256 === undefined ? {} : { checksums: [{ algorithm: "SHA256", checksumValue: item.sha256 }] }),
    licenseConcluded: "NOASSERTION",
    licenseDeclared: item.licence ?? "NOASSERTION",
    copyrightText: "NOASSERTION",
    comment: placeText(item),
    externalRefs: [{ referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator: item.purl }],
  }));
  const files = content.files.map(({ path, layer = "", sha256, sha1 }) => ({
    SPDXID: `SPDXRef-file-${createHash("sha256").update(`${path}${layer}`).digest("hex").slice(0, 16)}`,
    fileName: `.${path}`,
    checksums: [
      { algorithm: "SHA1", checksumValue: sha1 },
      { algorithm: "SHA256", checksumValue: sha256 },
    ],
    licenseConcluded: "Apache-2.0",
    licenseInfoInFiles: ["NOASSERTION"],
    copyrightText: "NOASSERTION",
  }));
  const ownFiles = {
    SPDXID: "SPDXRef-own-files",
    name: "kubedos-files",
    downloadLocation: "NOASSERTION",
    filesAnalyzed: true,
    packageVerificationCode: { packageVerificationCodeValue: verificationCode(content.files) },
    licenseConcluded: "Apache-2.0",
    licenseDeclared: "Apache-2.0",
    copyrightText: "NOASSERTION",
    comment: `agent, units and configuration ${content.name === undefined ? "in the root" : "on the medium"}`,
  };
  return pretty({
    spdxVersion: "SPDX-2.3",
    dataLicense: "CC0-1.0",
    SPDXID: "SPDXRef-DOCUMENT",
    name,
    documentNamespace: `urn:kubedos:sbom:${contentHash(content)}`,
    creationInfo: { created: timestamp(content.epoch), creators: ["Tool: kubedos"] },
    documentDescribes: [root],
    packages: [
      {
        SPDXID: root,
        name,
        versionInfo: version,
        downloadLocation: "NOASSERTION",
        filesAnalyzed: false,
        licenseConcluded: "NOASSERTION",
        licenseDeclared: "NOASSERTION",
        copyrightText: "NOASSERTION",
        primaryPackagePurpose: "OPERATING_SYSTEM",
      },
      ...packages,
      ownFiles,
    ],
    files,
    hasExtractedLicensingInfos: content.references.map(({ id, name }) => ({
      licenseId: id,
      name,
      extractedText: `"${name}" in the package's /usr/share/doc/*/copyright${inImage}`,
    })),
    relationships: [
      { spdxElementId: "SPDXRef-DOCUMENT", relationshipType: "DESCRIBES", relatedSpdxElement: root },
      ...[...packages, ownFiles].map(({ SPDXID }) => contains(root, SPDXID)),
      ...files.map(({ SPDXID }) => contains(ownFiles.SPDXID, SPDXID)),
    ],
  });
}

function contains(spdxElementId: string, relatedSpdxElement: string) {
  return { spdxElementId, relationshipType: "CONTAINS", relatedSpdxElement };
}

/** Clause 7.9: SHA-1 over the sorted SHA-1s of the package's files. */
function verificationCode(files: readonly SbomFile[]): string {
  const sums = files.map(({ sha1 }) => sha1).toSorted();
  return createHash("sha1").update(sums.join("")).digest("hex");
}

function placeText({ layer, prefix, path }: SbomPackage): string {
  if (path !== undefined) return `the file ${path} in the root`;
  return `in the ${layer}${prefix === undefined ? "" : ` below ${prefix}`}`;
}

const componentTypes = { deb: "library", pypi: "library", oci: "container", blob: "data" } as const;

/** The same package may be in both layers, a Python distribution below two prefixes. */
function reference({ purl, layer, prefix }: SbomPackage): string {
  return layer === "root" && prefix === undefined ? purl : `${purl}#${(prefix ?? layer).replaceAll(/[^\w.-]+/g, "-")}`;
}

/** Clause 7.2: letters, digits, `.` and `-`. */
function spdxId({ kind, layer, prefix = "", name }: SbomPackage): string {
  const words = [kind, layer, ...prefix.split("/").filter((part) => part !== ""), name.replaceAll("+", "-plus")];
  return `SPDXRef-${words.join("-").replaceAll(/[^A-Za-z0-9.-]+/g, "-")}`;
}

/** `Organization: NAME (EMAIL)`, clause 7.5. */
function supplier(maintainer: string): string {
  const [, name, email] = /^"?(.*?)"?\s*<([^<>]+)>$/.exec(maintainer) ?? [];
  return name === undefined || email === undefined ? `Organization: ${maintainer}` : `Organization: ${name} (${email})`;
}

function contentHash(content: SbomContent): string {
  return createHash("sha256").update(JSON.stringify(content)).digest("hex");
}

function timestamp(epoch: number): string {
  return new Date(epoch * 1000).toISOString().replace(".000Z", "Z");
}

function pretty(value: unknown): string {
  return `${JSON.stringify(value, undefined, 1)}\n`;
}
