import { appendFile, copyFile, mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { locateFoundry } from "../../src/assemble/foundry.ts";
import { runInSandbox } from "../../src/host/sandbox.ts";
import { isLeftover } from "../../src/host/unique.ts";
import { build } from "../../src/lifecycle/build.ts";
import { openProject } from "../../src/lifecycle/project.ts";
import { compareOutputs, type FileDifference } from "../../src/seal/compare.ts";
import { initrdUnpacker } from "../../src/seal/verify-tools.ts";
import { jsonLines, kubedos } from "../cli/kubedos.ts";
import { firstBlockOf, flip, partitionOffset } from "./image.ts";
import { copyOutput } from "./outputs.ts";
import { buildLab, labSpec, makeScratch, type BuiltLab, type Scratch } from "./support.ts";

// The same bytes twice; and whatever is not the same is named.
let scratch: Scratch;
let lab: BuiltLab;
let spec: string;
let out: string;
let key: string;
beforeAll(async () => {
  scratch = await makeScratch();
  lab = await buildLab(scratch, "proof");
  spec = lab.project.paths.spec;
  out = lab.project.paths.out;
  key = join(scratch.directory, "trusted.pub");
  await copyFile(join(out, "foundry.pub"), key);
});
afterAll(() => scratch?.remove());

/** The last line of a `--json` run. */
async function result(args: readonly string[], env: Record<string, string> = {}) {
  const { status, stdout, stderr } = await kubedos([...args, "--json"], { env: { ...scratch.env, ...env } });
  const last = stdout.trim() === "" ? {} : jsonLines(stdout).at(-1)!;
  return { status, stderr, ...last } as Record<string, unknown> & { status: number };
}

function copyOf(name: string): Promise<string> {
  return copyOutput(out, join(scratch.directory, name));
}

async function compare(a: string, b: string): Promise<FileDifference[]> {
  const own = join(scratch.directory, "compare");
  await mkdir(own, { recursive: true });
  const { signal } = scratch.context;
  const { lock, store } = lab.project;
  const unpackInitrd = initrdUnpacker(locateFoundry(lock, store).directory, own, lock.epoch, signal);
  return compareOutputs(a, b, { scratch: own, unpackInitrd, signal });
}

function structures(differences: readonly FileDifference[]): string[] {
  return differences.flatMap(({ file, findings }) => findings.map(({ structure }) => `${file}: ${structure}`));
}

describe("build --check", () => {
  test("the clock and the work directory of the second build are really others", async () => {
    const { lock, store } = lab.project;
    const { directory: root } = locateFoundry(lock, store);
    const out = join(scratch.directory, "circumstances");
    const command = [
      "sh",
      "-c",
      "date +%Y; touch /tmp/now; stat -c %y /tmp/now | cut -c 1-4; findmnt -no TARGET /work",
    ] as const;
    const ask = async () => (await runInSandbox({ root, command, inputs: {}, out, epoch: 1 })).stdout.split("\n");
    const [year] = await ask();
    Object.assign(process.env, { KUBEDOS_CLOCK: "+347121483", KUBEDOS_WORK: out });
    try {
      const later = String(Number(year) + 11);
      expect((await ask()).slice(0, 3)).toEqual([later, later, "/work"]);
    } finally {
      delete process.env["KUBEDOS_CLOCK"];
      delete process.env["KUBEDOS_WORK"];
    }
    expect(await readdir(out)).toEqual([]);
  });

  test("twice from nothing, in other circumstances: the same bytes, and those that were published before", async () => {
    const checked = await result(["build", spec, "--check", "--offline"]);
    expect(checked).toMatchObject({ status: 0, same: true, differences: [], stages: [], published: "same" });
    const varied = checked["varied"] as { what: string; first: string; second: string }[];
    expect(varied.map(({ what }) => what)).toEqual([
      "directory",
      "working directory",
      "cache",
      "home",
      "rights",
      "host name",
      "clock",
      "time zone",
      "locale",
      "umask",
      "processors",
      "stages",
      "directory order",
      "environment",
    ]);
    expect(varied.filter(({ first, second }) => first === second || second.includes("NOT VARIED"))).toEqual([]);
    expect((await readdir(join(lab.project.store.directory, "scratch"))).filter(isLeftover)).toEqual([]);
  });
});

describe("what differs is named", () => {
  test("by the file of the root, the parts of the boot image, and what follows from them", async () => {
    const other = join(scratch.directory, "other");
    await mkdir(other);
    const platform = 'platform:\n  files:\n    - { path: /etc/motd, content: "another" }\n';
    await writeFile(join(other, "lab.yaml"), `${labSpec("lab")}${platform}`);
    for (const kind of ["lock", "vault"]) {
      await copyFile(join(scratch.directory, "proof", `lab.${kind}`), join(other, `lab.${kind}`));
    }
    const project = await openProject(join(other, "lab.yaml"), { vault: {}, create: false }, scratch.context);
    await build(project.build, project.paths, project.store, scratch.context);
    const found = structures(await compare(out, project.paths.out));
    expect(found.filter((one) => one.startsWith("lab.raw: "))).toEqual([
      "lab.raw: root, /etc/motd",
      "lab.raw: boot image, .cmdline",
      "lab.raw: hash tree",
      "lab.raw: partition table (primary)",
      "lab.raw: partition table (backup)",
    ]);
    expect(found).toContainEqual(expect.stringMatching(/^manifest\.json: line \d+$/));
  });

  test("one byte, by the structure that it is in", async () => {
    const copy = await copyOf("flipped");
    const image = join(copy, "lab.raw");
    const root = await partitionOffset(image, "kubedos-root");
    const places: [number, string][] = [
      [600, "partition table (primary)"],
      [root + (await firstBlockOf(scratch, lab, "/usr/bin/dash")) + 5, "root, /usr/bin/dash"],
      [root + 1030, "root, metadata of the file system"],
      [(await partitionOffset(image, "kubedos-hash")) + 4096, "hash tree"],
      [(await partitionOffset(image, "kubedos-esp")) + 90, "boot partition, file system"],
      [(await stat(image)).size - 600, "partition table (backup)"],
    ];
    for (const [offset, structure] of places) {
      await flip(image, offset);
      const differences = await compare(out, copy);
      expect(structures(differences)).toEqual([`lab.raw: ${structure}`]);
      await flip(image, offset);
    }
    await appendFile(join(copy, "secureboot-db.pem"), "\n");
    await rm(join(copy, "foundry.pem"));
    await writeFile(join(copy, "added"), "");
    expect(structures(await compare(out, copy))).toEqual([
      "added: file",
      "foundry.pem: file",
      "secureboot-db.pem: end",
    ]);
  });

  test("verify --rebuild, without the vault: an altered file of the image is named, all else, media too, is rebuilt the same", async () => {
    const written = labSpec("lab", ["raw", "iso", "netboot"]).concat(
      "platform: { kernel: generic }\ntrust: { shim: true }\n",
    );
    const media = await buildLab(scratch, "media", undefined, written);
    const { out: published, vault, spec: specFile } = media.project.paths;
    const copy = await copyOutput(published, join(scratch.directory, "tampered"));
    const image = join(copy, "lab.raw");
    const block = await firstBlockOf(scratch, media, "/usr/bin/dash");
    const offset = (await partitionOffset(image, "kubedos-root")) + block;
    await flip(image, offset + 9);
    await rename(vault, `${vault}.away`);
    try {
      const trusted = join(published, "foundry.pub");
      const verified = await result(["verify", copy, "--key", trusted, "--rebuild", "--spec", specFile, "--offline"]);
      const checks = verified["checks"] as { check: string; file: string; findings: { structure: string }[] }[];
      expect(verified.status).toBe(1);
      expect(checks.filter(({ check }) => check === "rebuild")).toMatchObject([
        { file: "lab.raw", findings: [{ structure: "root, /usr/bin/dash", offsetBytes: offset + 9 }] },
      ]);
    } finally {
      await rename(`${vault}.away`, vault);
    }
  });
});

describe("verify of a URL", () => {
  let server: Server;
  let address: string;
  const served: string[] = [];
  beforeAll(async () => {
    server = createServer((request, response) => {
      const path = join(out, "..", request.url ?? "");
      served.push(request.url ?? "");
      createReadStream(path)
        .on("error", () => response.writeHead(404).end())
        .pipe(response);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    address = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  });
  afterAll(() => server?.close());

  test("a directory and an artifact in it are fetched and checked as if they were here", async () => {
    for (const path of ["/lab", "/lab/lab.raw"]) {
      expect(await result(["verify", `${address}${path}`, "--key", key])).toMatchObject({ status: 0, verdict: "ok" });
    }
    expect(served).toContain("/lab/lab.raw");
  });

  test("no manifest there: said so", async () => {
    expect(await result(["verify", `${address}/elsewhere/`, "--key", key])).toMatchObject({
      status: 2,
      error: { message: expect.stringContaining("manifest.json") },
    });
  });
});
