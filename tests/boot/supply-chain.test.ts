import { copyFile, mkdir, readFile, readdir, rename, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { acquire, acquireSources } from "../../src/acquire/acquire.ts";
import { locateFoundry } from "../../src/assemble/foundry.ts";
import { run } from "../../src/host/run.ts";
import { runInSandbox } from "../../src/host/sandbox.ts";
import { createLock } from "../../src/lock/lock.ts";
import { attachSignature } from "../../src/seal/authenticode.ts";
import { openErofs } from "../../src/seal/erofs.ts";
import type { Manifest } from "../../src/seal/manifest.ts";
import { verifyOutput, type VerifyCheck } from "../../src/seal/verify.ts";
import { jsonLines, kubedos } from "../cli/kubedos.ts";
import { copyOutput, resign, wrong } from "./outputs.ts";
import { buildLab, labSpec, makeScratch, type BuiltLab, type Scratch } from "./support.ts";

// What is said about a build, read by the tools of others; and who may say it.
let scratch: Scratch;
let lab: BuiltLab;
let out: string;
let manifest: Manifest;
beforeAll(async () => {
  scratch = await makeScratch();
  lab = await buildLab(scratch, "chain");
  out = lab.project.paths.out;
  manifest = JSON.parse(await readFile(lab.built.manifest, "utf8")) as Manifest;
});
afterAll(() => scratch?.remove());

const published = (name: string) => join(out, name);

function inFoundry(command: [string, ...string[]], inputs: Record<string, string>, to: string) {
  const { lock, store } = lab.project;
  const { directory } = locateFoundry(lock, store);
  return runInSandbox({ root: directory, command, inputs, out: join(scratch.directory, to), epoch: lock.epoch });
}

async function check(path = out, options: Partial<Parameters<typeof verifyOutput>[0]> = {}): Promise<VerifyCheck[]> {
  const { signal } = scratch.context;
  const key = published("foundry.pub");
  return (await verifyOutput({ path, key, anyKey: false, withoutAuthenticode: true, signal, ...options })).checks;
}

describe("Secure Boot's signature", () => {
  test("sbsign makes the same bytes, the clock at the lock's epoch; sbattach finds the published one", async () => {
    const { vault, lock } = lab.project;
    const [key, certificate] = [join(scratch.directory, "db.key"), published("secureboot-db.pem")];
    await writeFile(key, vault.secureBoot.db.key, { mode: 0o600 });
    const when = new Date(lock.epoch * 1000).toISOString().slice(0, 19).replace("T", " ");
    const inputs = { key, certificate, image: lab.uki.unsigned };
    const keys = ["--key", "/in/key", "--cert", "/in/certificate"];
    await inFoundry(
      ["faketime", "-f", when, "sbsign", ...keys, "--output", "/out/signed.efi", "/in/image"],
      inputs,
      "sbsign",
    );
    const theirs = join(scratch.directory, "sbsign");
    expect((await readFile(join(theirs, "signed.efi"))).equals(await readFile(lab.uki.signed))).toBe(true);
    await inFoundry(["sbattach", "--detach", "/out/detached.p7", "/out/signed.efi"], {}, "sbsign");
    expect((await readFile(join(theirs, "detached.p7"))).equals(await readFile(published("boot.efi.p7")))).toBe(true);
  });

  test("without any key, the published signature on the unsigned boot image gives the signed one", async () => {
    const unsigned = await readFile(lab.uki.unsigned);
    const signature = await readFile(published("boot.efi.p7"));
    expect(manifest.boot.signature.sizeBytes).toBe(signature.length);
    expect(attachSignature(unsigned, signature).equals(await readFile(lab.uki.signed))).toBe(true);
    const output = join(scratch.directory, "attached.efi");
    const files = ["--attach", published("boot.efi.p7"), "--image", lab.uki.unsigned, "--output", output];
    expect((await kubedos(["sign", ...files])).status).toBe(0);
    expect((await readFile(output)).equals(await readFile(lab.uki.signed))).toBe(true);
    const twice = await kubedos(["sign", ...files]);
    expect(twice.status).toBe(1);
    expect(twice.stderr).toContain("exists already");
  });
});

test("signed elsewhere, in a directory that comes and goes: every file has the same bytes as with the vault's keys", async () => {
  const { paths } = lab.project;
  const elsewhere = join(scratch.directory, "elsewhere");
  await mkdir(elsewhere);
  for (const file of [paths.spec, paths.lock, paths.vault]) {
    await copyFile(file, join(elsewhere, file.slice(file.lastIndexOf("/") + 1)));
  }
  const [spec, vault, pending] = ["lab.yaml", "lab.vault", "to-sign"].map((name) => join(elsewhere, name));
  const cli = (...words: string[]) => kubedos([...words, "--json"], { env: scratch.env });
  const first = await cli("build", spec!, "--unsigned", pending!);
  expect(first.status, first.stderr).toBe(0);
  expect(jsonLines(first.stdout).at(-1)).toMatchObject({ ok: true, waiting: [expect.stringMatching(/^secure-boot-/)] });
  expect((await cli("sign", spec!, "--import", pending!)).status).toBe(3);
  expect((await cli("sign", "--pending", pending!, "--vault", vault!)).status).toBe(0);
  const second = await cli("sign", spec!, "--import", pending!);
  expect(second.status).toBe(3);
  expect((jsonLines(second.stdout).at(-1) as { waiting?: string[] }).waiting).toHaveLength(2);
  expect((await cli("sign", "--pending", pending!, "--vault", vault!)).status).toBe(0);
  expect((await cli("sign", spec!, "--import", pending!)).status).toBe(0);
  const made = join(elsewhere, "out/lab");
  expect((await readdir(made)).toSorted()).toEqual((await readdir(out)).toSorted());
  for (const file of await readdir(out)) {
    expect((await readFile(join(made, file))).equals(await readFile(join(out, file))), file).toBe(true);
  }
});

describe("bills of materials", () => {
  let status: string;
  beforeAll(async () => {
    const root = openErofs(await readFile(lab.built.root.path));
    const admin = join(scratch.directory, "dpkg/var/lib/dpkg");
    await mkdir(admin, { recursive: true });
    await writeFile(join(admin, "status"), root.read(root.find("/var/lib/dpkg/status")!));
    const format = "${binary:Package} ${Version} ${db:Status-Status}\n";
    const words = [`--admindir=${admin}`, "--show", `--showformat=${format}`];
    status = (await run("dpkg-query", words)).stdout;
  });

  test("both list what dpkg says inside the image, no more and no less", async () => {
    const inside = status
      .split("\n")
      .filter((line) => line.endsWith(" installed"))
      .map((line) => line.replace(/ installed$/, "").replace(/^([^: ]+):amd64/, "$1"))
      .toSorted();
    expect(inside.length).toBeGreaterThan(100);
    const cyclonedx = JSON.parse(await readFile(published("sbom.cdx.json"), "utf8")) as {
      components: { type: string; name: string; version: string; purl?: string; properties: { value: string }[] }[];
    };
    const listed = cyclonedx.components.filter(
      ({ purl, properties }) => purl?.startsWith("pkg:deb/") === true && properties[0]!.value === "root",
    );
    expect(listed.map(({ name, version }) => `${name} ${version}`).toSorted()).toEqual(inside);
    const spdx = JSON.parse(await readFile(published("sbom.spdx.json"), "utf8")) as {
      packages: { name: string; versionInfo: string; comment?: string }[];
    };
    const described = spdx.packages.filter(({ comment }) => comment === "in the root");
    expect(described.map(({ name, versionInfo }) => `${name} ${versionInfo}`).toSorted()).toEqual(inside);
  });

  test("every file of the initrd is of a package that is listed for the boot image", async () => {
    const initrd = lab.project.store.path(manifest.boot.initrd.sha256);
    const { stdout } = await inFoundry(["sh", "-euc", "zstd -qdc /in/initrd | cpio --quiet -t"], { initrd }, "initrd");
    const files = stdout.split("\n").filter((path) => /^(bin|lib|lib64|m)\/.*\.(ko|so)|^bin\/./.test(path));
    expect(files.length).toBeGreaterThan(10);
    const { components } = JSON.parse(await readFile(published("sbom.cdx.json"), "utf8")) as {
      components: { hashes: { alg: string; content: string }[]; properties: { value: string }[] }[];
    };
    const listed = components.filter(({ properties }) => properties[0]!.value === "boot image");
    const names = new Set<string>();
    for (const { hashes } of listed) {
      const deb = lab.project.store.path(hashes.find(({ alg }) => alg === "SHA-256")!.content);
      const contents = await run("dpkg-deb", ["--contents", deb]);
      for (const line of contents.stdout.split("\n"))
        names.add(line.replace(/ (->|link to) .*/, "").replace(/^.*\//, ""));
    }
    const stray = files
      .map((path) => path.replace(/^.*\//, ""))
      .filter((name) => !names.has(name) && !names.has(`${name}.xz`));
    expect(stray).toEqual([]);
  });

  test("the reference validator of SPDX finds nothing to object to; of a damaged one it does", async () => {
    const venv = join(scratch.directory, "venv");
    await run("/usr/bin/python3", ["-m", "venv", venv], { timeoutMs: 120_000 });
    await run(join(venv, "bin/pip"), ["install", "--quiet", "spdx-tools==0.8.5"], { timeoutMs: 240_000 });
    const validate = (file: string) =>
      run(join(venv, "bin/pyspdxtools"), ["-i", file, "--version", "SPDX-2.3"], { okStatuses: [0, 1] });
    const good = await validate(published("sbom.spdx.json"));
    expect(good.status, good.stderr).toBe(0);
    const damaged = join(scratch.directory, "damaged.spdx.json");
    const text = await readFile(published("sbom.spdx.json"), "utf8");
    await writeFile(damaged, text.replace('"SPDXRef-DOCUMENT"', '"DOCUMENT"'));
    expect((await validate(damaged)).status).toBe(1);
  }, 300_000);

  test("a package too few, one too many, a file of other bytes, a newer format: `verify` names each", async () => {
    const copy = await copyOutput(out, join(scratch.directory, "sboms"));
    const file = join(copy, "sbom.cdx.json");
    const text = await readFile(file, "utf8");
    const bom = JSON.parse(text) as { components: { name: string; type: string; hashes: { content: string }[] }[] };
    const [bash] = bom.components.filter(({ name }) => name === "bash");
    const own = bom.components.find(({ type }) => type === "file")!;
    bom.components = bom.components.filter(({ name }) => name !== "bash");
    bom.components.push({ ...bash!, name: "stowaway" });
    own.hashes[1]!.content = "0".repeat(64);
    await writeFile(file, JSON.stringify(bom));
    const contents = async () => wrong((await check(copy)).filter(({ check: name }) => name === "contents"));
    expect(await contents()).toEqual([
      expect.stringMatching(/stowaway \S+ is listed and not in the image/),
      expect.stringMatching(/bash \S+ is in the image and not listed/),
      `sbom.cdx.json contents: ${own.name} has other bytes in the image`,
    ]);
    await writeFile(file, text.replace('"specVersion": "1.6"', '"specVersion": "1.9"'));
    expect(await contents()).toEqual(["sbom.cdx.json contents: it is CycloneDX 1.9; this kubedos reads 1.6"]);
  });
});

describe("cosign", () => {
  let cosign: string;
  const env = { HOME: "/nonexistent", COSIGN_MAX_ATTACHMENT_SIZE: "8GB" };
  beforeAll(async () => {
    const request = {
      suite: "trixie",
      profile: "base+updates",
      mirror: [],
      platform: [],
      foundry: ["cosign"],
    } as const;
    const { context } = scratch;
    const lock = await createLock(request, context);
    const item = lock.foundry.find(({ name }) => name === "cosign")!;
    await acquire([item], () => acquireSources([], context.signal), lab.project.store, context);
    const directory = join(scratch.directory, "cosign");
    await run("dpkg-deb", ["--extract", lab.project.store.path(item.sha256), directory]);
    cosign = join(directory, "usr/bin/cosign");
  }, 120_000);

  const verifies = async (...words: string[]) => {
    const command = [words[0]!, "--key", published("foundry.pem"), "--private-infrastructure", ...words.slice(1)];
    const { status, stderr } = await run(cosign, command, { env, okStatuses: [0, 1] });
    return status === 0 ? "verified" : stderr;
  };

  test("verifies the manifest as a blob, and nothing else in its place", async () => {
    const signature = ["--signature", published("manifest.json.cosign")];
    expect(await verifies("verify-blob", ...signature, published("manifest.json"))).toBe("verified");
    expect(await verifies("verify-blob", ...signature, published("sbom.cdx.json"))).toContain(
      "failed to verify signature",
    );
  });

  test("verifies the provenance as an attestation of each artifact and document, and not of another file", async () => {
    const line = ["--signature", published("provenance.intoto.jsonl"), "--type", "slsaprovenance1"];
    for (const file of [...manifest.artifacts.map((item) => item.file), "manifest.json", "sbom.spdx.json"]) {
      expect(await verifies("verify-blob-attestation", ...line, published(file)), file).toBe("verified");
    }
    const other = join(scratch.directory, "other");
    await writeFile(other, "another file");
    expect(await verifies("verify-blob-attestation", ...line, other)).toContain("no matching subject digest");
  });
});

describe("what must not pass", () => {
  test("a revoked key, a revoked certificate: refused by verify, and by build", async () => {
    const list = join(scratch.directory, "revoked");
    const line = (await readFile(published("foundry.pub"), "utf8")).split("\n")[1]!;
    await writeFile(list, `${line} # stolen\n`);
    const { status, stdout } = await kubedos(["verify", out, "--any-key", "--revoked", list], { env: scratch.env });
    expect(status).toBe(1);
    expect(stdout).toContain("is revoked: nothing that it signed is to be trusted");
    const spec = join(scratch.directory, "revoked.yaml");
    await writeFile(spec, `${labSpec("lab")}trust: { revoked: [${line}] }\n`);
    await copyFile(lab.project.paths.lock, join(scratch.directory, "revoked.lock"));
    await copyFile(lab.project.paths.vault, join(scratch.directory, "revoked.vault"));
    const refused = await kubedos(["build", spec], { env: scratch.env });
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain("is in trust.revoked, and would sign");
  });

  test("files swapped between two builds, removed, cut, added: each is named", async () => {
    const other = await buildLab(scratch, "foreign", lab);
    const copy = await copyOutput(out, join(scratch.directory, "swapped"));
    for (const name of ["provenance.intoto.jsonl", "manifest.json.cosign", "sbom.cdx.json", "boot.efi.p7"]) {
      await copyFile(join(other.project.paths.out, name), join(copy, name));
    }
    await rm(join(copy, "secureboot-kek.pem"));
    await truncate(join(copy, "sbom.spdx.json"), 1000);
    await writeFile(join(copy, "lab.vhd"), "of nobody");
    const found = wrong(await check(copy));
    // The same lock has the same bill of materials: nothing is wrong with that one.
    expect(found).toEqual([
      expect.stringMatching(/^sbom\.spdx\.json hash: has 1000 bytes instead of \d+$/),
      "boot.efi.p7 hash: is altered: its sha256 is not the manifest's",
      "secureboot-kek.pem hash: is missing",
      "lab.vhd listed: not-checked",
      expect.stringContaining("manifest.json.cosign signature: is not the signature that"),
      expect.stringContaining(
        "provenance.intoto.jsonl provenance: no signature of the envelope is by the foundry's key",
      ),
      expect.stringContaining("sbom.spdx.json contents:"),
    ]);
  });

  test("another build of the same foundry: its provenance does not speak of this one", async () => {
    const copy = await copyOutput(out, join(scratch.directory, "another"));
    const changed = { ...manifest, documents: manifest.documents.filter(({ file }) => file !== "secureboot-pk.pem") };
    await resign(lab.project.vault, copy, JSON.stringify(changed));
    await rm(join(copy, "secureboot-pk.pem"));
    expect(wrong(await check(copy))).toEqual([
      "provenance.intoto.jsonl provenance: does not speak of this manifest.json",
      "provenance.intoto.jsonl provenance: speaks of secureboot-pk.pem, which the manifest does not name",
    ]);
  });

  test("manifest and lock of a newer format say so", async () => {
    const copy = await copyOutput(out, join(scratch.directory, "newer"));
    await resign(lab.project.vault, copy, JSON.stringify({ ...manifest, format: 2 }));
    expect(wrong(await check(copy))).toEqual([
      expect.stringContaining("has format 2, which this kubedos does not know"),
    ]);
    const lock = join(copy, "lab.lock");
    await copyFile(lab.project.paths.lock, lock);
    await rename(lock, join(copy, "newer.lock"));
    const text = await readFile(join(copy, "newer.lock"), "utf8");
    await writeFile(join(copy, "newer.lock"), text.replace('"format": 1', '"format": 9'));
    await writeFile(join(copy, "newer.yaml"), labSpec("lab"));
    await copyFile(lab.project.paths.vault, join(copy, "newer.vault"));
    const refused = await kubedos(["build", join(copy, "newer.yaml")], { env: scratch.env });
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain("has lock format 9");
  });
});

describe("diff", () => {
  test("nothing, where nothing differs; a file, a unit, an opening and a node, where they do", async () => {
    const same = await kubedos(["diff", out, out], { env: scratch.env });
    expect(same.stdout.trim()).toBe("the same");
    const { project } = lab;
    const directory = join(scratch.directory, "changed");
    await mkdir(directory);
    const spec = join(directory, "lab.yaml");
    const more = [
      "  - { name: worker-2, roles: [worker] }",
      "policy: { openings: [{ service: web, plane: wg1, port: 8080 }] }",
      "platform:",
      "  files:",
      '    - { path: /etc/motd, mode: "0600", content: "changed" }',
      '    - { path: /opt/new, mode: "0644", content: "new" }',
      "",
    ];
    await writeFile(spec, labSpec("lab") + more.join("\n"));
    await copyFile(project.paths.lock, join(directory, "lab.lock"));
    await copyFile(project.paths.vault, join(directory, "lab.vault"));
    const built = await kubedos(["build", spec], { env: scratch.env });
    expect(built.status, built.stderr).toBe(0);
    const result = await kubedos(["diff", out, join(directory, "out/lab"), "--json"], { env: scratch.env });
    const diff = jsonLines(result.stdout).at(-1) as Record<string, unknown>;
    expect(diff).toMatchObject({
      same: false,
      packages: { added: [], removed: [], changed: [] },
      openings: { added: [expect.stringContaining("web wg1 tcp/8080")], removed: [] },
      nodes: { added: ["worker-2"], removed: [] },
      units: { added: [], removed: [] },
    });
    const files = diff["files"] as { added: { path: string }[]; removed: []; changed: { path: string; to: object }[] };
    expect(files.added.map(({ path }) => path)).toEqual(["/opt/new"]);
    expect(files.changed.map(({ path }) => path)).toEqual(["/etc/motd"]);
    expect(files.changed[0]!.to).toMatchObject({ mode: "0600", sizeBytes: 7 });
    expect((await kubedos(["diff", out, join(scratch.directory, "nowhere")])).status).toBe(2);
  });
});
