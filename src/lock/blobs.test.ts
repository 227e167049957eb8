import { createHash } from "node:crypto";
import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { startFakeMirror, type FakeMirror } from "../../tests/fakes/mirror.ts";
import { acquire } from "../acquire/acquire.ts";
import { blobOrigins } from "../acquire/sources.ts";
import { httpSettingsOf } from "../acquire/transport.ts";
import type { SpecBlob } from "../spec/types.ts";
import { openStore, type Store } from "../store/store.ts";
import { lockBlobs } from "./blobs.ts";
import { noHostApt } from "./host-apt.ts";
import { lockedObjects } from "./objects.ts";
import type { LockedBlob } from "./inputs.ts";
import { errorOf } from "../../tests/fakes/errors.ts";

let directory: string;
let store: Store;
let web: FakeMirror;
let other: FakeMirror;
const bytes = Buffer.from("a tool\n".repeat(20_000));
const sha256 = createHash("sha256").update(bytes).digest("hex");
const context = { emit: () => undefined, signal: new AbortController().signal, offline: false };

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-blobs-"));
  store = await openStore(join(directory, "cache"));
  web = await startFakeMirror();
  other = await startFakeMirror();
  for (const mirror of [web, other]) mirror.files.set("/tool", bytes);
  vi.stubEnv("NETRC", join(directory, "netrc"));
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await web.close();
  await other.close();
  await rm(directory, { recursive: true, force: true });
});

function blob(more: Partial<SpecBlob> = {}): SpecBlob {
  return { name: "tool", urls: [`${web.url}/tool`, `${other.url}/tool`], mode: 0o755, path: "/opt/tool", ...more };
}

async function fetchBlobs(locked: LockedBlob[], blobs: SpecBlob[]): Promise<void> {
  const http = await httpSettingsOf(noHostApt);
  const objects = lockedObjects({ platform: [], foundry: [], blobs: locked } as never);
  const origins = blobOrigins(locked, blobs);
  await acquire(objects, { mirrors: {}, http, origins, retryDelayMs: 1, stallTimeoutMs: 300 }, store, context);
}

const pinned = { name: "tool", sizeBytes: bytes.length, sha256, path: "/opt/tool", mode: 0o755 };

test("a file whose hash the spec gives is only asked for its size, and fetched by acquire", async () => {
  const locked = await lockBlobs([blob({ sha256 })], store, context);
  expect(locked).toEqual([pinned]);
  expect(await store.has(sha256)).toBe(false);
  await fetchBlobs(locked, [blob({ sha256 })]);
  expect(await store.verify(sha256)).toBe("ok");
});

test("a file without a hash is pinned as it came; later only these bytes are taken", async () => {
  const locked = await lockBlobs([blob({ path: undefined })], store, context);
  expect(locked).toEqual([{ name: "tool", sizeBytes: bytes.length, sha256 }]);
  await store.remove(sha256);
  for (const mirror of [web, other]) mirror.files.set("/tool", Buffer.from(bytes).fill("x", 100, 101));
  const error = await errorOf(fetchBlobs(locked, [blob()]));
  expect(error.message).toContain("cannot fetch tool");
  expect(error.message).toContain(`the lock says ${sha256}`);
});

test("transfers go on where they broke, follow redirects, and turn to the next mirror", async () => {
  web.misbehave.set("/tool", { redirectTo: `${web.url}/moved` });
  web.files.set("/moved", bytes);
  web.misbehave.set("/moved", { cutAfter: 60_000, times: 2 });
  const blobs = [blob({ sha256 })];
  await fetchBlobs([pinned], blobs);
  expect(web.requests.filter(({ path }) => path === "/moved").map(({ range }) => range)).toContain("bytes=60000-");
  expect(other.requests).toEqual([]);

  await store.remove(sha256);
  web.misbehave.set("/tool", { status: 500 });
  await fetchBlobs([pinned], blobs);
  expect((await stat(store.path(sha256))).size).toBe(bytes.length);
});

test("what is gone everywhere is named, and so is what no URL is known for", async () => {
  for (const mirror of [web, other]) mirror.files.delete("/tool");
  const gone = await errorOf(fetchBlobs([pinned], [blob()]));
  expect(gone.message).toContain("the web no longer has tool");
  expect(gone.hint).toContain("capsule");
  const unlisted = await errorOf(fetchBlobs([pinned], []));
  expect(unlisted.message).toContain("the web no longer has tool");
  const refused = await errorOf(lockBlobs([blob()], store, context));
  expect(refused.message).toMatch(/cannot lock tool\n {2}\| .*404\n {2}\| .*404/);
});

test("a hash of the spec that the file does not have is refused when it is locked without a size", async () => {
  const wrong = "0".repeat(64);
  web.misbehave.set("/tool", { redirectTo: "/chunked" });
  const error = await errorOf(
    lockBlobs([blob({ sha256: wrong, urls: [`file://${join(directory, "absent")}`] })], store, context),
  );
  expect(error.message).toContain("no such file");
});

test("credentials for plain http come from netrc only where the entry says http", async () => {
  const host = new URL(web.url).host;
  await writeFile(join(directory, "netrc"), `machine ${host} login a password b\n`);
  await lockBlobs([blob({ sha256 })], store, context);
  await writeFile(join(directory, "netrc"), `machine http://${host} login a password b\n`);
  await lockBlobs([blob({ sha256 })], store, context);
  expect(web.requests.map(({ authorization }) => authorization)).toEqual([undefined, "Basic YTpi"]);
});
