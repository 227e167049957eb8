import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeArchive, makeFlatArchive, makeKey, signRelease, type FakeKey } from "../../tests/fakes/apt-repository.ts";
import { run } from "../host/run.ts";
import { parseSpec, loadSpec } from "../spec/load.ts";
import type { SpecSource } from "../spec/types.ts";
import { updateApt } from "./apt.ts";
import { formatLock, parseLock } from "./file.ts";
import { noHostApt } from "./host-apt.ts";
import { createLock, lockMatches, type LockRequest } from "./lock.ts";
import { armorKey, keyFingerprints } from "./openpgp-key.ts";
import { errorOf } from "../../tests/fakes/errors.ts";

let directory: string;
let debianKey: FakeKey;
let vendorKey: FakeKey;
let vendorArmor: string;
let request: LockRequest;
let source: SpecSource;
const context = { emit: () => undefined, signal: new AbortController().signal, offline: false };

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-sources-"));
  await Promise.all(["a", "b"].map((name) => mkdir(join(directory, name))));
  debianKey = await makeKey(join(directory, "a"));
  vendorKey = await makeKey(join(directory, "b"));
  vendorArmor = armorKey(await readFile(vendorKey.keyring));
  const essential = [{ name: "base-one", fields: { Essential: "yes" } }];
  await makeArchive(join(directory, "web/debian"), "toy", essential, debianKey);
  await makeArchive(join(directory, "web/debian-security"), "toy-security", [], debianKey);
  await makeArchive(join(directory, "web/vendor"), "stable", [{ name: "vendor-tool", version: "3.1" }], vendorKey);
  await makeFlatArchive(join(directory, "web/flat"), [{ name: "flat-tool", version: "1.32.0-1.1" }], vendorKey);
  source = {
    name: "vendor",
    urls: [`file://${directory}/web/vendor/`],
    suite: "stable",
    components: ["main"],
    key: vendorArmor,
  };
  request = {
    suite: "toy",
    profile: "base",
    mirror: [`file://${directory}/web/debian`],
    platform: ["vendor-tool"],
    foundry: ["base-one"],
    sources: [source],
    keyring: debianKey.keyring,
    cache: join(directory, "cache"),
  };
}, 60_000);

afterAll(() => rm(directory, { recursive: true, force: true }));

async function gpgFingerprint(key: FakeKey): Promise<string> {
  const { stdout } = await run("gpg", ["--homedir", key.home, "--with-colons", "--show-keys", key.keyring]);
  return /^fpr:+([0-9A-F]+):/m.exec(stdout)![1]!;
}

test("a package of another source is pinned like Debian's, with its source and the key's fingerprint", async () => {
  const lock = await createLock(request, context);
  expect(lock.platform.find(({ name }) => name === "vendor-tool")).toMatchObject({
    version: "3.1",
    archive: "vendor",
    suite: "stable",
    path: "pool/main/stable/vendor-tool_3.1_amd64.deb",
  });
  expect(lock.thirdParty).toEqual([{ name: "vendor", fingerprints: [await gpgFingerprint(vendorKey)] }]);
  expect(lock.suites.map(({ archive, suite }) => `${archive} ${suite}`)).toContain("vendor stable");
  expect(parseLock(formatLock(lock), "x.lock")).toEqual(lock);
  expect(lockMatches(lock, request).matches).toBe(true);
  expect(lockMatches(lock, { ...request, sources: [] }).suites).toBe(false);
});

test("a flat repository, as Kubernetes' packages are in", async () => {
  const flat = { ...source, name: "flat", urls: [`file://${directory}/web/flat`], suite: "/", components: [] };
  const lock = await createLock({ ...request, sources: [flat], platform: ["flat-tool"] }, context);
  expect(lock.platform.find(({ name }) => name === "flat-tool")).toMatchObject({
    archive: "flat",
    suite: "/",
    path: "amd64/flat-tool_1.32.0-1.1_amd64.deb",
  });
  expect(parseLock(formatLock(lock), "x.lock")).toEqual(lock);
});

test("only the source's own key counts: not Debian's, and not another", async () => {
  const debianArmor = armorKey(await readFile(debianKey.keyring));
  const error = await errorOf(createLock({ ...request, sources: [{ ...source, key: debianArmor }] }, context));
  expect(error.message).toContain("no usable package index from");
  expect(error.message).toContain("/web/vendor");
  const forDebian = await errorOf(createLock({ ...request, keyring: vendorKey.keyring }, context));
  expect(forDebian.message).toContain("/web/debian");
});

test("the next URL of a source is tried when the first has nothing", async () => {
  const urls = ["file:/nowhere", ...source.urls];
  const lock = await createLock({ ...request, sources: [{ ...source, urls }] }, context);
  expect(lock.platform.map(({ name }) => name)).toContain("vendor-tool");
});

test("a Release that has expired is refused, with apt's own defaults", async () => {
  const [made, until] = ["Fri, 02 Jan 2026 00:00:00 UTC", "Fri, 09 Jan 2026 00:00:00 UTC"];
  const base = join(directory, "web/expiring");
  await makeArchive(base, "stable", [{ name: "old-tool" }], vendorKey);
  await signRelease(base, "stable", vendorKey, made, { "Valid-Until": until });
  const update = updateApt(
    {
      directory: join(directory, "private"),
      sources: [{ archive: "vendor", suite: "stable", components: ["main"], key: vendorArmor }],
      mirrors: { vendor: [`file:${base}`] },
      keyring: debianKey.keyring,
      host: noHostApt,
    },
    context,
  );
  const error = await errorOf(update);
  expect(error.message).toMatch(/expired/);
  expect(error.hint).toContain("out of date");
});

test("fingerprints are those that gpg prints, also of several keys in one text", async () => {
  const [first, second] = [await gpgFingerprint(debianKey), await gpgFingerprint(vendorKey)];
  const { stdout } = await run("gpg", ["--homedir", debianKey.home, "--armor", "--export"]);
  expect(keyFingerprints(stdout, "x")).toEqual([first]);
  expect(keyFingerprints(`${stdout}\n${vendorArmor}`, "x")).toEqual([first, second].toSorted());
  expect(() =>
    keyFingerprints("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----", "the key"),
  ).toThrow("the key: there is no OpenPGP public key in it");
});

test("a key is written into the spec, or is a file beside it: armored or not", async () => {
  const spec = (key: string) => `apiVersion: kubedos/v1
metadata: { name: demo }
nodes: [{ name: hub, role: hub }]
platform:
  sources: [{ name: vendor, urls: ["https://v.example"], suite: /, key: ${JSON.stringify(key)} }]
`;
  const [armored] = keyFingerprints(vendorArmor, "x");
  await writeFile(join(directory, "vendor.gpg"), await readFile(vendorKey.keyring));
  await writeFile(join(directory, "vendor.asc"), vendorArmor);
  for (const key of [vendorArmor, "vendor.gpg", "./vendor.asc"]) {
    await writeFile(join(directory, "spec.yaml"), spec(key));
    const loaded = await loadSpec(join(directory, "spec.yaml"));
    expect(keyFingerprints(loaded.platform.sources[0]!.key, "x")).toEqual([armored]);
  }
  expect(parseSpec(spec("vendor.gpg"), "spec.yaml").problems).toEqual([]);
  await writeFile(join(directory, "spec.yaml"), spec("absent.asc"));
  expect((await errorOf(loadSpec(join(directory, "spec.yaml")))).message).toContain("cannot read");
});
