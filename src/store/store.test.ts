import { createHash } from "node:crypto";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readFile, readdir, rm, stat, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { sharedHolders, takeExclusive } from "../host/lease.ts";
import { listActions, peekAction, readAction, writeAction } from "./actions.ts";
import { collectGarbage, keepWithinLimit, verifyAll } from "./gc.ts";
import { listUnpacked, noteUse } from "./unpacked.ts";
import { listObjects, openStore, type Store } from "./store.ts";

let directory: string;
let store: Store;
const context = { emit: () => undefined, signal: new AbortController().signal };
const day = 24 * 3600;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-store-"));
  store = await openStore(directory);
});

afterEach(() => rm(directory, { recursive: true, force: true }));

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

async function damage(hash: string, keepTimes = false): Promise<void> {
  const info = await stat(store.path(hash));
  const bytes = await readFile(store.path(hash));
  bytes[0]! ^= 1;
  await chmod(store.path(hash), 0o644);
  await writeFile(store.path(hash), bytes);
  if (keepTimes) await utimes(store.path(hash), info.atime, info.mtime);
}

/** Makes everything in the store look as if it was last used `days` ago. */
async function age(hash: string, days: number): Promise<void> {
  const then = Date.now() / 1000 - days * day;
  await utimes(store.path(hash), then, then);
  await utimes(join(directory, "store", "checked", hash.slice(0, 2), hash), then, then);
}

describe("objects", () => {
  test("are found by their hash, read-only, and put in once", async () => {
    const put = await store.putBytes("hello");
    expect(put).toEqual({ sha256: sha256("hello"), sizeBytes: 5 });
    expect(await readFile(store.path(put.sha256), "utf8")).toBe("hello");
    expect((await stat(store.path(put.sha256))).mode & 0o777).toBe(0o444);
    const { ino } = await stat(store.path(put.sha256));
    await store.putBytes("hello");
    expect((await stat(store.path(put.sha256))).ino).toBe(ino);
    expect(await listObjects(store)).toEqual([put.sha256]);
    expect(await readdir(join(directory, "store", "tmp"))).toEqual([]);
  });

  test("putFile hashes what it takes", async () => {
    const file = await store.temporary();
    await writeFile(file, "content");
    expect((await store.putFile(file)).sha256).toBe(sha256("content"));
    await expect(stat(file)).rejects.toThrow("ENOENT");
  });

  test("many writers of the same object at once", async () => {
    const results = await Promise.all(Array.from({ length: 20 }, () => store.putBytes("same")));
    expect(new Set(results.map((result) => result.sha256)).size).toBe(1);
    expect(await store.verify(sha256("same"), { reread: true })).toBe("ok");
  });

  test("a changed object is noticed without asking for a re-read, removed, and can be put in again", async () => {
    const { sha256: hash } = await store.putBytes("hello");
    expect(await store.verify(hash)).toBe("ok");
    await damage(hash);
    expect(await store.verify(hash)).toBe("damaged");
    expect(await store.has(hash)).toBe(false);
    expect(await store.verify(hash)).toBe("missing");
    await store.putBytes("hello");
    expect(await store.verify(hash)).toBe("ok");
  });

  test("bytes that rot without a trace in size and time are found by a re-read", async () => {
    const { sha256: hash } = await store.putBytes("hello");
    await damage(hash, true);
    const { sha256: good } = await store.putBytes("other");
    expect(await verifyAll(store, context)).toEqual({ checked: 2, checkedBytes: 10, damaged: [hash] });
    expect(await listObjects(store)).toEqual([good]);
  });

  test("a wrong size is damage", async () => {
    const { sha256: hash } = await store.putBytes("hello");
    expect(await store.verify(hash, { sizeBytes: 6 })).toBe("damaged");
  });

  test("only hashes become file names", () => {
    expect(() => store.path("../../etc/passwd")).toThrow("not a sha256");
    expect(() => store.partPath("x/y")).toThrow("not a sha256");
  });
});

describe("actions", () => {
  test("are found while their outputs are whole", async () => {
    const image = await store.putBytes("image");
    const record = { outputs: { image }, meta: { rootHash: "00ff", blocks: 4 } };
    expect(await readAction(store, "erofs-1")).toBeUndefined();
    await writeAction(store, "erofs-1", record);
    expect(await readAction(store, "erofs-1")).toEqual(record);
    expect(await peekAction(store, "erofs-1")).toEqual(record);
    await damage(image.sha256);
    expect(await readAction(store, "erofs-1")).toBeUndefined();
    expect(await peekAction(store, "erofs-1")).toBeUndefined();
  });

  test("an unreadable record is a miss, an output that is not there an error", async () => {
    await writeAction(store, "a", { outputs: {}, meta: {} });
    await writeFile(join(directory, "actions", "a.json"), '{"format":1,"outputs":{');
    expect(await readAction(store, "a")).toBeUndefined();
    const outputs = { x: { sha256: sha256("never put in"), sizeBytes: 1 } };
    await expect(writeAction(store, "b", { outputs, meta: {} })).rejects.toThrow("output x");
    await expect(writeAction(store, "../b", { outputs: {}, meta: {} })).rejects.toThrow("not an action id");
  });
});

describe("gc", () => {
  test("removes what nobody used lately, and keeps what used actions and the caller refer to", async () => {
    const put = async (text: string) => (await store.putBytes(text)).sha256;
    const [recent, old, output, pinned, dropped] = [
      await put("recent"),
      await put("old"),
      await put("output"),
      await put("pinned"),
      await put("dropped"),
    ];
    await writeAction(store, "used", { outputs: { o: { sha256: output, sizeBytes: 6 } }, meta: {} });
    await writeAction(store, "unused", { outputs: { o: { sha256: dropped, sizeBytes: 7 } }, meta: {} });
    for (const hash of [old, output, pinned, dropped]) await age(hash, 40);
    const then = Date.now() / 1000 - 40 * day;
    await utimes(join(directory, "actions", "unused.json"), then, then);

    const expected = {
      removedObjects: 2,
      removedBytes: 10,
      removedActions: 1,
      keptObjects: 3,
      keptBytes: 18,
      removedDirectories: 0,
      keptDirectories: 0,
    };
    expect(await collectGarbage(store, { keep: [pinned], dryRun: true }, context)).toEqual(expected);
    expect(await listObjects(store)).toHaveLength(5);
    expect(await collectGarbage(store, { keep: [pinned] }, context)).toEqual(expected);
    expect(await listObjects(store)).toEqual([recent, output, pinned].toSorted());
    expect((await listActions(store)).map((action) => action.id)).toEqual(["used"]);
  });

  test("removes unpacked roots and trees that nobody used lately, but not one that a container runs on", async () => {
    const unpacked = async (folder: string, digit: string, days: number) => {
      const tree = join(directory, folder, digit.repeat(32));
      await mkdir(join(tree, "etc"), { recursive: true });
      await noteUse(tree);
      const then = Date.now() / 1000 - days * day;
      await utimes(`${tree}.used`, then, then);
      return tree;
    };
    const old = await unpacked("foundry", "a", 40);
    const recent = await unpacked("trees", "b", 1);
    const running = await unpacked("trees", "c", 40);
    const container = spawn("sleep", ["60"], { argv0: `container --directory=${running}` });
    try {
      const result = await collectGarbage(store, {}, context);
      expect(result).toMatchObject({ removedDirectories: 1, keptDirectories: 2 });
      expect(await listUnpacked(store)).toMatchObject([{ directory: recent }, { directory: running }]);
      expect(await readdir(dirname(old))).toEqual([]);
    } finally {
      container.kill();
    }
  });

  describe("with a size", () => {
    const blockBytes = 4096; // what a small file takes on the disk
    const put = async (text: string, days: number) => {
      const { sha256: hash } = await store.putBytes(text);
      await age(hash, days);
      return hash;
    };

    test("removes what was used longest ago, and the actions that made it", async () => {
      const [first, second, third] = [await put("first", 3), await put("second", 2), await put("third", 1)];
      await writeAction(store, "made-second", { outputs: { o: { sha256: second, sizeBytes: 6 } }, meta: {} });
      await writeAction(store, "made-third", { outputs: { o: { sha256: third, sizeBytes: 5 } }, meta: {} });
      const maxBytes = 2 * blockBytes;
      const expected = { removedObjects: 1, removedBytes: 6, keptObjects: 2, keptBytes: 10 };
      expect(await collectGarbage(store, { maxBytes, keep: [first], dryRun: true }, context)).toMatchObject(expected);
      expect(await listObjects(store)).toHaveLength(3);
      expect(await collectGarbage(store, { maxBytes, keep: [first] }, context)).toMatchObject(expected);
      expect(await listObjects(store)).toEqual([first, third].toSorted());
      expect((await listActions(store)).map((action) => action.id)).toEqual(["made-third"]);
    });

    test("counts roots and trees", async () => {
      const tree = join(directory, "trees", "d".repeat(32));
      await mkdir(tree, { recursive: true });
      await writeFile(join(tree, "file"), Buffer.alloc(10 * blockBytes, 1));
      await noteUse(tree);
      const then = Date.now() / 1000 - day;
      await utimes(`${tree}.used`, then, then);
      const object = await put("object", 0);
      expect(await collectGarbage(store, { maxBytes: 5 * blockBytes }, context)).toMatchObject({
        removedDirectories: 1,
        removedObjects: 0,
      });
      expect(await listUnpacked(store)).toEqual([]);
      expect(await listObjects(store)).toEqual([object]);
    });

    test("a grown store is brought back under its limit, but for what was used in the last hour", async () => {
      await put("old", 1);
      const recent = await put("recent", 0);
      expect(await keepWithinLimit(store, 100 * blockBytes, context)).toBeUndefined();
      expect(await keepWithinLimit(store, 0, context)).toBeUndefined(); // looked at a moment ago
      await rm(join(directory, "store", "limit-checked"));
      const lease = await store.lease();
      expect(await keepWithinLimit(store, 0, context)).toBeUndefined(); // somebody uses it
      await lease.release();
      await rm(join(directory, "store", "limit-checked"));
      expect(await keepWithinLimit(store, 0, context)).toMatchObject({ removedObjects: 1 });
      expect(await listObjects(store)).toEqual([recent]);
    });
  });

  test("reading an object through verify counts as a use", async () => {
    const { sha256: hash } = await store.putBytes("x");
    await age(hash, 40);
    // The changed time makes it read the bytes once more; from then on it is in use.
    expect(await store.verify(hash)).toBe("ok");
    expect((await collectGarbage(store, {}, context)).removedObjects).toBe(0);
  });

  test("refuses while a living process uses the store, not for a dead one", async () => {
    const lease = await store.lease();
    await expect(collectGarbage(store, {}, context)).rejects.toThrow(`in use by pid ${process.pid}`);
    await lease.release();
    await collectGarbage(store, {}, context);

    const leases = join(directory, "store", "leases");
    await writeFile(join(leases, "gone"), "999999999 1\n");
    await writeFile(join(leases, "reused-pid"), `${process.pid} 1\n`);
    await collectGarbage(store, {}, context);
    expect(await readdir(leases)).toEqual([]);
  });

  test("a new user waits until a running gc has ended", async () => {
    const gc = await takeExclusive(join(directory, "store", "gc.lease"));
    let taken = false;
    const lease = store.lease().then((result) => {
      taken = true;
      return result;
    });
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(taken).toBe(false);
    await gc.release();
    await (await lease).release();
  });
});

describe("leases", () => {
  test("only one holder at a time, each in turn", async () => {
    const file = join(directory, "lock");
    let inside = 0;
    let most = 0;
    await Promise.all(
      Array.from({ length: 5 }, async () => {
        const lease = await takeExclusive(file);
        most = Math.max(most, ++inside);
        await new Promise((resolve) => setTimeout(resolve, 20));
        inside--;
        await lease.release();
      }),
    );
    expect(most).toBe(1);
    expect((await readdir(directory)).filter((name) => name.startsWith("lock"))).toEqual([]);
  });

  test("of a process that was killed are void", async () => {
    const child = spawn("sleep", ["60"]);
    await once(child, "spawn");
    const stat = await readFile(`/proc/${child.pid}/stat`, "utf8");
    const started = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
    const file = join(directory, "lock");
    await writeFile(file, `${child.pid} ${started} 0\n`);
    await writeFile(join(directory, "store", "held"), `${child.pid} ${started}\n`);
    const signal = AbortSignal.timeout(300);
    await expect(takeExclusive(file, signal)).rejects.toThrow("timeout");
    child.kill("SIGKILL");
    await once(child, "exit");
    await (await takeExclusive(file, AbortSignal.timeout(2000))).release();
    expect(await sharedHolders(join(directory, "nothing"))).toEqual([]);
  });
});
