import { createHash, randomBytes } from "node:crypto";
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { EventBody } from "../../shared/events.ts";
import { startFakeMirror, type FakeMirror } from "../../tests/fakes/mirror.ts";
import { noHostApt } from "../lock/host-apt.ts";
import type { LockedPackage } from "../lock/types.ts";
import { openStore, type Store } from "../store/store.ts";
import { acquire } from "./acquire.ts";
import type { AcquireSources } from "./places.ts";
import { httpSettingsOf } from "./transport.ts";
import { errorOf } from "../../tests/fakes/errors.ts";

let directory: string;
let store: Store;
let first: FakeMirror;
let second: FakeMirror;
let sources: AcquireSources;
let events: EventBody[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-acquire-"));
  store = await openStore(join(directory, "cache"));
  first = await startFakeMirror();
  second = await startFakeMirror();
  events = [];
  sources = {
    mirrors: { debian: [`${first.url}/debian`, `${second.url}/debian`] },
    http: await httpSettingsOf(noHostApt),
    stallTimeoutMs: 400,
    retryDelayMs: 10,
  };
});

afterEach(async () => {
  await first.close();
  await second.close();
  await rm(directory, { recursive: true, force: true });
});

function context(more: { offline?: boolean; signal?: AbortSignal } = {}) {
  return {
    emit: (event: EventBody) => events.push(event),
    signal: more.signal ?? new AbortController().signal,
    offline: more.offline ?? false,
  };
}

/** A package whose bytes both mirrors have. */
function publish(name: string, sizeBytes = 200_000): LockedPackage & { bytes: Buffer } {
  const bytes = randomBytes(sizeBytes);
  const path = `pool/main/${name}/${name}_1+b1_amd64.deb`;
  for (const mirror of [first, second]) mirror.files.set(`/debian/${path}`, bytes);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const entry = {
    name,
    version: "1+b1",
    architecture: "amd64",
    sizeBytes,
    sha256,
    archive: "debian",
    suite: "trixie",
    path,
    bytes,
  };
  Object.defineProperty(entry, "bytes", { enumerable: false });
  return entry;
}

function place(entry: LockedPackage): string {
  return `/debian/${entry.path}`;
}

async function isStored(entry: LockedPackage & { bytes: Buffer }): Promise<boolean> {
  return (await readFile(store.path(entry.sha256))).equals(entry.bytes);
}

async function leftovers(): Promise<string[]> {
  return readdir(join(directory, "cache", "store", "tmp"));
}

test("fetches what the store lacks, once, and counts the bytes", async () => {
  const packages = Array.from({ length: 30 }, (_, index) => publish(`p${index}`, 1000 + index));
  const total = packages.reduce((sum, entry) => sum + entry.sizeBytes, 0);
  expect(await acquire([...packages, packages[0]!], sources, store, context())).toEqual({
    fetched: 30,
    fetchedBytes: total,
    repaired: [],
  });
  for (const entry of packages) expect(await isStored(entry)).toBe(true);
  expect(events.filter((event) => event.type === "stage.progress").at(-1)).toMatchObject({
    done: total,
    total,
    unit: "bytes",
  });
  expect(await leftovers()).toEqual([]);
  expect(first.requests).toHaveLength(30);

  const never = () => Promise.reject(new Error("mirrors are not asked for"));
  expect((await acquire(packages, never, store, context({ offline: true }))).fetched).toBe(0);
  expect(first.requests).toHaveLength(30);
  expect(second.requests).toHaveLength(0);
});

test("offline lists exactly what is missing", async () => {
  const [here, gone, lost] = [publish("here"), publish("gone", 1_500_000), publish("lost", 10)];
  await acquire([here], sources, store, context());
  const error = await errorOf(acquire([here, lost, gone], sources, store, context({ offline: true })));
  expect(error.code).toBe("offline");
  expect(error.message).toBe("offline, and the store lacks 2 files (1.5 MB)");
  expect(error.problems.map((problem) => problem.message)).toEqual([
    `gone 1+b1 1500000 bytes sha256:${gone.sha256}`,
    `lost 1+b1 10 bytes sha256:${lost.sha256}`,
  ]);
});

describe("a bad mirror", () => {
  test("that stops in the middle is continued there with a Range request", async () => {
    const entry = publish("big");
    first.misbehave.set(place(entry), { stallAfter: 150_000, times: 1 });
    await acquire([entry], sources, store, context());
    expect(await isStored(entry)).toBe(true);
    expect(first.requests.map((request) => request.range)).toEqual([undefined, "bytes=150000-"]);
    expect(second.requests).toEqual([]);
  });

  test("that always stops is left for the next one, with what came", async () => {
    const entry = publish("big");
    first.misbehave.set(place(entry), { cutAfter: 50_000 });
    await acquire([entry], sources, store, context());
    expect(await isStored(entry)).toBe(true);
    expect(first.requests).toHaveLength(3);
    expect(second.requests.map((request) => request.range)).toEqual([expect.stringMatching(/^bytes=[1-9]/)]);
  });

  test("that does not know ranges sends it all again", async () => {
    const entry = publish("big");
    first.misbehave.set(place(entry), { cutAfter: 50_000, noRange: true, times: 1 });
    await acquire([entry], { ...sources, mirrors: { debian: [`${first.url}/debian`] } }, store, context());
    expect(await isStored(entry)).toBe(true);
  });

  test("with an altered file: the next one is asked; with none left, nothing is stored", async () => {
    const entry = publish("altered");
    first.misbehave.set(place(entry), { alter: true });
    await acquire([entry], sources, store, context());
    expect(await isStored(entry)).toBe(true);
    expect(events.some((event) => event.type === "log" && event.message.includes("trying the next mirror"))).toBe(true);

    const other = publish("other");
    first.misbehave.set(place(other), { alter: true });
    second.misbehave.set(place(other), { alter: true });
    const error = await errorOf(acquire([other], sources, store, context()));
    expect(error.message).toContain("cannot fetch other 1+b1");
    expect(error.message).toContain(`${first.url}/debian/pool/main/other/other_1%2Bb1_amd64.deb: sha256 is `);
    expect(error.message).toContain(`the lock says ${other.sha256}`);
    expect(error.hint).toContain("not the one that was locked");
    expect(await store.has(other.sha256)).toBe(false);
    expect(await leftovers()).toEqual([]);
  });

  test("with a file that is too long or too short", async () => {
    const [long, short] = [publish("long"), publish("short")];
    for (const mirror of [first, second]) {
      mirror.files.set(place(long), Buffer.concat([long.bytes, Buffer.from("x")]));
      mirror.files.set(place(short), short.bytes.subarray(1000));
    }
    expect((await errorOf(acquire([long], sources, store, context()))).message).toContain(
      "longer than the 200000 bytes",
    );
    expect((await errorOf(acquire([short], sources, store, context()))).message).toContain("cannot fetch short");
    expect(await store.has(short.sha256)).toBe(false);
  });

  test("that no longer has files: all of them are named, the others are fetched", async () => {
    const [kept, gone, lost] = [publish("kept"), publish("gone"), publish("lost")];
    for (const mirror of [first, second]) {
      mirror.files.delete(place(gone));
      mirror.files.delete(place(lost));
    }
    const error = await errorOf(acquire([gone, kept, lost], sources, store, context()));
    expect(error.message).toMatch(/no longer has gone 1\+b1[^\n]*404[^]*no longer has lost 1\+b1/);
    expect(error.hint).toContain("lock --update");
    expect(await isStored(kept)).toBe(true);
  });

  test("that is not there at all is tried a few times, not for every file", async () => {
    const packages = Array.from({ length: 40 }, (_, index) => publish(`p${index}`, 100));
    const dead = { ...sources, mirrors: { debian: ["http://127.0.0.1:9/debian", `${second.url}/debian`] } };
    await acquire(packages, dead, store, context());
    for (const entry of packages) expect(await isStored(entry)).toBe(true);
    const error = await errorOf(
      acquire([publish("x")], { ...sources, mirrors: { debian: ["http://127.0.0.1:9/debian"] } }, store, context()),
    );
    expect(error.message).toContain("127.0.0.1:9");
  });

  test("redirects are followed, not for ever and not to other schemes", async () => {
    const entry = publish("moved");
    first.misbehave.set(place(entry), { redirectTo: `${second.url}${place(entry)}` });
    await acquire([entry], { ...sources, mirrors: { debian: [`${first.url}/debian`] } }, store, context());
    expect(await isStored(entry)).toBe(true);
    const loop = publish("loop");
    for (const to of [`${first.url}${place(loop)}`, "file:///etc/passwd"]) {
      first.misbehave.set(place(loop), { redirectTo: to });
      await errorOf(acquire([loop], { ...sources, mirrors: { debian: [`${first.url}/debian`] } }, store, context()));
    }
  });

  test("without any for the archive says what to write", async () => {
    const error = await errorOf(acquire([publish("x")], { ...sources, mirrors: {} }, store, context()));
    expect(error.hint).toContain("mirror: [");
  });
});

test("an object that was damaged in the store is fetched again", async () => {
  const [good, bad] = [publish("good"), publish("bad")];
  await acquire([good, bad], sources, store, context());
  await chmod(store.path(bad.sha256), 0o644);
  await writeFile(store.path(bad.sha256), "rotten");
  expect(await acquire([good, bad], sources, store, context())).toMatchObject({ fetched: 1, repaired: ["bad"] });
  expect(await isStored(bad)).toBe(true);
});

test("a part of an earlier run is continued; a rotten one does not stop the file from coming", async () => {
  const [good, bad] = [publish("good"), publish("bad")];
  await writeFile(store.partPath(good.sha256), good.bytes.subarray(0, 120_000));
  await writeFile(store.partPath(bad.sha256), randomBytes(120_000));
  await acquire([good, bad], sources, store, context());
  expect(await isStored(good)).toBe(true);
  expect(await isStored(bad)).toBe(true);
  expect(first.requests.find((request) => request.path === place(good))?.range).toBe("bytes=120000-");
  expect(second.requests).toEqual([]);
});

test("two at once fetch every file once", async () => {
  const packages = Array.from({ length: 10 }, (_, index) => publish(`p${index}`));
  for (const entry of packages) first.misbehave.set(place(entry), { delayMs: 50 });
  const other = await openStore(join(directory, "cache"));
  await Promise.all([acquire(packages, sources, store, context()), acquire(packages, sources, other, context())]);
  expect(first.requests).toHaveLength(10);
  for (const entry of packages) expect(await isStored(entry)).toBe(true);
});

test("Ctrl-C leaves only parts, which the next run continues", async () => {
  const [done, half] = [publish("done", 100), publish("half")];
  first.misbehave.set(place(half), { stallAfter: 100_000, times: 1 });
  const abort = new AbortController();
  const arrived = setInterval(() => {
    stat(store.partPath(half.sha256)).then(
      ({ size }) => size >= 100_000 && abort.abort(),
      () => undefined,
    );
  }, 20);
  const slow = { ...sources, stallTimeoutMs: 20_000 };
  const error = await errorOf(acquire([done, half], slow, store, context({ signal: abort.signal })));
  clearInterval(arrived);
  expect(error.code).toBe("interrupted");
  expect(await leftovers()).toEqual([`${half.sha256}.part`]);
  expect((await stat(store.partPath(half.sha256))).size).toBe(100_000);
  expect(await readdir(join(directory, "cache", "store", "leases"))).toEqual([]);
  await acquire([done, half], slow, store, context());
  expect(await isStored(half)).toBe(true);
  expect(first.requests.at(-1)?.range).toBe("bytes=100000-");
});

test("file: mirrors", async () => {
  const entry = publish("local");
  await mkdir(join(directory, "media", "debian", "pool/main/local"), { recursive: true });
  await writeFile(join(directory, "media", "debian", entry.path), entry.bytes);
  const local = { ...sources, mirrors: { debian: [`file:${directory}/nowhere`, `file:${directory}/media/debian`] } };
  await acquire([entry], local, store, context());
  expect(await isStored(entry)).toBe(true);
  const error = await errorOf(acquire([publish("absent")], local, store, context()));
  expect(error.message).toContain("no such file");
});
