import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ajv } from "ajv";
import formats from "ajv-formats";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { run } from "../host/run.ts";
import type { Lock, LockedPackage } from "../lock/types.ts";
import { packageUrl } from "./provenance.ts";
import { lockedExtras, readDistributions } from "./sbom-inputs.ts";
import { licenceExpression } from "./sbom-licences.ts";
import { readTarMembers } from "./sbom-tar.ts";
import { cycloneDx, spdx, type SbomContent } from "./sbom.ts";
import { mediumSbomStage } from "./stages/sbom-medium.ts";
import { sbomStage } from "./stages/sbom.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-sbom-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const schemas = join(import.meta.dirname, "../../node_modules/@cyclonedx/cyclonedx-library/res/schema");

async function schema(name: string): Promise<Record<string, unknown>> {
  return JSON.parse(await readFile(join(schemas, `${name}.SNAPSHOT.schema.json`), "utf8")) as Record<string, unknown>;
}

const extras: Pick<Lock, "wheels" | "blobs" | "images"> = {
  wheels: ["/usr/lib/a", "/usr/lib/b"].map((prefix) => ({
    prefix,
    name: "msgpack",
    version: "1.1.1",
    filename: "msgpack-1.1.1.whl",
    kind: "wheel",
    sizeBytes: 1,
    sha256: "1".repeat(64),
  })),
  blobs: [{ name: "cni plugins", sizeBytes: 1, sha256: "2".repeat(64) }],
  images: ["registry.example:5000/team/pause:3.10", "registry.example/team/pause"].map((reference, index) => ({
    reference,
    manifest: { mediaType: "m", sizeBytes: 1, sha256: `${index}`.repeat(64) },
    config: { mediaType: "c", sizeBytes: 1, sha256: "4".repeat(64) },
    layers: [],
  })),
};

const content: SbomContent = {
  epoch: 1_700_000_000,
  suite: "trixie",
  packages: [
    {
      kind: "deb",
      name: "libstdc++6",
      version: "1:14.2.0-19~deb13+b1",
      purl: packageUrl({ name: "libstdc++6", version: "1:14.2.0-19~deb13+b1", architecture: "amd64" }),
      sha256: "a".repeat(64),
      layer: "root",
      maintainer: "Debian GCC Maintainers <debian-gcc@lists.debian.org>",
      licence: "GPL-3.0-or-later AND LicenseRef-debian-odd",
    },
    ...(["root", "boot image"] as const).map((layer) => ({
      kind: "deb" as const,
      name: "libc6",
      version: "2.41",
      purl: "pkg:deb/debian/libc6@2.41?arch=amd64",
      sha256: "b".repeat(64),
      layer,
    })),
    // As on a medium with Debian's installer: beside its repository, and inside of another package.
    ...(["medium", "installer"] as const).map((layer) => ({
      kind: "deb" as const,
      name: "libc6",
      version: "2.41",
      purl: "pkg:deb/debian/libc6@2.41?arch=amd64",
      ...(layer === "medium" ? { sha256: "b".repeat(64) } : {}),
      layer,
    })),
    ...lockedExtras(extras),
  ],
  files: (["medium", undefined] as const).map((layer) => ({
    path: "/usr/lib/kubedos/agent.cjs",
    sha256: "c".repeat(64),
    sha1: "d".repeat(40),
    ...(layer === undefined ? {} : { layer }),
  })),
  references: [{ id: "LicenseRef-debian-odd", name: "odd" }],
};

describe("CycloneDX", () => {
  test("fits the official schema of 1.6; what is wrong would not", async () => {
    const ajv = new Ajv({ strict: false });
    formats.default(ajv);
    for (const format of ["idn-email", "iri-reference"]) ajv.addFormat(format, true);
    for (const name of ["spdx", "jsf-0.82"]) {
      ajv.addSchema(await schema(name), `http://cyclonedx.org/schema/${name}.SNAPSHOT.schema.json`);
    }
    const validate = ajv.compile(await schema("bom-1.6"));
    const bom = JSON.parse(cycloneDx(content)) as { components: { "bom-ref": string; type: string }[] };
    expect(validate(bom), JSON.stringify(validate.errors)).toBe(true);
    bom.components[0]!.type = "thing";
    expect(validate(bom)).toBe(false);
  });

  test("every reference is unique, and the serial number follows the content", () => {
    const read = (one: SbomContent) =>
      JSON.parse(cycloneDx(one)) as { serialNumber: string; components: { "bom-ref": string; purl?: string }[] };
    const { components, serialNumber } = read(content);
    expect(new Set(components.map((one) => one["bom-ref"])).size).toBe(components.length);
    expect(components[0]!.purl).toBe("pkg:deb/debian/libstdc%2B%2B6@1:14.2.0-19~deb13%2Bb1?arch=amd64");
    expect(read(content).serialNumber).toBe(serialNumber);
    expect(read({ ...content, files: [] }).serialNumber).not.toBe(serialNumber);
  });
});

test("SPDX: ids are unique and well-formed, every element is contained, every LicenseRef is explained", () => {
  const document = JSON.parse(spdx(content)) as {
    SPDXID: string;
    creationInfo: { created: string };
    packages: { SPDXID: string; licenseDeclared: string; supplier?: string }[];
    files: { SPDXID: string }[];
    hasExtractedLicensingInfos: { licenseId: string }[];
    relationships: { relatedSpdxElement: string }[];
  };
  const ids = [...document.packages, ...document.files].map(({ SPDXID }) => SPDXID);
  for (const id of ids) expect(id).toMatch(/^SPDXRef-[A-Za-z0-9.-]+$/);
  expect(new Set(ids).size).toBe(ids.length);
  expect(document.relationships.map(({ relatedSpdxElement }) => relatedSpdxElement).toSorted()).toEqual(ids.toSorted());
  expect(document.creationInfo.created).toBe("2023-11-14T22:13:20Z");
  expect(document.packages[1]!.supplier).toBe("Organization: Debian GCC Maintainers (debian-gcc@lists.debian.org)");
  const explained = document.hasExtractedLicensingInfos.map(({ licenseId }) => licenseId);
  for (const { licenseDeclared } of document.packages) {
    for (const [reference] of licenseDeclared.matchAll(/LicenseRef-[\w.-]+/g)) expect(explained).toContain(reference);
  }
});

test("what else a lock names: package URLs", () => {
  expect(lockedExtras(extras).map(({ purl }) => purl)).toEqual([
    "pkg:pypi/msgpack@1.1.1",
    "pkg:pypi/msgpack@1.1.1",
    `pkg:generic/cni%20plugins?checksum=sha256:${"2".repeat(64)}`,
    `pkg:oci/pause@sha256:${"0".repeat(64)}?repository_url=registry.example:5000%2Fteam%2Fpause&tag=3.10`,
    `pkg:oci/pause@sha256:${"1".repeat(64)}?repository_url=registry.example%2Fteam%2Fpause`,
  ]);
});

test("Python distributions: their own metadata must be the lock's; licences come from it", async () => {
  const tree = join(directory, "python");
  for (const [prefix, name] of [
    ["a", "msgpack"],
    ["b", "MsgPack"],
  ]) {
    const info = join(tree, `usr/lib/${prefix}/lib/python3.13/site-packages/msgpack-1.1.1.dist-info`);
    await mkdir(info, { recursive: true });
    const fields = `Metadata-Version: 2.4\nName: ${name}\nVersion: 1.1.1\nLicense-Expression: Apache-2.0 AND LicenseRef-x\n`;
    await writeFile(join(info, "METADATA"), `${fields}\nName: of the description\n`);
  }
  const tar = join(directory, "python.tar");
  await run("tar", ["-C", tree, "--format=gnu", "-cf", tar, "."]);
  const { packages, references } = await readDistributions(tar, lockedExtras(extras));
  expect(packages.slice(0, 3).map(({ licence }) => licence)).toEqual([
    "Apache-2.0 AND LicenseRef-x",
    "Apache-2.0 AND LicenseRef-x",
    undefined,
  ]);
  expect(references).toEqual([{ id: "LicenseRef-x", name: "x" }]);
  const other = lockedExtras({ wheels: [{ ...extras.wheels![0]!, version: "2" }, extras.wheels![1]!] });
  await expect(readDistributions(tar, other)).rejects.toThrow(
    "msgpack 1.1.1 below /usr/lib/a, msgpack 2 below /usr/lib/a",
  );
});

describe("licences of Debian's copyright files", () => {
  const head = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n";
  const of = (...names: string[]) =>
    licenceExpression(head + names.map((name) => `\nFiles: *\nCopyright: me\nLicense: ${name}\n text\n`).join(""));
  test.each([
    [["GPL-2+"], "GPL-2.0-or-later"],
    [["GPL-2", "Expat", "GPL-2"], "GPL-2.0-only AND MIT"],
    [["LGPL-2.1+ and BSD-3-clause"], "BSD-3-Clause AND LGPL-2.1-or-later"],
    [["GPL-1+ or Artistic", "ISC"], "(GPL-1.0-or-later OR LicenseRef-debian-Artistic) AND ISC"],
    [["GPL-3+ with Bison exception"], "LicenseRef-debian-GPL-3-plus-with-Bison-exception"],
    [["GPL-9"], "LicenseRef-debian-GPL-9"],
  ])("%j is %s", (names, expression) => {
    expect(of(...names)?.expression).toBe(expression);
  });

  test("a copyright file for people only says nothing to a program", () => {
    expect(licenceExpression("This package was debianized by me.\n\nLicense:\n\n GPL\n")).toBeUndefined();
    expect(licenceExpression("")).toBeUndefined();
  });

  test("every identifier that we write is in SPDX's own list", async () => {
    const ids = new Set((await schema("spdx"))["enum"] as string[]);
    const names = ["Expat", "apache-2", "BSD-2-clause", "cc0", "Zlib", "X11", "curl", "FSFAP", "OpenSSL"];
    const gnu = ["GPL-1", "GPL-2+", "GPL-3", "LGPL-2", "LGPL-2.1+", "LGPL-3", "AGPL-3+"];
    for (const name of [...names, ...gnu]) expect(ids, name).toContain(of(name)?.expression);
  });
});

describe("from a tree", () => {
  async function makeTree(status: string): Promise<string> {
    const tree = join(directory, "tree");
    const long = `usr/share/doc/${"x".repeat(90)}`;
    for (const path of ["var/lib/dpkg", "usr/share/doc/bash", long]) await mkdir(join(tree, path), { recursive: true });
    await writeFile(join(tree, "var/lib/dpkg/status"), status);
    const copyright =
      "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-3+\n";
    await writeFile(join(tree, "usr/share/doc/bash/copyright"), copyright);
    await writeFile(join(tree, long, "copyright"), copyright);
    await writeFile(join(tree, "large"), Buffer.alloc(3_000_001, 7));
    await symlink("bash", join(tree, "usr/share/doc/bash-doc"));
    const file = join(directory, "tree.tar");
    await run("tar", ["-C", tree, "--sort=name", "--format=gnu", "-cf", file, "."]);
    return file;
  }

  const locked = (name: string, version: string): LockedPackage => ({
    name,
    version,
    architecture: "amd64",
    sizeBytes: 1,
    sha256: "e".repeat(64),
    archive: "debian",
    suite: "trixie",
    path: `pool/${name}.deb`,
  });
  const paragraph = (name: string, version: string) =>
    `Package: ${name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: ${version}\n\n`;

  const treeStage = { name: "tree", version: "1", options: {}, inputs: {}, outputs: ["tree"], run: async () => {} };

  async function makeBom(tree: string, platform: LockedPackage[]): Promise<string> {
    const lock = { epoch: 1, platform, foundry: [locked("busybox-static", "1")] };
    const stage = sbomStage(treeStage, undefined, lock, "trixie", []);
    const { signal } = new AbortController();
    await stage.run({ inputs: { tree }, meta: {}, out: directory, progress: () => undefined, signal });
    return readFile(join(directory, "cyclonedx"), "utf8");
  }

  test("tar: long names, links and contents", async () => {
    const members = await readTarMembers(await makeTree("x"), (path) => !path.startsWith("usr/share/doc/bash/"));
    expect(members.find(({ path }) => path.endsWith("x/copyright"))?.content.toString()).toContain("Format:");
    expect(members.find(({ path }) => path === "usr/share/doc/bash-doc")?.link).toBe("bash");
    expect(members.find(({ path }) => path === "large")?.content.equals(Buffer.alloc(3_000_001, 7))).toBe(true);
  });

  test("versions, licences also through a link, and what of the build tools is in the boot image", async () => {
    const tree = await makeTree(paragraph("bash", "5.2") + paragraph("bash-doc", "5.2"));
    const bom = JSON.parse(await makeBom(tree, [locked("bash", "5.2"), locked("bash-doc", "5.2")])) as {
      components: { name: string; licenses?: unknown; properties: { value: string }[] }[];
    };
    expect(bom.components.map(({ name, properties }) => [name, properties[0]!.value])).toEqual([
      ["bash", "root"],
      ["bash-doc", "root"],
      ["busybox-static", "boot image"],
    ]);
    expect(bom.components.map(({ licenses }) => licenses)).toEqual([
      [{ expression: "GPL-3.0-or-later" }],
      [{ expression: "GPL-3.0-or-later" }],
      undefined,
    ]);
  });

  test("a medium's packages that the tree does not have: licences from their own copyright files", async () => {
    const tree = await makeTree(paragraph("bash", "5.2"));
    const beside = join(directory, "beside");
    await mkdir(join(beside, "usr/share/doc/grub-common"), { recursive: true });
    const format = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/";
    await writeFile(join(beside, "usr/share/doc/grub-common/copyright"), `${format}\n\nFiles: *\nLicense: odd\n`);
    await symlink("grub-common", join(beside, "usr/share/doc/grub-pc"));
    const copyright = join(directory, "copyright.tar");
    await run("tar", ["-C", beside, "--sort=name", "--format=gnu", "-cf", copyright, "usr"]);
    const parts = join(directory, "parts");
    await writeFile(parts, "anna 1.97 amd64\n");
    const stage = (name: string) => ({ ...treeStage, name });
    const names = ["bash", "grub-common", "grub-pc", "anna"];
    const bom = mediumSbomStage(treeStage, undefined, stage("licences"), stage("initrd"), {
      suite: "trixie",
      lock: { epoch: 1 },
      repository: names.map((name) => locked(name, name === "anna" ? "1.97" : "5.2")),
      installer: [],
      without: [],
      files: [],
    });
    const { signal } = new AbortController();
    await bom.run({ inputs: { tree, copyright, parts }, meta: {}, out: directory, progress: () => undefined, signal });
    const { packages, hasExtractedLicensingInfos } = JSON.parse(await readFile(join(directory, "spdx"), "utf8")) as {
      packages: { name: string; comment?: string; licenseDeclared: string }[];
      hasExtractedLicensingInfos: { licenseId: string; extractedText: string }[];
    };
    const onMedium = packages.filter(({ comment }) => comment === "in the medium");
    expect(onMedium.map(({ name, licenseDeclared }) => [name, licenseDeclared])).toEqual([
      ["bash", "GPL-3.0-or-later"],
      ["grub-common", "LicenseRef-debian-odd"],
      ["grub-pc", "LicenseRef-debian-odd"],
      ["anna", "NOASSERTION"],
    ]);
    expect(hasExtractedLicensingInfos).toHaveLength(1);
    expect(hasExtractedLicensingInfos[0]!.extractedText).not.toContain("in the image");
  });

  test("a tree that dpkg knows otherwise than the lock is an error that names the packages", async () => {
    const tree = await makeTree(paragraph("bash", "5.2") + paragraph("stowaway", "1"));
    await expect(makeBom(tree, [locked("bash", "5.3")])).rejects.toThrow(
      "bash 5.2 amd64, stowaway 1 amd64, bash 5.3 amd64",
    );
  });
});
