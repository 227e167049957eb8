import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { startFakeMirror } from "../../tests/fakes/mirror.ts";
import {
  ociIndexType,
  putImage,
  startFakeRegistry,
  type FakeRegistry,
  type RegistryProtection,
} from "../../tests/fakes/registry.ts";
import { createHttpClient } from "../host/http.ts";
import { noHostApt } from "../lock/host-apt.ts";
import { lockImage } from "../lock/images.ts";
import type { LockedImage } from "../lock/inputs.ts";
import { lockedObjects } from "../lock/objects.ts";
import { writeOciLayout } from "../seal/oci-layout.ts";
import { openStore, type Store } from "../store/store.ts";
import { acquire } from "./acquire.ts";
import { findAuth } from "./registry-auth.ts";
import { isLoopback, openRegistry, parseChallenge } from "./registry.ts";
import { imageOrigins } from "./sources.ts";
import { httpSettingsOf } from "./transport.ts";
import { webSettings } from "./web.ts";
import { errorOf } from "../../tests/fakes/errors.ts";

let directory: string;
let store: Store;
let registry: FakeRegistry;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-registry-"));
  store = await openStore(join(directory, "cache"));
  vi.stubEnv("REGISTRY_AUTH_FILE", join(directory, "auth.json"));
  vi.stubEnv("DOCKER_CONFIG", directory);
  registry = await startFakeRegistry();
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await registry.close();
  await rm(directory, { recursive: true, force: true });
});

const { signal } = new AbortController();

async function lock(reference: string): Promise<LockedImage> {
  return lockImage(reference, await openRegistry(() => false), store, signal);
}

async function fetchImage(image: LockedImage): Promise<void> {
  const wanted = lockedObjects({ platform: [], foundry: [], images: [image] } as never);
  const http = await httpSettingsOf(noHostApt);
  const origins = imageOrigins([image], [], signal);
  await acquire(wanted, { mirrors: {}, http, origins, retryDelayMs: 1 }, store, {
    emit: () => undefined,
    signal,
    offline: false,
  });
}

/** Restarts the registry behind a password. */
async function protect(protection: RegistryProtection): Promise<void> {
  await registry.close();
  registry = await startFakeRegistry(protection);
}

test("an index leads to the manifest of linux/amd64; a moved tag changes nothing that is locked", async () => {
  const arm = putImage(registry, ["arm"], { os: "linux", architecture: "arm64" });
  const amd = putImage(registry, ["amd"]);
  const entry = (image: { digest: string; size: number }, architecture: string) => ({
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    digest: image.digest,
    size: image.size,
    platform: { os: "linux", architecture },
  });
  const manifests = [entry(arm, "arm64"), entry(amd, "amd64")];
  const index = registry.manifest(["1.0"], ociIndexType, { schemaVersion: 2, mediaType: ociIndexType, manifests });
  const image = await lock(`${registry.host}/team/app:1.0`);
  expect(image).toMatchObject({ reference: `${registry.host}/team/app:1.0`, layers: [{}] });
  expect(`sha256:${image.manifest.sha256}`).toBe(amd.digest);
  expect((await lock(`${registry.host}/team/app@${index.digest}`)).manifest).toEqual(image.manifest);

  putImage(registry, ["1.0"], undefined, Buffer.from("newer"));
  await fetchImage(image);
  expect(await readFile(store.path(amd.layer.slice(7)), "utf8")).toBe("layer of amd amd64");
});

test("the layout of fetched images: the same bytes twice, each blob under its digest", async () => {
  const image = await lock(`${registry.host}/app:${putImage(registry, ["2.0"]) && "2.0"}`);
  await fetchImage(image);
  await writeOciLayout([image], join(directory, "a"), store);
  await writeOciLayout([image], join(directory, "b"), store);
  const index = await readFile(join(directory, "a/index.json"), "utf8");
  expect(await readFile(join(directory, "b/index.json"), "utf8")).toBe(index);
  expect(JSON.parse(index)).toMatchObject({
    manifests: [{ digest: `sha256:${image.manifest.sha256}`, platform: { os: "linux", architecture: "amd64" } }],
  });
  const file = (sha256: string) => readFile(join(directory, "a/blobs/sha256", sha256), "utf8");
  expect(JSON.parse(await file(image.manifest.sha256))).toMatchObject({ schemaVersion: 2 });
  expect(await file(image.layers[0]!.sha256)).toBe("layer of 2.0 amd64");
});

test("an image that is not for linux/amd64 is refused by name, with what there is", async () => {
  putImage(registry, ["1"], { os: "linux", architecture: "arm64" });
  const error = await errorOf(lock(`${registry.host}/app:1`));
  expect(error.message).toBe(`${registry.host}/app:1 is not for linux/amd64 but for linux/arm64`);
});

test("a registry that answers with another digest is refused and named: manifest, configuration and layer", async () => {
  const { digest, layer, config } = putImage(registry, ["1"]);
  const reference = `${registry.host}/app:1`;
  const image = await lock(reference);

  registry.alter(layer, Buffer.from("layer of 1 amd65"));
  const altered = await errorOf(fetchImage(image));
  expect(altered.message).toContain(`cannot fetch ${reference} sha256:${layer.slice(7, 19)}`);
  expect(altered.message).toContain(`the lock says ${layer.slice(7)}`);
  expect(altered.hint).toContain(`the registry ${registry.host}'s file is not the one that was locked`);

  registry.forget(layer);
  expect((await errorOf(fetchImage(image))).message).toContain(
    `the registry ${registry.host} no longer has ${reference} sha256:${layer.slice(7, 19)}`,
  );

  registry.alter(config, Buffer.from("{}"));
  expect((await errorOf(lock(reference))).message).toContain(`the configuration of ${reference} has sha256`);

  registry.alter(digest, Buffer.from('{"schemaVersion":2}'));
  for (const which of [reference, `${registry.host}/app@${digest}`]) {
    const error = await errorOf(lock(which));
    expect(error.message).toContain(`${registry.host} answers for app`);
    expect(error.message).toContain(`not ${digest}`);
  }
});

test("what is no image: a missing tag, no manifest, an old schema", async () => {
  expect((await errorOf(lock(`${registry.host}/app:none`))).message).toBe(
    `the registry has no ${registry.host}/app none`,
  );
  registry.manifest(["old"], "application/vnd.docker.distribution.manifest.v1+json", { schemaVersion: 1 });
  expect((await errorOf(lock(`${registry.host}/app:old`))).message).toContain("not an image: schemaVersion");
});

test("credentials come from docker's and podman's files; without them it is said how to log in", async () => {
  await protect({ scheme: "bearer", user: "me", password: "se:cret" });
  putImage(registry, ["1"]);
  const reference = `${registry.host}/team/app:1`;
  const error = await errorOf(lock(reference));
  expect(error.message).toBe(`${registry.host} wants credentials for team/app`);
  expect(error.hint).toContain(`podman login ${registry.host}`);

  const auth = Buffer.from("me:se:cret").toString("base64");
  await writeFile(join(directory, "config.json"), JSON.stringify({ auths: { [registry.host]: { auth } } }));
  await fetchImage(await lock(reference));
  expect(registry.seen.filter(({ path }) => path.includes("/blobs/")).map((one) => one.authorization)).toEqual([
    "Bearer the-token",
    "Bearer the-token",
  ]);

  await rm(join(directory, "config.json"));
  await protect({ scheme: "basic", user: "me", password: "se:cret" });
  putImage(registry, ["1"]);
  const auths = { [`${registry.host}/team`]: { auth }, [registry.host]: { auth: "d3Jvbmc6eA==" } };
  await writeFile(join(directory, "auth.json"), JSON.stringify({ auths }));
  await fetchImage(await lock(`${registry.host}/team/app:1`));
});

test("the most particular entry of a credentials file wins; Docker Hub has its old name", () => {
  const entry = (user: string) => ({ auth: Buffer.from(`${user}:x`).toString("base64") });
  const auths = {
    "r.example": entry("host"),
    "r.example/a": entry("a"),
    "r.example/a/b": entry("b"),
    "https://index.docker.io/v1/": entry("hub"),
  };
  const user = (registryName: string, repository: string) => findAuth({ auths }, registryName, repository)?.user;
  expect([user("r.example", "a/b"), user("r.example", "a/c"), user("r.example", "z")]).toEqual(["b", "a", "host"]);
  expect([user("docker.io", "library/x"), user("other.example", "x")]).toEqual(["hub", undefined]);
});

test("a token does not follow a redirect to another server", async () => {
  const other = await startFakeMirror();
  const first = await startFakeMirror();
  try {
    other.files.set("/blob", Buffer.from("content"));
    first.misbehave.set("/blob", { redirectTo: `${other.url}/blob` });
    const client = createHttpClient(await webSettings(), 1);
    const answer = await client.get(new URL(`${first.url}/blob`), {
      headers: { authorization: "Bearer secret" },
      stallMs: 1000,
      signal,
    });
    answer.body.resume();
    expect([first.requests[0]!.authorization, other.requests[0]!.authorization]).toEqual(["Bearer secret", undefined]);
    client.close();
  } finally {
    await Promise.all([other.close(), first.close()]);
  }
});

test("plain http only on this host", () => {
  const here = ["localhost", "localhost:5000", "127.0.0.1:80", "127.1.2.3", "[::1]:5000"];
  const elsewhere = ["localhost.example.org", "127.0.0.1.example.org", "10.0.0.1", "registry.k8s.io"];
  expect(here.filter(isLoopback)).toEqual(here);
  expect(elsewhere.filter(isLoopback)).toEqual([]);
});

test("challenges with quoted commas and escapes", () => {
  expect(parseChallenge('Bearer realm="https://a/t",scope="repository:x:pull,push", error=x, y="a\\"b"')).toEqual({
    scheme: "bearer",
    parameters: { realm: "https://a/t", scope: "repository:x:pull,push", error: "x", y: 'a"b' },
  });
});

test("a missing object is named when the layout is written", async () => {
  putImage(registry, ["1"]);
  const image = await lock(`${registry.host}/app:1`);
  await mkdir(join(directory, "out"));
  const error = await errorOf(writeOciLayout([image], join(directory, "out"), store));
  expect(error.message).toBe(`${image.reference}: sha256:${image.layers[0]!.sha256} is not in the store`);
});
