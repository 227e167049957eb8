import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { serveFiles, type ServedRequest } from "./file-server.ts";

let directory: string;
let server: Awaited<ReturnType<typeof serveFiles>>;
let requests: ServedRequest[];
const large = Buffer.alloc(8 * 1024 * 1024, "large");
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kd-serve-"));
  await writeFile(join(directory, "large"), large);
  await writeFile(join(directory, "secret"), "secret");
  requests = [];
  const files = new Map([
    ["/large", { file: join(directory, "large") }],
    ["/gone", { file: join(directory, "gone") }],
    ["/text", { content: Buffer.from("text") }],
  ]);
  server = await serveFiles({ address: "127.0.0.1", port: 0 }, files, (request) => requests.push(request));
});
afterEach(async () => {
  await server.close();
  await rm(directory, { recursive: true });
});

/** A client has its answer a moment before the server knows that it was taken. */
const told = (count: number) => expect.poll(() => requests).toHaveLength(count);

const get = (path: string, init?: RequestInit) => fetch(`http://127.0.0.1:${server.port}${path}`, init);

test("files and bytes, with their length; HEAD has the length alone", async () => {
  const answer = await get("/large");
  expect(answer.headers.get("content-length")).toBe(String(large.length));
  expect(Buffer.from(await answer.arrayBuffer()).equals(large)).toBe(true);
  await told(1);
  expect(await (await get("/text?of=use")).text()).toBe("text");
  await told(2);
  expect(await (await get("//text")).text()).toBe("text");
  await told(3);
  const head = await get("/large", { method: "HEAD" });
  expect(head.headers.get("content-length")).toBe(String(large.length));
  expect(await head.text()).toBe("");
  await told(4);
  expect(requests.map(({ path, status, whole }) => [path, status, whole])).toEqual([
    ["/large", 200, true],
    ["/text", 200, true],
    ["/text", 200, true],
    ["/large", 200, true],
  ]);
});

test.each(["/", "/secret", "/../secret", "/%2e%2e/secret", "/text/"])("%s is not there", async (path) => {
  expect((await get(path)).status).toBe(404);
});

test("only reading: anything else is not there", async () => {
  expect((await get("/text", { method: "POST", body: "x" })).status).toBe(404);
  expect((await get("/text", { method: "DELETE" })).status).toBe(404);
});

test("a file that has gone, and a client that goes: the answer is not whole, and the server goes on", async () => {
  await expect(get("/gone")).rejects.toThrow("fetch failed");
  await new Promise<void>((resolve) => {
    const socket = connect(server.port, "127.0.0.1", () => socket.write("GET /large HTTP/1.0\r\n\r\n"));
    socket.once("data", () => socket.destroy()).once("close", () => resolve());
  });
  await expect
    .poll(() => requests.map(({ path, whole }) => [path, whole]))
    .toEqual([
      ["/gone", false],
      ["/large", false],
    ]);
  expect(await (await get("/text")).text()).toBe("text");
});

test("a port that is taken is an error that says so", async () => {
  const { port } = server;
  await expect(serveFiles({ address: "127.0.0.1", port }, new Map(), () => undefined)).rejects.toThrow(
    `cannot listen on 127.0.0.1:${port}`,
  );
});
