import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { EventBody } from "../../shared/events.ts";
import { makeArchive, makeKey, signRelease, type FakeKey } from "../../tests/fakes/apt-repository.ts";
import { startFakeMirror, type FakeMirror } from "../../tests/fakes/mirror.ts";
import { formatLock, parseLock } from "./file.ts";
import { createLock, lockMatches, type LockRequest } from "./lock.ts";
import { errorOf } from "../../tests/fakes/errors.ts";

let directory: string;
let key: FakeKey;
let mirror: FakeMirror;
let request: LockRequest;
const date = "Thu, 01 Jan 2026 00:00:00 UTC";

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-lock-"));
  key = await makeKey(directory);
  const debian = join(directory, "web", "debian");
  await makeArchive(
    debian,
    "toy",
    [
      { name: "base-one", fields: { Essential: "yes", Depends: "libbase" } },
      { name: "libbase", version: "2:1.0+x-1" },
      { name: "hello", fields: { Depends: "world (>= 1)", Recommends: "noise" } },
      { name: "world", version: "1.0" },
      { name: "noise" },
      { name: "mail-a", fields: { Provides: "mailer" } },
      { name: "clash", fields: { Conflicts: "hello" } },
      { name: "tool" },
    ],
    key,
    { date },
  );
  await makeArchive(debian, "toy-updates", [{ name: "tool", version: "1.1" }], key, {
    date: "Fri, 02 Jan 2026 00:00:00 UTC",
  });
  await makeArchive(
    join(directory, "web", "debian-security"),
    "toy-security",
    [{ name: "world", version: "1.5" }],
    key,
    {
      date: "Sat, 03 Jan 2026 00:00:00 UTC",
    },
  );
  mirror = await startFakeMirror(join(directory, "web"));
  request = {
    suite: "toy",
    profile: "base+updates",
    mirror: [`${mirror.url}/debian`],
    platform: ["hello"],
    foundry: ["tool"],
    keyring: key.keyring,
    cache: join(directory, "cache"),
  };
}, 60_000);

afterAll(async () => {
  await mirror.close();
  await rm(directory, { recursive: true, force: true });
});

function context(events: EventBody[] = []) {
  return { emit: (event: EventBody) => events.push(event), signal: new AbortController().signal, offline: false };
}

describe("createLock", () => {
  test("pins the closure with everything essential, newest versions, and the suites", async () => {
    const lock = await createLock(request, context());
    expect(
      lock.platform.map(({ name, version, archive, suite, path }) => [name, version, archive, suite, path]),
    ).toEqual([
      ["base-one", "1.0", "debian", "toy", "pool/main/toy/base-one_1.0_amd64.deb"],
      ["hello", "1.0", "debian", "toy", "pool/main/toy/hello_1.0_amd64.deb"],
      ["libbase", "2:1.0+x-1", "debian", "toy", "pool/main/toy/libbase_2%3a1.0+x-1_amd64.deb"],
      ["world", "1.5", "debian-security", "toy-security", "pool/main/toy-security/world_1.5_amd64.deb"],
    ]);
    expect(lock.foundry.map(({ name, version, suite }) => [name, version, suite])).toEqual([
      ["base-one", "1.0", "toy"],
      ["libbase", "2:1.0+x-1", "toy"],
      ["tool", "1.1", "toy-updates"],
    ]);
    expect(lock.epoch).toBe(Date.UTC(2026, 0, 3) / 1000);
    expect(lock.suites.map((suite) => suite.suite)).toEqual(["toy", "toy-updates", "toy-security"]);
    expect(lock.requested).toEqual({ platform: ["hello"], foundry: ["tool"] });
    expect(formatLock(lock)).not.toContain("127.0.0.1");
    expect(parseLock(formatLock(lock), "toy.lock")).toEqual(lock);
  });

  test("is the same from a local directory, from another cache, and with names in another order", async () => {
    const over = await createLock({ ...request, platform: ["world", "hello"] }, context());
    const local = {
      ...request,
      mirror: [`file://${directory}/web`],
      cache: join(directory, "cache-2"),
      platform: ["hello", "world", "hello"],
    };
    expect(formatLock(await createLock(local, context()))).toBe(formatLock(over));
  });

  test("base is the release alone", async () => {
    const lock = await createLock({ ...request, profile: "base" }, context());
    expect(lock.foundry.find((entry) => entry.name === "tool")?.version).toBe("1.0");
    expect(lock.platform.find((entry) => entry.name === "world")?.version).toBe("1.0");
    expect(lock.suites.map((suite) => suite.suite)).toEqual(["toy"]);
  });

  test("names unknown packages with the nearest that exist", async () => {
    const error = await errorOf(createLock({ ...request, platform: ["helo", "wrold", "zzzzzzzz"] }, context()));
    expect(error.code).toBe("spec");
    expect(error.problems.map(({ message, hint }) => [message, hint])).toEqual([
      ["no package helo in toy, toy-updates, toy-security", "did you mean hello?"],
      ["no package wrold in toy, toy-updates, toy-security", "did you mean world?"],
      ["no package zzzzzzzz in toy, toy-updates, toy-security", undefined],
    ]);
  });

  test.each(["hello-", "hello=1.0", "hello/toy", "?essential", "-oDir=/", "Hello", ""])(
    "refuses %j as a name",
    async (name) => {
      const error = await errorOf(createLock({ ...request, platform: [name] }, context()));
      expect(error.message).toContain("not package names");
    },
  );

  test("refuses virtual packages and packages that exclude each other", async () => {
    expect((await errorOf(createLock({ ...request, platform: ["mailer"] }, context()))).message).toContain("mailer");
    const error = await errorOf(createLock({ ...request, platform: ["hello", "clash"] }, context()));
    expect(error.message).toMatch(/no way to install[^]*clash/);
  });

  test("refuses an index signed by another key, or altered after signing", async () => {
    const other = await makeKey(await mkdtemp(join(directory, "other-")));
    const foreign = await errorOf(
      createLock({ ...request, keyring: other.keyring, cache: join(directory, "c3") }, context()),
    );
    expect(foreign.hint).toContain("debian-archive-keyring");

    const inRelease = await readFile(join(directory, "web/debian/dists/toy/InRelease"), "utf8");
    mirror.files.set("/debian/dists/toy/InRelease", Buffer.from(inRelease.replace("Label: Fake", "Label: Fame")));
    const altered = await errorOf(createLock({ ...request, cache: join(directory, "c4") }, context()));
    mirror.files.delete("/debian/dists/toy/InRelease");
    expect(altered.hint).toContain("not what Debian signed");
  });

  test("refuses a package index that is not the signed one", async () => {
    const path = "/debian/dists/toy/main/binary-amd64/Packages";
    const index = await readFile(join(directory, "web", path), "utf8");
    mirror.files.set(path, Buffer.from(index.replace("Package: hello", "Package: hxllo")));
    const error = await errorOf(createLock({ ...request, cache: join(directory, "c5") }, context()));
    mirror.files.delete(path);
    expect(error.message).toContain("no usable package index");
    expect(error.hint).toContain("damaged");
  });

  test("tries the listed mirrors in order, each archive for itself", async () => {
    const dead = "http://127.0.0.1:9/debian";
    const events: EventBody[] = [];
    const lock = await createLock(
      { ...request, mirror: [dead, `${mirror.url}/debian`], cache: join(directory, "c6") },
      context(events),
    );
    expect(lock.platform).toHaveLength(4);
    expect(events.some((event) => event.type === "log" && event.message.includes("127.0.0.1:9"))).toBe(true);

    const error = await errorOf(createLock({ ...request, mirror: [dead], cache: join(directory, "c7") }, context()));
    expect(error.message).toContain("127.0.0.1:9");
    expect(error.hint).toContain("platform.mirror");
  });

  test("says what to install when the keyring is missing, and does nothing offline", async () => {
    const error = await errorOf(createLock({ ...request, keyring: "/nonexistent.gpg" }, context()));
    expect(error.hint).toContain("debian-archive-keyring");
    expect((await errorOf(createLock(request, { ...context(), offline: true }))).code).toBe("offline");
  });

  test("two at once, and an abort", async () => {
    const both = await Promise.all([createLock(request, context()), createLock(request, context())]);
    expect(formatLock(both[0])).toBe(formatLock(both[1]));
    mirror.misbehave.set("/debian/dists/toy/InRelease", { delayMs: 10_000 });
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 300);
    const error = await errorOf(
      createLock({ ...request, cache: join(directory, "c8") }, { ...context(), signal: abort.signal }),
    );
    mirror.misbehave.clear();
    expect(error.code).toBe("interrupted");
  });

  test("takes a new state of the archive with the next call", async () => {
    const before = await createLock(request, context());
    const debian = join(directory, "web", "debian");
    await makeArchive(debian, "toy-updates", [{ name: "tool", version: "1.2" }], key, {
      date: "Sun, 04 Jan 2026 00:00:00 UTC",
    });
    const after = await createLock(request, context());
    expect(before.foundry.find((entry) => entry.name === "tool")?.version).toBe("1.1");
    expect(after.foundry.find((entry) => entry.name === "tool")?.version).toBe("1.2");
    expect(after.epoch).toBe(Date.UTC(2026, 0, 4) / 1000);
    await signRelease(debian, "toy-updates", key, "Fri, 02 Jan 2026 00:00:00 UTC");
  });
}, 60_000);

test("lockMatches names what a spec asks for beyond its lock", async () => {
  const lock = await createLock(request, context());
  expect(lockMatches(lock, request)).toEqual({ matches: true, added: [], removed: [], suites: true });
  expect(lockMatches(lock, { ...request, platform: ["noise"] })).toMatchObject({
    matches: false,
    added: ["noise"],
    removed: ["hello"],
  });
  expect(lockMatches(lock, { ...request, profile: "base" })).toMatchObject({ matches: false, suites: false });
}, 60_000);
