import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openArchive, type Archive } from "./archive.ts";
import { serveArchive } from "./serve.ts";

let directory: string;
let archive: Archive;
let server: Server;
const long = `pool/${"d".repeat(60)}/${"n".repeat(90)}.deb`;
const epoch = 1_700_000_000;
const modified = new Date(epoch * 1000).toUTCString();

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "kubedos-serve-"));
  for (const [name, content] of [
    ["dists/Release", "release"],
    ["pool/a+b_1%3a2.deb", "x".repeat(700_000)],
    ["pool/empty", ""],
    [long, "long"],
    ["pool/simple/index.html", "<a>"],
  ] as const) {
    mkdirSync(join(directory, name, ".."), { recursive: true });
    writeFileSync(join(directory, name), content);
  }
  const flags = ["--format=ustar", "--sort=name", `--mtime=@${epoch}`, "-C", directory];
  execFileSync("tar", [...flags, "-cf", join(directory, "all.tar"), "dists", "pool"]);
  archive = await openArchive(join(directory, "all.tar"));
  server = await serveArchive(archive, "127.0.0.1", 0);
});
afterAll(async () => {
  server.close();
  await archive.handle.close();
  rmSync(directory, { recursive: true });
});

interface Reply {
  status: number;
  headers: Record<string, unknown>;
  body: string;
}

function ask(path: string, headers: Record<string, string> = {}, method = "GET"): Promise<Reply> {
  const { port } = server.address() as AddressInfo;
  return new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port, path, method, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () =>
        resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks).toString() }),
      );
    });
    sent.on("error", reject);
    sent.end();
  });
}

test("files come whole, under the names that they have in the archive", async () => {
  expect(await ask("/dists/Release")).toMatchObject({
    status: 200,
    body: "release",
    headers: { "last-modified": modified },
  });
  expect((await ask("/pool/a%2bb_1%253a2.deb")).body.length).toBe(700_000);
  expect(await ask(`/${long}`)).toMatchObject({ status: 200, body: "long" });
  expect(await ask("/pool/empty")).toMatchObject({ status: 200, body: "" });
  expect(await ask("/dists/Release", {}, "HEAD")).toMatchObject({ body: "", headers: { "content-length": "7" } });
});

test("a directory that has an index is that page, as pip asks for it", async () => {
  expect(await ask("/pool/simple/")).toMatchObject({ body: "<a>", headers: { "content-type": "text/html" } });
  expect(await ask("/pool/simple")).toMatchObject({ status: 404 });
});

describe("ranges", () => {
  test.each([
    ["bytes=2-", 206, "lease", "bytes 2-6/7"],
    ["bytes=0-1", 206, "re", "bytes 0-1/7"],
    ["bytes=-3", 206, "ase", "bytes 4-6/7"],
    ["bytes=7-", 416, "", "bytes */7"],
    ["bytes=0-1,3-4", 200, "release", undefined],
    ["lines=1", 200, "release", undefined],
  ])("%s", async (range, status, body, contentRange) => {
    const reply = await ask("/dists/Release", { range });
    expect(reply).toMatchObject({ status, body });
    expect(reply.headers["content-range"]).toBe(contentRange);
  });

  test("of another version of the file: all of it", async () => {
    expect(await ask("/dists/Release", { range: "bytes=2-", "if-range": "yesterday" })).toMatchObject({ status: 200 });
    expect(await ask("/dists/Release", { range: "bytes=2-", "if-range": modified })).toMatchObject({ status: 206 });
  });
});

test("what apt has already is not sent again", async () => {
  expect(await ask("/dists/Release", { "if-modified-since": modified })).toMatchObject({ status: 304, body: "" });
});

test.each(["/", "/dists", "/dists/", "/../etc/passwd", "/%2e%2e/etc/passwd", "/dists/Release/x", "/%ff", "/all.tar"])(
  "%s is not there",
  async (path) => {
    expect(await ask(path)).toMatchObject({ status: 404, body: "" });
  },
);

test("nothing but reading", async () => {
  for (const method of ["PUT", "POST", "DELETE"])
    expect(await ask("/dists/Release", {}, method)).toMatchObject({ status: 405 });
});

test("a cut, damaged or empty archive is refused", async () => {
  const whole = readFileSync(join(directory, "all.tar"));
  const file = join(directory, "bad.tar");
  writeFileSync(file, whole);
  truncateSync(file, 4096);
  await expect(openArchive(file)).rejects.toThrow("in the middle of the archive");
  const damaged = Buffer.from(whole);
  damaged[10]! ^= 1;
  writeFileSync(file, damaged);
  await expect(openArchive(file)).rejects.toThrow("no header at byte 0");
  writeFileSync(file, "");
  await expect(openArchive(file)).rejects.toThrow("ends at byte 0");
});
