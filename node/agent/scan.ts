import type { ScanResult, ScanTarget } from "../../shared/agent-api.ts";
import { KubedosError } from "../../shared/error.ts";

const atOnce = 200;

/** What a target answered when it refused: a reset, or an ICMP "unreachable" of whatever kind. */
const refusals = new Set(["ECONNREFUSED", "ECONNRESET", "EHOSTUNREACH", "EHOSTDOWN", "ENOPROTOOPT"]);

/** A client request of NTP version 4 (RFC 5905); other services see 48 odd bytes. */
const datagram = Buffer.concat([Buffer.from([0x23]), Buffer.alloc(47)]);

/**
 * Tries every target, 200 at a time; results in the order of the targets.
 *
 * @throws KubedosError when this node itself cannot try (no route, no sockets): that is no answer of the target
 */
export async function scan(targets: readonly ScanTarget[], timeoutMs: number): Promise<ScanResult[]> {
  const results: ScanResult[] = [];
  let next = 0;
  async function work(): Promise<void> {
    for (let index = next++; index < targets.length; index = next++) {
      const target = targets[index]!;
      const outcome = await (target.protocol === "tcp" ? tryTcp(target, timeoutMs) : tryUdp(target, timeoutMs));
      results[index] = { ...target, outcome };
    }
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, targets.length) }, work));
  return results;
}

type Outcome = ScanResult["outcome"];

async function tryTcp(target: ScanTarget, timeoutMs: number): Promise<Outcome> {
  const { connect } = await import("node:net");
  return new Promise((resolve, reject) => {
    const socket = connect({ host: target.address, port: target.port });
    function done(outcome: Outcome): void {
      clearTimeout(timer);
      socket.destroy();
      resolve(outcome);
    }
    const timer = setTimeout(() => done("silent"), timeoutMs);
    socket.on("connect", () => done("open"));
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (refusals.has(error.code ?? "")) return done("refused");
      if (error.code === "ETIMEDOUT") return done("silent");
      clearTimeout(timer);
      reject(cannotTry(target, error));
    });
  });
}

async function tryUdp(target: ScanTarget, timeoutMs: number): Promise<Outcome> {
  const { createSocket } = await import("node:dgram");
  return new Promise((resolve, reject) => {
    const socket = createSocket("udp4");
    let ended = false;
    function end(finish: () => void): void {
      if (ended) return;
      ended = true;
      clearTimeout(timer);
      socket.close();
      finish();
    }
    function onError(error: NodeJS.ErrnoException): void {
      end(() => (refusals.has(error.code ?? "") ? resolve("refused") : reject(cannotTry(target, error))));
    }
    const timer = setTimeout(() => end(() => resolve("silent")), timeoutMs);
    socket.on("error", onError);
    socket.on("message", () => end(() => resolve("open")));
    // Only a connected socket is told of ICMP errors.
    socket.connect(target.port, target.address, () => {
      socket.send(datagram, (error) => error && onError(error));
    });
  });
}

function cannotTry({ protocol, address, port }: ScanTarget, error: NodeJS.ErrnoException): KubedosError {
  return new KubedosError("failed", `cannot try ${protocol} ${address}:${port} from this node: ${error.message}`);
}
