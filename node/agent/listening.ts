import type { ListeningSocket } from "../../shared/agent-api.ts";
import { KubedosError } from "../../shared/error.ts";
import { exec } from "./exec.ts";

/**
 * TCP sockets that listen and UDP sockets that are bound, of this network namespace.
 *
 * @throws KubedosError when ss fails
 */
export async function listeningSockets(): Promise<ListeningSocket[]> {
  const { status, stdout, stderr } = await exec("ss", ["-H", "-t", "-u", "-l", "-p", "-n"]);
  if (status !== 0) throw new KubedosError("failed", `ss exited with status ${status}: ${stderr.trim()}`);
  return parseSockets(stdout);
}

/**
 * Lines of `ss -Htulpn`, e.g. `tcp LISTEN 0 128 10.101.0.1:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))`. The kernel's own
 * sockets (WireGuard) have no users.
 *
 * @throws KubedosError for a line of another shape: a socket that is not seen must not pass for one that is not there
 */
export function parseSockets(text: string): ListeningSocket[] {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  return lines.map((line) => {
    const [protocol, , , , local = "", , ...users] = line.trim().split(/\s+/);
    const match = /^(.*?)(?:%[^:]+)?:(\d+)$/.exec(local);
    if (match === null || (protocol !== "tcp" && protocol !== "udp")) {
      throw new KubedosError("failed", `cannot read this line of ss: ${line}`);
    }
    const process = /\(\("([^"]*)"/.exec(users.join(" "))?.[1];
    const address = match[1]!.replace(/^\[(.*)\]$/, "$1");
    return { protocol, address: address === "*" ? "::" : address, port: Number(match[2]), ...(process && { process }) };
  });
}
