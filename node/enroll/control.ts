import { chmodSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { dirname } from "node:path";
import type { EnrollReply } from "../../shared/enroll.ts";
import { KubedosError } from "../../shared/error.ts";

const mostBytes = 4 * 1024 * 1024;
const waitMs = 20_000;

/**
 * Serves operators' commands on a unix socket that root and this service's user may open: the first line says who asks,
 * the rest is the command.
 */
export async function serveControl(
  path: string,
  onCommand: (text: string, by: string) => EnrollReply,
  operators: readonly { name: string; address: string }[],
): Promise<void> {
  mkdirSync(dirname(path), { recursive: true });
  rmSync(path, { force: true }); // of a service before this one
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let text = "";
    socket.setEncoding("utf8");
    socket.on("data", (part: string) => {
      text += part;
      if (text.length > mostBytes) socket.destroy();
    });
    socket.on("error", () => socket.destroy());
    socket.on("end", () => {
      const end = text.indexOf("\n");
      const address = text.slice(0, Math.max(end, 0));
      socket.end(JSON.stringify(onCommand(text.slice(end + 1), whoIs(address, operators))));
    });
  });
  server.maxConnections = 16;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  chmodSync(path, 0o600);
}

/**
 * Hands one command to the service and gives back its reply, as text.
 *
 * @throws KubedosError when the service does not answer
 */
export async function sendControl(path: string, command: string, from: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const failed = (why: string) =>
      reject(
        new KubedosError("failed", `the enrollment service does not answer: ${why}`, {
          hint: "systemctl status kubedos-enroll",
        }),
      );
    const socket = connect(path);
    let reply = "";
    socket.setEncoding("utf8");
    socket.setTimeout(waitMs, () => socket.destroy(new Error("no answer in time")));
    socket.on("connect", () => socket.end(`${from}\n${command}`));
    socket.on("data", (part: string) => (reply += part));
    socket.on("error", (error) => failed(error.message));
    socket.on("end", () => (reply === "" ? failed("it closed the connection") : resolve(reply)));
  });
}

/**
 * The address that the person at the other end of sudo has come from, as sshd has noted it; empty on the console. Read
 * from the processes above this one, because sudo hands on a clean environment.
 */
export function loginAddress(pid: number = process.ppid): string {
  for (let parent = pid; parent > 1;) {
    try {
      const environment = readFileSync(`/proc/${parent}/environ`, "utf8").split("\0");
      const connection = environment.find((entry) => entry.startsWith("SSH_CONNECTION="));
      if (connection !== undefined) return connection.slice("SSH_CONNECTION=".length).split(" ")[0]!;
      parent = Number(/^.*\) \S+ (\d+)/s.exec(readFileSync(`/proc/${parent}/stat`, "utf8"))?.[1] ?? 0);
    } catch {
      return "";
    }
  }
  return "";
}

function whoIs(address: string, operators: readonly { name: string; address: string }[]): string {
  if (address === "") return "console";
  const operator = operators.find((one) => one.address === address);
  return operator === undefined ? `address ${address.replaceAll(/[^0-9a-f.:]/g, "?")}` : `operator ${operator.name}`;
}
