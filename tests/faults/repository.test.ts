import { copyFile, mkdir, mkdtemp, readFile, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packagesStage } from "../../src/repository/stages.ts";
import { locateFoundry } from "../../src/assemble/foundry.ts";
import { run } from "../../src/host/run.ts";
import { createRepository } from "../../src/lifecycle/repository.ts";
import { openProject, type Project } from "../../src/lifecycle/project.ts";
import { hashFile } from "../../src/store/store.ts";
import { archiveKey } from "../../src/vault/archive-key.ts";
import { openpgpArmoredCertificate } from "../../src/vault/openpgp.ts";
import { labSpec, makeScratch, type Scratch } from "../boot/support.ts";
import { flip } from "../boot/image.ts";
import { kubedos } from "../cli/kubedos.ts";
import { foundryApt, hostApt, type TestApt } from "../fakes/apt.ts";

// A repository of the lab's lock, and what two versions of the real apt say to it, whole and damaged.
let scratch: Scratch;
let project: Project;
let repository: string;
// apt 3 has only this to say when a copied file is not what was announced.
const wrongBytes = /Hash Sum mismatch|does not match|unexpected size|Undetermined Error/i;
const index = "dists/trixie/main/binary-amd64";

beforeAll(async () => {
  await kubedos(["--version"]); // bundles the agent where that is due
  scratch = await makeScratch();
  const spec = join(scratch.directory, "lab.yaml");
  await writeFile(spec, labSpec("lab"));
  const whole = await openProject(spec, { vault: {}, create: true }, scratch.context);
  // Without the few large packages there is less to copy, and nothing else is different.
  const platform = whole.lock.platform.filter(({ sizeBytes }) => sizeBytes < 2_000_000);
  project = { ...whole, lock: { ...whole.lock, platform } };
  repository = join(scratch.directory, "repository");
  await createRepository(project, repository, scratch.context);
});
afterAll(() => scratch?.remove());

async function hashes(directory: string): Promise<string[]> {
  const files = (await readdir(directory, { recursive: true, withFileTypes: true })).filter((one) => one.isFile());
  const lines = files.map(async ({ parentPath, name }) => {
    const path = join(parentPath, name);
    return `${await hashFile(path)} ${path.slice(directory.length)}`;
  });
  return (await Promise.all(lines)).toSorted();
}

/** A copy of the repository with one thing changed. */
async function altered(change: (directory: string) => Promise<unknown>): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "kd-altered-"));
  await run("cp", ["--archive", "--link", `${repository}/.`, directory]);
  await change(directory);
  return directory;
}

/** Changes one bit of a file, and not of those that share its blocks. */
async function flipOwn(file: string, offset: number): Promise<void> {
  await own(file);
  await flip(file, offset);
}

async function own(file: string): Promise<void> {
  await copyFile(file, `${file}.own`);
  await rename(`${file}.own`, file);
}

async function debOf(name: string): Promise<string> {
  const entry = project.lock.platform.find((one) => one.name === name)!;
  return entry.path;
}

test("the same lock and vault give the same bytes, also in another order and made from nothing", async () => {
  const again = join(scratch.directory, "again");
  const lock = { ...project.lock, platform: project.lock.platform.toReversed() };
  await createRepository({ ...project, lock }, again, scratch.context);
  expect(await hashes(again)).toEqual(await hashes(repository));
  // The index itself, not the one that the cache has.
  const out = join(scratch.directory, "index");
  await mkdir(out);
  const tools = { foundry: locateFoundry(lock, project.store), epoch: lock.epoch };
  const stage = packagesStage(tools, lock.platform, project.store);
  await stage.run({ inputs: {}, meta: {}, out, progress: () => undefined, signal: scratch.context.signal });
  for (const name of stage.outputs) {
    expect(await readFile(join(out, name))).toEqual(await readFile(join(repository, index, name)));
  }
});

test("holds exactly the packages of the lock", async () => {
  const names = (await readFile(join(repository, index, "Packages"), "utf8")).match(/^Package: .*$/gm)!;
  expect(names.map((line) => line.slice(9))).toEqual(project.lock.platform.map(({ name }) => name));
});

test("a run that was interrupted is continued; the directory of a person is left alone", async () => {
  const again = join(scratch.directory, "continued");
  const stop = new AbortController();
  const context = { ...scratch.context, signal: stop.signal };
  const interrupted = createRepository(project, again, context);
  const timer = setInterval(() => {
    void stat(join(again, "pool")).then(
      () => stop.abort(),
      () => undefined,
    );
  }, 1);
  await expect(interrupted).rejects.toThrow(/abort|interrupt/i);
  clearInterval(timer);
  expect(await readdir(again)).not.toContain("dists");
  await createRepository(project, again, scratch.context);
  expect(await hashes(again)).toEqual(await hashes(repository));

  const own = join(scratch.directory, "own");
  await mkdir(own);
  await writeFile(join(own, "letter"), "mine");
  await expect(createRepository(project, own, scratch.context)).rejects.toThrow("holds other things: letter");
});

describe.each(["this host's apt", "the nodes' apt"] as const)("%s", (which) => {
  let apt: TestApt;
  let work: string;
  const keyring = () => join(repository, "archive.asc");
  beforeAll(async () => {
    work = join(scratch.directory, which.replaceAll(/\W/g, "-"));
    await mkdir(work);
    apt = which === "this host's apt" ? hostApt(work) : foundryApt(work, project);
  });

  /** apt from the beginning, on a repository that is removed afterwards. */
  async function refusal(directory: string, key = keyring()): Promise<string> {
    // apt takes a file of the right size that is there for the one it is to fetch.
    const left = (await readdir(work)).filter((name) => name === "lists" || name.endsWith(".deb"));
    for (const name of left) await rm(join(work, name), { recursive: true });
    const update = await apt.update(directory, key);
    const outcome = update.status === 0 ? await apt.download(directory, key, "bash") : update;
    await rm(directory, { recursive: true });
    expect(outcome.status, outcome.text).not.toBe(0);
    return outcome.text;
  }

  test("accepts it", async () => {
    const update = await apt.update(repository, keyring());
    expect(update.status, update.text).toBe(0);
    expect(update.text).not.toMatch(/^W:/m);
    const download = await apt.download(repository, keyring(), "bash");
    expect(download.status, download.text).toBe(0);
    const { sha256, version } = project.lock.platform.find(({ name }) => name === "bash")!;
    expect(await hashFile(join(work, `bash_${version.replace(":", "%3a")}_amd64.deb`))).toBe(sha256);
    await rm(join(work, `bash_${version.replace(":", "%3a")}_amd64.deb`));
  });

  test("refuses another foundry's key", async () => {
    const other = archiveKey({ ...project.vault, foundrySecret: Buffer.alloc(32, 9) });
    const key = join(scratch.directory, "other.asc");
    await writeFile(key, openpgpArmoredCertificate(other));
    expect(await refusal(await altered(async () => undefined), key)).toMatch(
      /NO_PUBKEY|Missing key|not verified|not signed/i,
    );
  });

  test("refuses one changed byte in the index", async () => {
    const directory = await altered(async (to) => {
      const files = await readdir(join(to, index), { recursive: true, withFileTypes: true });
      for (const file of files) if (file.isFile()) await flipOwn(join(file.parentPath, file.name), 40);
    });
    expect(await refusal(directory)).toMatch(wrongBytes);
  });

  test("refuses one changed byte in what is signed", async () => {
    const directory = await altered((to) => flipOwn(join(to, "dists/trixie/InRelease"), 120));
    expect(await refusal(directory)).toMatch(
      /BADSIG|invalid|not signed|Bad signature|NOSPLIT|Message has been manipulated|clearsigned/i,
    );
  });

  test("refuses one changed byte in a package", async () => {
    const path = await debOf("bash");
    const directory = await altered((to) => flipOwn(join(to, path), 200_000));
    expect(await refusal(directory)).toMatch(wrongBytes);
  });

  test("refuses a cut package, and one that is missing", async () => {
    const path = await debOf("bash");
    const cut = await altered(async (to) => {
      const bytes = await readFile(join(to, path));
      await own(join(to, path));
      await writeFile(join(to, path), bytes.subarray(0, 1000));
    });
    expect(await refusal(cut)).toMatch(wrongBytes);
    expect(await refusal(await altered((to) => rm(join(to, dirname(path)), { recursive: true })))).toMatch(
      /No such file|Failed to stat/i,
    );
  });
});
