import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import https from "node:https";
import net, { type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startFakeMirror } from "../../tests/fakes/mirror.ts";
import { createHttpClient, type HttpClient } from "../host/http.ts";
import { noHostApt, parseConfigDump } from "../lock/host-apt.ts";
import { httpSettingsOf, matchCredentials, parseCredentials } from "./transport.ts";

let directory: string;
const open: { close(): void }[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-http-"));
});

afterEach(async () => {
  for (const item of open.splice(0)) item.close();
  await rm(directory, { recursive: true, force: true });
});

/** A client for a host whose apt is configured with this text (as `apt-config dump` prints it). */
async function clientFor(config: string, authConf = ""): Promise<HttpClient> {
  const file = join(directory, "auth.conf");
  await writeFile(file, authConf);
  const host = {
    ...noHostApt,
    settings: parseConfigDump(config),
    credentials: { file, directory: join(directory, "none") },
  };
  const client = createHttpClient(await httpSettingsOf(host), 4);
  open.push(client);
  return client;
}

async function get(client: HttpClient, url: string): Promise<string> {
  const answer = await client.get(new URL(url), { stallMs: 2000, signal: new AbortController().signal });
  const chunks: Buffer[] = [];
  for await (const chunk of answer.body as AsyncIterable<Buffer>) chunks.push(chunk);
  return `${answer.status} ${Buffer.concat(chunks).toString()}`;
}

async function listen(server: net.Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  open.push(server);
  return (server.address() as AddressInfo).port;
}

test("an http proxy of apt's configuration is used, except for hosts that are DIRECT", async () => {
  const proxy = await startFakeMirror();
  open.push(proxy);
  const direct = await startFakeMirror();
  open.push(direct);
  proxy.files.set("/file", Buffer.from("by proxy"));
  direct.files.set("/file", Buffer.from("direct"));
  const client = await clientFor(`Acquire::http::Proxy "${proxy.url}";\nAcquire::http::Proxy::127.0.0.1 "DIRECT";`);
  expect(await get(client, "http://mirror.invalid/file")).toBe("200 by proxy");
  expect(await get(client, `${direct.url}/file`)).toBe("200 direct");
});

describe("https", () => {
  async function secureServer(): Promise<{ port: number; ca: string }> {
    const [key, ca] = [join(directory, "key.pem"), join(directory, "ca.pem")];
    await promisify(execFile)("openssl", [
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:prime256v1",
      "-nodes",
      "-days",
      "2",
      "-subj",
      "/CN=localhost",
      "-addext",
      "subjectAltName=DNS:localhost",
      "-keyout",
      key,
      "-out",
      ca,
    ]);
    const server = https.createServer({ key: await readFile(key), cert: await readFile(ca) }, (_request, response) => {
      response.end("secret");
    });
    return { port: await listen(server), ca };
  }

  test("a server with an unknown authority is refused, and accepted with apt's CaInfo", async () => {
    const { port, ca } = await secureServer();
    await expect(get(await clientFor(""), `https://localhost:${port}/`)).rejects.toThrow(/self-signed/);
    expect(await get(await clientFor(`Acquire::https::CaInfo "${ca}";`), `https://localhost:${port}/`)).toBe(
      "200 secret",
    );
  });

  test("goes through a proxy in a tunnel that the proxy cannot read", async () => {
    const { port, ca } = await secureServer();
    const asked: string[] = [];
    const proxy = http.createServer((_request, response) => response.writeHead(500).end());
    proxy.on("connect", (request, socket: net.Socket) => {
      asked.push(`${request.url} ${request.headers["proxy-authorization"]}`);
      const upstream = net.connect(port, "127.0.0.1", () => {
        socket.write("HTTP/1.1 200 OK\r\n\r\n");
        upstream.pipe(socket).pipe(upstream);
      });
      upstream.on("error", () => socket.destroy());
      socket.on("error", () => upstream.destroy());
    });
    const proxyPort = await listen(proxy);
    const client = await clientFor(
      `Acquire::https::Proxy "http://me:pw@127.0.0.1:${proxyPort}";\nAcquire::https::CaInfo "${ca}";`,
    );
    expect(await get(client, `https://localhost:${port}/`)).toBe("200 secret");
    expect(asked).toEqual([`localhost:${port} Basic ${Buffer.from("me:pw").toString("base64")}`]);
  });
});

describe("credentials", () => {
  test("of auth.conf go to their machine only", async () => {
    const mirror = await startFakeMirror();
    open.push(mirror);
    mirror.files.set("/a/x", Buffer.from("1"));
    mirror.files.set("/b/x", Buffer.from("2"));
    const client = await clientFor("", `machine http://127.0.0.1/a login me password pw`);
    await get(client, `${mirror.url}/a/x`);
    await get(client, `${mirror.url}/b/x`);
    expect(mirror.requests.map((request) => request.authorization)).toEqual([
      `Basic ${Buffer.from("me:pw").toString("base64")}`,
      undefined,
    ]);
  });

  test("without a scheme are not sent in the clear", () => {
    const entries = parseCredentials(
      "# comment\nmachine example.org\n login me\n password pw\nmachine http://other.org:8080/x login a password b\n",
    );
    expect(matchCredentials(entries, new URL("https://example.org/debian"))).toMatchObject({
      user: "me",
      password: "pw",
    });
    expect(matchCredentials(entries, new URL("http://example.org/debian"))).toBeUndefined();
    expect(matchCredentials(entries, new URL("http://other.org:8080/x/y"))).toMatchObject({ user: "a" });
    expect(matchCredentials(entries, new URL("http://other.org/x/y"))).toBeUndefined();
  });

  test("are not in error messages", async () => {
    const client = await clientFor("");
    await expect(get(client, "http://me:topsecret@127.0.0.1:9/x")).rejects.toThrow(/^http:\/\/127\.0\.0\.1:9\/x: /);
  });
});
