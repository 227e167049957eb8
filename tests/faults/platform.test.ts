import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { locateFoundry } from "../../src/assemble/foundry.ts";
import { cacheDirectory } from "../../src/host/paths.ts";
import { run } from "../../src/host/run.ts";
import { runInSandbox } from "../../src/host/sandbox.ts";
import { readSections } from "../../src/seal/uki.ts";
import { openStore, type Store } from "../../src/store/store.ts";
import { projectRoot } from "../cli/kubedos.ts";
import { buildReference, openWorkshop, type Workshop } from "./support.ts";

interface Manifest {
  platform: Record<"root" | "verity", { sha256: string }> & { rootHash: string };
  boot: Record<"signed" | "unsigned", { sha256: string }>;
}

let workshop: Workshop;
let store: Store;
let manifest: Manifest;
/** The sealed root, unpacked. */
let tree: string;
beforeAll(async () => {
  workshop = await openWorkshop();
  store = await openStore(cacheDirectory());
  await buildReference(workshop, store.directory);
  manifest = JSON.parse(await readFile(join(workshop.spec, "out/lab/manifest.json"), "utf8")) as Manifest;
  await inFoundry(["fsck.erofs", "--extract=/out/tree", "--preserve", "/in/root"], {
    root: store.path(manifest.platform.root.sha256),
  });
  tree = join(workshop.directory, "out/tree");
});
afterAll(() => workshop?.remove());

async function inFoundry(command: [string, ...string[]], inputs: Record<string, string>): Promise<string> {
  const root = locateFoundry(workshop.lock, store).directory;
  const out = join(workshop.directory, "out");
  return (await runInSandbox({ root, command, inputs, out, epoch: workshop.lock.epoch })).stdout;
}

test("dpkg's own audit finds nothing, and every package of the lock is installed in its version", async () => {
  expect((await run("dpkg", [`--root=${tree}`, "--audit"])).stdout).toBe("");
  const format = "${Package} ${Version} ${db:Status-Abbrev}\n";
  const { stdout } = await run("dpkg-query", [`--admindir=${tree}/var/lib/dpkg`, "--show", "--showformat", format]);
  const wanted = workshop.lock.platform.map(({ name, version }) => `${name} ${version} ii `);
  expect(
    stdout
      .trimEnd()
      .split("\n")
      .map((line) => `${line.trim()} `)
      .toSorted(),
  ).toEqual(wanted.toSorted());
});

/** Whether the build takes a path away, by the list that root.sh works through, or as documentation that is no licence. */
async function prunedPaths(): Promise<(path: string) => boolean> {
  const list = await readFile(join(projectRoot, "src/assemble/scripts/pruned"), "utf8");
  const names = list.trimEnd().split("\n");
  const patterns = names.map((name) => name.replaceAll(".", "\\.").replaceAll("*", "[^/]*"));
  const pruned = new RegExp(`^(${patterns.join("|")})(/|$)`);
  return (path) => (path.startsWith("/usr/share/doc/") ? !path.endsWith("/copyright") : pruned.test(path));
}

test("dpkg verifies every file of every package; only what is pruned is missing", async () => {
  const { stdout } = await run("dpkg", [`--root=${tree}`, "--verify"], { okStatuses: [0, 1] });
  const findings = stdout.trimEnd().split("\n");
  const pruned = await prunedPaths();
  const unexpected = findings.filter((line) => {
    const [, path] = /^missing +(?:c )?(\/\S+)/.exec(line) ?? [];
    return path === undefined || !pruned(path);
  });
  expect(unexpected).toEqual([]);
  expect(findings.length).toBeGreaterThan(100); // it did look
});

test("licences stay", async () => {
  const { stdout } = await run("find", [join(tree, "usr/share/doc"), "-name", "copyright"]);
  expect(stdout.trim().split("\n").length).toBeGreaterThan(100);
});

test("nothing of one machine or one build is inside", async () => {
  expect((await readdir(join(tree, "etc/ssh"))).filter((name) => name.startsWith("ssh_host_"))).toEqual([]);
  expect(await readFile(join(tree, "etc/machine-id"), "utf8")).toBe("");
  const machine = ["var/lib/dbus/machine-id", "etc/hostname", "var/lib/systemd/random-seed", "usr/sbin/policy-rc.d"];
  const database = ["lock", "lock-frontend", "status-old"].map((name) => `var/lib/dpkg/${name}`);
  const { stdout: present } = await run("find", [...machine, ...database], { cwd: tree, okStatuses: [0, 1] });
  expect(present).toBe("");
  const scratch = await run("find", ["tmp", "run", "var/tmp", "var/cache", "boot", "-mindepth", "1"], { cwd: tree });
  expect(scratch.stdout).toBe("");
  const where = ["/work/root", "/work/debs", workshop.directory, store.directory];
  const paths = where.flatMap((text) => ["-e", text]);
  const found = await run("grep", ["-rIlF", ...paths, "etc", "var", "usr/lib"], { cwd: tree, okStatuses: [0, 1] });
  expect(found.stdout).toBe("");
  const newer = await run("find", [".", "-newermt", `@${workshop.lock.epoch}`], { cwd: tree });
  expect(newer.stdout).toBe("");
});

test("veritysetup accepts the hash tree under the root hash of the manifest", async () => {
  const { root, verity, rootHash } = manifest.platform;
  const sections = await readFile(store.path(manifest.boot.unsigned.sha256));
  const at = readSections(sections).find(({ name }) => name === ".cmdline")!;
  const line = sections.toString("latin1", at.offset, at.offset + at.sizeBytes);
  const [, blocks, hash, salt] = /kubedos\.root=(\d+):([0-9a-f]{64}):([0-9a-f]{64})$/.exec(line)!;
  expect(hash).toBe(rootHash);
  const inputs = { root: store.path(root.sha256), verity: store.path(verity.sha256) };
  const verify = ["--no-superblock", `--salt=${salt}`, `--data-blocks=${blocks}`, "/in/root", "/in/verity"];
  await expect(inFoundry(["veritysetup", "verify", ...verify, rootHash], inputs)).resolves.toBe("");
  const wrong = rootHash.replace(/^./, (digit) => (digit === "0" ? "1" : "0"));
  await expect(inFoundry(["veritysetup", "verify", ...verify, wrong], inputs)).rejects.toThrow(/[Vv]erif/);
});

test("sbverify accepts the boot image under the foundry's certificate only, and others read its sections", async () => {
  const signed = store.path(manifest.boot.signed.sha256);
  const unsigned = store.path(manifest.boot.unsigned.sha256);
  const verify = async (image: string, certificate: "db" | "kek") => {
    const pem = join(workshop.directory, `${certificate}.pem`);
    await writeFile(pem, workshop.certificates[certificate]);
    return inFoundry(["sbverify", "--cert", "/in/pem", "/in/uki"], { pem, uki: image });
  };
  expect(await verify(signed, "db")).toContain("Signature verification OK");
  await expect(verify(signed, "kek")).rejects.toThrow("Signature verification failed");
  await expect(verify(unsigned, "db")).rejects.toThrow(/No signature table/);
  const seen = await inFoundry(["pe-inspect", "/in/uki"], { uki: signed });
  for (const name of [".osrel", ".cmdline", ".uname", ".initrd", ".linux"]) expect(seen).toContain(name);
  const { stdout } = await run("objdump", ["-h", signed]);
  expect(stdout).toMatch(/\.linux/);
});

test("cpio reads the cluster layer in the initrd's archive", async () => {
  const image = await readFile(store.path(manifest.boot.unsigned.sha256));
  const at = readSections(image).find(({ name }) => name === ".initrd")!;
  const initrd = image.subarray(at.offset, at.offset + at.sizeBytes);
  const layer = initrd.subarray(initrd.lastIndexOf("070701", initrd.indexOf("kubedos\0")));
  const { stdout } = await run("cpio", ["--quiet", "-it"], { input: layer });
  expect(stdout.trim().split("\n")).toEqual(expect.arrayContaining(["kubedos/layer", "kubedos/layer/cluster.json"]));
});
