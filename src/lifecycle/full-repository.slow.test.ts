import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeArchive, makeKey, type FakeKey } from "../../tests/fakes/apt-repository.ts";
import { run } from "../host/run.ts";
import { updateApt } from "../lock/apt.ts";
import { noHostApt } from "../lock/host-apt.ts";
import { archiveKey } from "../vault/archive-key.ts";
import { createFullRepository, type ArchiveRequest } from "./full-repository.ts";

// A small archive of three suites, mirrored whole.
let directory: string;
let upstream: FakeKey;
let request: ArchiveRequest;
const key = archiveKey({ foundrySecret: Buffer.alloc(32, 3), signing: { publicKey: Buffer.alloc(32) } });

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-full-"));
  upstream = await makeKey(directory);
  const debian = join(directory, "web/debian");
  await makeArchive(debian, "toy", [{ name: "one" }, { name: "two" }], upstream);
  await makeArchive(debian, "toy-updates", [{ name: "two", version: "2:1.1" }], upstream);
  await makeArchive(
    join(directory, "web/debian-security"),
    "toy-security",
    [{ name: "one", version: "1.2" }],
    upstream,
  );
  request = {
    suite: "toy",
    profile: "full",
    mirror: [`file://${directory}/web/debian`],
    keyring: upstream.keyring,
    cache: join(directory, "cache"),
    key,
    label: "kubedos toy",
    acceptSize: true,
  };
}, 60_000);
afterAll(() => rm(directory, { recursive: true, force: true }));

const context = { emit: () => undefined, signal: new AbortController().signal, offline: false };

async function debsOf(repository: string): Promise<string[]> {
  return (await readdir(join(repository, "pool"), { recursive: true }))
    .filter((name) => name.endsWith(".deb"))
    .toSorted();
}

test("without consent it says the size and fetches nothing", async () => {
  const out = join(directory, "asked");
  await expect(createFullRepository({ ...request, acceptSize: false }, out, context)).rejects.toMatchObject({
    code: "usage",
    message: expect.stringMatching(
      /^the whole archive \(toy, toy-updates, toy-security\): 4 packages, [\d.]+ kB, of which/,
    ),
    hint: expect.stringContaining("--accept-size"),
  });
  expect((await readdir(out)).filter((name) => !name.startsWith("."))).toEqual([]);
});

test("holds every package of every suite, signed anew; the real apt takes all of them", async () => {
  const out = join(directory, "whole");
  expect(await createFullRepository(request, out, context)).toMatchObject({
    packages: 4,
    suites: ["toy", "toy-updates", "toy-security"],
  });
  expect(await debsOf(out)).toHaveLength(4);
  const apt = join(directory, "apt");
  const sources = ["toy", "toy-updates", "toy-security"].map((suite) => {
    return { archive: "debian", suite, components: ["main"] };
  });
  const mirrors = { debian: [`file:${out}`] };
  await updateApt({ directory: apt, sources, mirrors, keyring: join(out, "archive.asc"), host: noHostApt }, context);
  const env = { APT_CONFIG: join(apt, "apt.conf"), PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };
  const { stdout } = await run("apt-get", ["install", "-y", "-qq", "--print-uris", "one", "two"], { env });
  expect(stdout).toContain("one_1.2_amd64.deb");
  expect(stdout).toContain("two_2%3a1.1_amd64.deb");
});

test("goes on where it was interrupted, and fetches again what is cut", async () => {
  const out = join(directory, "whole");
  const before = await debsOf(out);
  await rm(join(out, "dists"), { recursive: true });
  await rm(join(out, "pool", before[0]!));
  await writeFile(join(out, "pool", before[1]!), "cut");
  const messages: string[] = [];
  const emit = (event: { type: string; message?: string }) =>
    void (event.type === "log" && messages.push(event.message!));
  await createFullRepository(request, out, { ...context, emit });
  expect(messages[0]).toMatch(/4 packages, .* are to be fetched/);
  expect(await debsOf(out)).toEqual(before);
  expect((await readFile(join(out, "pool", before[1]!))).length).toBeGreaterThan(100);
});

test("an archive that somebody else has signed is refused", async () => {
  const foreign = { ...request, cache: join(directory, "cache-2"), keyring: join(directory, "whole/archive.asc") };
  await expect(createFullRepository(foreign, join(directory, "foreign"), context)).rejects.toThrow(
    "no usable package index",
  );
});
