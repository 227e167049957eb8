import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { expect, test } from "vitest";
import { collectPlatform } from "../../src/features/collect.ts";
import { features } from "../../src/features/registry.ts";
import { run } from "../../src/host/run.ts";
import { installerFiles } from "../../src/targets/netinst/files.ts";
import { assetsWithoutBundles } from "../fakes/assets.ts";
import { fakeSpec } from "../fakes/spec.ts";
import { projectRoot } from "./sources.ts";

// Every shell script of the project, and those that it writes: what shellcheck warns of is an error here. Its notes are
// not: they ask for quotes around numbers and paths of our own.
const shell = /^#!.*\/(env )?(busybox )?(ba|da)?sh\b/;
/** Folders of programs in parts, which are sourced and begin with no `#!`. */
const parts = ["node/initrd", "node/netinst", "node/writer"];

function scripts(): string[] {
  const below = ["node", "scripts", "src"].flatMap((folder) =>
    readdirSync(join(projectRoot, folder), { recursive: true, encoding: "utf8" }).map((path) => join(folder, path)),
  );
  return ["kubedos", ...below]
    .filter((path) => statSync(join(projectRoot, path)).isFile())
    .filter((path) => {
      const isPart = parts.includes(path.slice(0, path.lastIndexOf("/"))) && !basename(path).includes(".");
      return isPart || path.endsWith(".sh") || shell.test(readFileSync(join(projectRoot, path), "latin1").slice(0, 80));
    })
    .toSorted();
}

/** @returns what shellcheck says, a line each */
async function findings(args: readonly string[], input?: string): Promise<string[]> {
  // dash is what Debian's and Ubuntu's /bin/sh is; busybox's knows what it knows.
  const usual = ["--shell=dash", "--severity=warning", "--format=gcc"];
  const { stdout } = await run("shellcheck", [...usual, ...args], { cwd: projectRoot, input, okStatuses: [0, 1] });
  return stdout.split("\n").filter((line) => line !== "");
}

test("shellcheck has no warning for any script", async () => {
  const all = scripts();
  expect(all).toEqual(
    expect.arrayContaining(["kubedos", "node/writer/disk", "scripts/find-node.sh", "src/assemble/scripts/root.sh"]),
  );
  const onNode = all.filter((path) => path.startsWith("node/"));
  const others = all.filter((path) => !onNode.includes(path));
  // Parts of one program set each other's variables.
  expect(await findings(["--exclude=SC2034,SC2154", ...onNode])).toEqual([]);
  expect(await findings(others)).toEqual([]);
});

test("nor for one that is written by the build", async () => {
  const spec = fakeSpec({ features: Object.keys(features) as (keyof typeof features)[] });
  const written = [...collectPlatform(spec, assetsWithoutBundles()).files, ...installerFiles({}, "", certificate)]
    .map(({ path, content }) => ({ path, text: Buffer.from(content).toString() }))
    .filter(({ text }) => shell.test(text));
  expect(written.map(({ path }) => path)).toEqual(
    expect.arrayContaining(["/usr/bin/salt", "usr/lib/base-installer.d/05kubedos"]),
  );
  for (const { path, text } of written) {
    expect(await findings(["--exclude=SC2034,SC2154", "-"], text), path).toEqual([]);
  }
});

/** An armored certificate without content. */
const certificate = `-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n=twTO\n-----END PGP PUBLIC KEY BLOCK-----\n`;
