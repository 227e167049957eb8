import { spawn, type ChildProcess } from "node:child_process";
import { createServer, request, type IncomingHttpHeaders, type Server } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { join } from "node:path";
import { pythonTools } from "./venv.ts";

/** One request that the client sent. */
export interface SentRequest {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  body: Buffer;
  /** Parameters of an EC2 query (`Action=…&…`). */
  query: URLSearchParams;
}

/** What to do with a request instead of passing it on: an answer, or cutting the connection. */
export type Fault = { status: number; type: string } | "cut" | undefined;

/**
 * A stand-in for AWS on the loopback: moto's server behind a proxy that writes down what was asked, and can answer by
 * itself. What moto takes without looking (checksums, lengths, counts) the proxy checks strictly; and a snapshot is pending until it is
 * completed, which moto does not know.
 */
export interface FakeAws {
  endpoint: string;
  sent: SentRequest[];
  /** Asked for each request. */
  fault: (request: SentRequest) => Fault;
  close(): Promise<void>;
}

export async function startFakeAws(): Promise<FakeAws> {
  const bin = await pythonTools(["moto[server,ec2,ebs]==5.2.5"]);
  const port = await freePort();
  const moto = spawn(join(bin, "moto_server"), ["-H", "127.0.0.1", "-p", String(port)], {
    stdio: "ignore",
    env: { PATH: process.env["PATH"], MOTO_EC2_LOAD_DEFAULT_AMIS: "false" },
  });
  await listening(port, moto);
  const complete = new Set<string>();
  const fake: FakeAws = { endpoint: "", sent: [], fault: () => undefined, close };
  const server = createServer((incoming, outgoing) => {
    const parts: Buffer[] = [];
    incoming.on("data", (part: Buffer) => parts.push(part));
    incoming.on("end", () => {
      const body = Buffer.concat(parts);
      const type = String(incoming.headers["content-type"]);
      const sent: SentRequest = {
        method: incoming.method!,
        path: incoming.url!,
        headers: incoming.headers,
        body,
        query: new URLSearchParams(type.includes("urlencoded") ? body.toString() : ""),
      };
      fake.sent.push(sent);
      const fault = fake.fault(sent) ?? refuse(sent);
      if (fault === "cut") {
        incoming.socket.destroy();
        return;
      }
      if (fault !== undefined) {
        outgoing.writeHead(fault.status, { "content-type": "application/json", "x-amzn-errortype": fault.type });
        outgoing.end(JSON.stringify({ Message: "by the test" }));
        return;
      }
      const passed = request(
        { host: "127.0.0.1", port, method: sent.method, path: sent.path, headers: incoming.headers },
        (answer) => {
          const completed = /^\/snapshots\/completion\/(snap-\w+)/.exec(sent.path)?.[1];
          if (completed !== undefined) complete.add(completed);
          const chunks: Buffer[] = [];
          answer.on("data", (chunk: Buffer) => chunks.push(chunk));
          answer.on("end", () => {
            let reply = Buffer.concat(chunks);
            if (sent.query.get("Action") === "DescribeSnapshots") reply = pendingUntil(reply, complete);
            outgoing.writeHead(answer.statusCode!, { ...answer.headers, "content-length": reply.length });
            outgoing.end(reply);
          });
        },
      );
      passed.on("error", () => incoming.socket.destroy());
      passed.end(body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  fake.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return fake;

  async function close(): Promise<void> {
    await closeServer(server);
    const ended = new Promise((resolve) => moto.once("close", resolve));
    moto.kill();
    await ended;
  }
}

function pendingUntil(reply: Buffer, complete: ReadonlySet<string>): Buffer<ArrayBuffer> {
  const pattern = /<snapshotId>(snap-\w+)<\/snapshotId><volumeId>[\w-]*<\/volumeId><status>completed</g;
  const text = reply
    .toString()
    .replaceAll(pattern, (found, id: string) => (complete.has(id) ? found : found.replace("completed", "pending")));
  return Buffer.from(text);
}

/** What the real service refuses. */
function refuse(sent: SentRequest): Fault {
  if (sent.method !== "PUT" || !sent.path.includes("/blocks/")) return undefined;
  const bad = { status: 400, type: "ValidationException" };
  if (sent.headers["x-amz-data-length"] !== "524288" || sent.body.length !== 524_288) return bad;
  if (sent.headers["x-amz-checksum-algorithm"] !== "SHA256") return bad;
  return undefined;
}

function closeServer(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}

async function freePort(): Promise<number> {
  const server = createTcpServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function listening(port: number, moto: ChildProcess): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    if (moto.exitCode !== null) throw new Error(`moto ended with status ${moto.exitCode}`);
    const up = await new Promise<boolean>((resolve) => {
      const probe = request({ host: "127.0.0.1", port, path: "/moto-api/" }, (answer) => {
        answer.resume();
        resolve(true);
      });
      probe.on("error", () => resolve(false));
      probe.end();
    });
    if (up) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("moto does not listen after 60 s");
}
