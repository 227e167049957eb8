import { link, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { acquire } from "../../src/acquire/acquire.ts";
import { runStages, stageId, type Stage } from "../../src/assemble/engine.ts";
import { openFoundry } from "../../src/assemble/foundry.ts";
import { pythonStage } from "../../src/assemble/stages/python.ts";
import { treeStage } from "../../src/assemble/stages/tree.ts";
import { openArchive } from "../../node/repository/archive.ts";
import { serveArchive } from "../../node/repository/serve.ts";
import { run } from "../../src/host/run.ts";
import { isLeftover } from "../../src/host/unique.ts";
import { build, type BuildResult } from "../../src/lifecycle/build.ts";
import type { CheckedBuild } from "../../src/lifecycle/check-build.ts";
import { exportInputs } from "../../src/lifecycle/export-inputs.ts";
import { lockMismatches, lockRequest } from "../../src/lifecycle/lock.ts";
import { openProject, type Project } from "../../src/lifecycle/project.ts";
import { createRepository } from "../../src/lifecycle/repository.ts";
import { extractTree } from "../../src/lifecycle/tree.ts";
import { buildObjects } from "../../src/lock/objects.ts";
import { keySigner } from "../../src/repository/signer.ts";
import { darksiteStage, packagesStage, repositoryIdentity } from "../../src/repository/stages.ts";
import { checkImages } from "../../src/seal/oci-layout.ts";
import { removeAction } from "../../src/store/actions.ts";
import { openStore } from "../../src/store/store.ts";
import { archiveKey } from "../../src/vault/archive-key.ts";
import { jsonLines, kubedos } from "../cli/kubedos.ts";
import { pushImage, startRegistry, type DebianRegistry } from "../fakes/debian-registry.ts";
import { startFakeMirror, type FakeMirror } from "../fakes/mirror.ts";
import { makeLinks } from "../fakes/python-distributions.ts";
import { labSpec, makeScratch, type Scratch } from "./support.ts";
import { errorOf } from "../fakes/errors.ts";

// One build with every kind of input: a source distribution, wheels, a file, an image, beside Debian's packages.

let scratch: Scratch;
let web: FakeMirror;
let registry: DebianRegistry;
let project: Project;
let built: BuildResult;
let image: Awaited<ReturnType<typeof pushImage>>;
const toolSha256 = "3194b6aecb61510348ec5843487f2db16334fe33ad3b1b2f25ca405041b693c8";

beforeAll(async () => {
  await kubedos(["--version"]); // bundles the agent where that is due
  scratch = await makeScratch();
  const links = join(scratch.directory, "links");
  await makeLinks(links);
  Object.assign(process.env, { PIP_NO_INDEX: "1", PIP_FIND_LINKS: links });
  web = await startFakeMirror();
  web.files.set("/tool", Buffer.from("#!/bin/sh\necho a tool\n"));
  registry = await startRegistry(join(scratch.directory, "registry"));
  image = await pushImage(registry, join(scratch.directory, "image"), "team/app:1.0");
  const file = join(scratch.directory, "lab.yaml");
  await writeFile(
    file,
    `apiVersion: kubedos/v1
metadata: { name: inputs }
underlay: { cidr: 10.100.0.0/24 }
targets: [raw]
nodes: [{ name: hub, roles: [hub] }]
platform:
  python: [{ prefix: /opt/greet, requirements: ["greeter==1.0"], without: [heavy] }]
  blobs: [{ url: "${web.url}/tool", sha256: ${toolSha256}, path: /usr/local/bin/tool, mode: "0750" }]
  images: [{ reference: "${image.reference}" }]
`,
  );
  project = await openProject(file, { vault: {}, create: true }, scratch.context);
  built = await build(project.build, project.paths, project.store, scratch.context);
}, 600_000);

afterAll(async () => {
  await registry?.stop();
  await web?.close();
  await scratch?.remove();
});

test("the lock names everything by hash: what is installed, and what builds it", () => {
  const { wheels, blobs, images } = project.lock;
  expect(
    wheels!.map(({ name, version, kind, buildOf }) => `${name} ${version} ${kind} ${buildOf ?? ""}`.trim()),
  ).toEqual(["greeter 1.0 sdist", "helper 2.0 wheel", "stamp 1.0 wheel greeter"]);
  expect(blobs).toEqual([
    { name: "tool", sizeBytes: 22, sha256: toolSha256, path: "/usr/local/bin/tool", mode: 0o750 },
  ]);
  expect(images!.map(({ manifest, layers }) => [manifest.sha256, layers[0]!.sha256])).toEqual([
    [image.manifest, image.layer],
  ]);
});

test("the sealed root runs them: a virtual environment and a file with its mode", async () => {
  const { store, lock } = project;
  const foundry = await openFoundry(lock, store, scratch.context);
  const tree = await extractTree(foundry, store, built.root, lock.epoch, scratch.context);
  // Byte code: of Debian's Python, and with no time in it (PEP 552, "unchecked").
  const compiled = (await run("find", [tree, "-name", "*.pyc"])).stdout.trim().split("\n");
  expect(compiled.every((file) => file.startsWith(join(tree, "usr/lib/python3")))).toBe(true);
  const zipfile = compiled.find((file) => /\/zipfile\/__pycache__\/__init__\./.test(file))!;
  expect((await readFile(zipfile)).readUInt32LE(4)).toBe(1);
  // The tree is shared with substrates: nothing may be written into it.
  const clean = ["/usr/bin/env", "PYTHONDONTWRITEBYTECODE=1"];
  const inside = async (...command: string[]) => (await run("chroot", [tree, ...clean, ...command])).stdout.trim();
  expect(await inside("/opt/greet/bin/greet")).toBe("hello from helper 2.0 stamped");
  expect(await inside("/opt/greet/bin/helper")).toBe("2.0");
  const ask =
    "import importlib.metadata as m; print(m.version('greeter'), len(m.files('helper')), all(f.locate().exists() for f in m.files('greeter')))";
  expect(await inside("/opt/greet/bin/python3", "-c", ask)).toBe("1.0 6 True");
  expect(await inside("/usr/local/bin/tool")).toBe("a tool");
  const { mode, uid, gid } = await stat(join(tree, "usr/local/bin/tool"));
  expect([mode & 0o7777, uid, gid]).toEqual([0o750, 0, 0]);
});

test("the Python environments are the same bytes when they are made again", async () => {
  const { store, lock } = project;
  const stage = pythonStage(
    { foundry: await openFoundry(lock, store, scratch.context), epoch: lock.epoch },
    lock,
    store,
  );
  const made = async () => (await runStages([stage], store, scratch.context)).get(stage)!.outputs["tree"]!.sha256;
  const first = await made();
  await removeAction(store, stageId(stage));
  expect(await made()).toBe(first);
});

describe("the cluster's own repository", () => {
  let directory: string;
  beforeAll(async () => {
    directory = join(scratch.directory, "repository");
    await createRepository(project, directory, { ...scratch.context, offline: true });
  });

  test("one signed list holds what is not a Debian package; skopeo reads the images, sha256sum and gpgv the rest", async () => {
    expect((await readdir(directory)).filter((name) => !name.startsWith(".")).toSorted()).toEqual(
      ["SHA256SUMS", "SHA256SUMS.asc", "archive.asc", "dists", "files", "images", "pool", "python"].toSorted(),
    );
    const listed = await run("sha256sum", ["--check", "--strict", "SHA256SUMS"], { cwd: directory });
    for (const path of ["python/simple/helper/index.html", "python/files/greeter-1.0.tar.gz", "images/index.json"]) {
      expect(listed.stdout).toContain(`${path}: OK`);
    }
    const at = (name: string) => join(directory, name);
    const keyring = join(scratch.directory, "archive.gpg");
    await run("gpg", ["--dearmor", "--output", keyring, at("archive.asc")]);
    await run("gpgv", ["--keyring", keyring, at("SHA256SUMS.asc"), at("SHA256SUMS")]);
    expect(await readFile(at("files/tool"), "utf8")).toContain("a tool");
    const { stdout } = await run("skopeo", ["inspect", `oci:${at("images")}:${image.reference}`]);
    expect(JSON.parse(stdout)).toMatchObject({ Digest: `sha256:${image.manifest}`, Layers: [`sha256:${image.layer}`] });
  });

  test("the archive that hubs serve has the same files; pip installs from it, and refuses altered bytes", async () => {
    const { spec, lock, store, vault } = project;
    const foundry = await openFoundry(lock, store, scratch.context);
    const packages = packagesStage({ foundry, epoch: lock.epoch }, lock.platform, store);
    const identity = repositoryIdentity(spec, lock, keySigner(archiveKey(vault)));
    const stage = darksiteStage(packages, lock, identity, store);
    const { sha256 } = (await runStages([stage], store, scratch.context)).get(stage)!.outputs["image"]!;
    const unpacked = join(scratch.directory, "unpacked");
    await mkdir(unpacked);
    await run("tar", ["-xf", store.path(sha256), "-C", unpacked]);
    await run("diff", ["--recursive", "--brief", "--exclude=.*", directory, unpacked]);

    const venv = join(scratch.directory, "venv");
    await run("/usr/bin/python3", ["-m", "venv", venv], { timeoutMs: 120_000 });
    const pip = async (archivePath: string, ...words: string[]) => {
      const archive = await openArchive(archivePath);
      const server = await serveArchive(archive, "127.0.0.1", 0);
      try {
        const index = `http://127.0.0.1:${(server.address() as AddressInfo).port}/python/simple/`;
        const options = ["--no-cache-dir", "--disable-pip-version-check", "--index-url", index];
        await run(join(venv, "bin/pip"), ["install", ...options, ...words], { timeoutMs: 120_000 });
        return (await run(join(venv, "bin/python3"), ["-c", "import helper; print(helper.version)"])).stdout.trim();
      } finally {
        server.closeAllConnections();
        server.close();
        await archive.handle.close();
      }
    };
    const { sha256: hash } = lock.wheels!.find(({ name }) => name === "helper")!;
    const requirements = join(scratch.directory, "requirements");
    await writeFile(requirements, `helper==2.0 --hash=sha256:${hash}\n`);
    expect(await pip(store.path(sha256), "--require-hashes", "-r", requirements)).toBe("2.0");

    const altered = join(scratch.directory, "altered.tar");
    const content = await readFile(store.path(sha256));
    content[content.indexOf(await readFile(store.path(hash))) + 40]! ^= 1;
    await writeFile(altered, content);
    await expect(pip(altered, "--force-reinstall", "helper")).rejects.toThrow(/DO NOT MATCH THE HASHES/);
  });

  test("what a later lock no longer has goes away", async () => {
    const { wheels: _, images: __, blobs: ___, ...lock } = project.lock;
    await createRepository({ ...project, lock }, directory, { ...scratch.context, offline: true });
    expect((await readdir(directory)).filter((name) => !name.startsWith(".")).toSorted()).toEqual([
      "archive.asc",
      "dists",
      "pool",
    ]);
  });
});

test("what store export writes: links for pip, files by name, images", async () => {
  const directory = join(scratch.directory, "export");
  await exportInputs(project, directory, project.store, { ...scratch.context, offline: true });
  expect((await readdir(join(directory, "python"))).toSorted()).toEqual([
    "greeter-1.0.tar.gz",
    "helper-2.0-py3-none-any.whl",
    "stamp-1.0-py3-none-any.whl",
  ]);
  expect(await readFile(join(directory, "files/tool"), "utf8")).toContain("a tool");
  expect(await readFile(join(directory, "images/index.json"), "utf8")).toContain(image.manifest);
  const again = await errorOf(exportInputs(project, directory, project.store, scratch.context));
  expect(again.message).toContain("is there and not empty");
});

test("an input that the store lacks stops the build before its first stage, and is named; each kind", async () => {
  const store = await openStore(join(scratch.directory, "cache"));
  const objects = buildObjects(project.lock);
  const place = async (sha256: string) => {
    await mkdir(dirname(store.path(sha256)), { recursive: true });
    await link(project.store.path(sha256), store.path(sha256)).catch(async () => {
      await writeFile(store.path(sha256), await readFile(project.store.path(sha256)));
    });
  };
  for (const { sha256 } of objects) await place(sha256);
  const offline = { ...scratch.context, offline: true };
  const nowhere = () => Promise.reject(new Error("the network was asked for"));
  expect(await acquire(objects, nowhere, store, offline)).toMatchObject({ fetched: 0 });
  const { platform, foundry, wheels, blobs, images } = project.lock;
  const [one] = images!;
  const chosen = [platform.at(-1)!, foundry.at(0)!, ...wheels!, ...blobs!, one!.manifest, one!.config, ...one!.layers];
  for (const { sha256 } of chosen) {
    await store.remove(sha256);
    const error = await errorOf(acquire(objects, nowhere, store, offline));
    expect(error.code).toBe("offline");
    expect(error.problems.map(({ message }) => message)).toEqual([expect.stringContaining(`sha256:${sha256}`)]);
    await place(sha256);
  }
});

test("an input that the lock lacks stops the build, and is named; each kind", async () => {
  const { store, lock, spec } = project;
  const tools = { foundry: await openFoundry(lock, store, scratch.context), epoch: lock.epoch };
  const failureOf = (stage: Stage) => errorOf(runStages([stage], store, scratch.context));

  const wheels = lock.wheels!.filter(({ name }) => name !== "helper");
  expect((await failureOf(pythonStage(tools, { ...lock, wheels }, store))).message).toContain(
    "helper is needed by greeter 1.0 in /opt/greet, and is not in the lock",
  );
  const unbuilt = lock.wheels!.filter(({ name }) => name !== "stamp");
  expect((await failureOf(pythonStage(tools, { ...lock, wheels: unbuilt }, store))).message).toContain("'stamp'");

  const [first] = lock.images!;
  expect((await errorOf(checkImages([{ ...first!, layers: [] }], store))).message).toContain(
    `the lock does not hold ${image.reference} as its manifest says: it lacks sha256:${image.layer}`,
  );
  const request = lockRequest(spec);
  expect(lockMismatches(lock, request)).toEqual([]);
  expect(lockMismatches({ ...lock, blobs: undefined }, request)).toEqual([
    "+tool as /usr/local/bin/tool 750 sha256:" + toolSha256,
  ]);
  expect(lockMismatches({ ...lock, images: undefined }, request)).toEqual([`+${image.reference}`]);

  const packages = lock.platform.filter(({ name }) => name !== "libpython3.13-stdlib");
  expect((await failureOf(treeStage(tools, packages, store))).message).toContain(
    "libpython3.13-stdlib is needed by python3.13, and is not in the lock",
  );
});

test("build --check finds an input that says when it was built: the stage, the file, exit status 1", async () => {
  const directory = join(scratch.directory, "dated");
  await mkdir(directory);
  const file = join(directory, "lab.yaml");
  const python = 'platform: { python: [{ prefix: /opt/dated, requirements: ["dated==1.0"] }] }\n';
  await writeFile(file, `${labSpec("lab")}${python}`);
  const { store } = await openProject(file, { vault: {}, create: true }, scratch.context);
  const { status, stdout } = await kubedos(["build", file, "--check", "--offline", "--json"], { env: scratch.env });
  const checked = jsonLines(stdout).at(-1) as unknown as CheckedBuild;
  expect(status).toBe(1);
  expect(checked).toMatchObject({ same: false, published: "none" });
  expect(checked.stages[0]).toBe("python: tree");
  const raw = checked.differences.find((one) => one.file === "lab.raw")!;
  expect(raw.findings.map(({ structure }) => structure)).toContainEqual(
    expect.stringMatching(/^root, \/opt\/dated\/lib\/python3\.\d+\/site-packages\/dated\.py$/),
  );
  // Both outputs were left to look at.
  const kept = checked.kept!;
  expect(kept).toBe(join(store.directory, "scratch"));
  const left = (await readdir(kept)).filter(isLeftover);
  expect(left.length).toBeGreaterThanOrEqual(2);
  for (const name of left) await rm(join(kept, name), { recursive: true });
});
