import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync, renameSync, statSync, writeFileSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { ebpfPaths, type TcpRecord } from "../../shared/ebpf.ts";
import { servicePaths } from "../../shared/services.ts";
import { exec } from "../agent/exec.ts";
import type { Identity } from "../agent/identity.ts";
import { metricsText, type Sample } from "../agent/metrics.ts";
import { tcpParser } from "./parse.ts";

/** A file that is as large is put aside; with as many old ones it is what the recorder takes of the disk at most. */
const fileBytes = 8 * 1024 * 1024;
const oldFiles = 3;
const metricsEveryMs = 15_000;

/**
 * Runs bpftrace and writes what it sees to /var/lib/kubedos/ebpf, until one of them is ended. Where there is monitoring,
 * counters go to the node exporter too.
 *
 * @throws when bpftrace ends by itself
 */
export async function recordTcp({ layer, node }: Identity): Promise<void> {
  const parser = tcpParser(layer, node);
  const log = rotatingLog(ebpfPaths.records, fileBytes, oldFiles);
  const counters = tcpCounters();
  const child = spawn("/usr/bin/bpftrace", ["-f", "json", "-B", "line", ebpfPaths.script], {
    stdio: ["ignore", "pipe", "inherit"],
    // Connections that are open at a time; more are not seen.
    env: { ...process.env, BPFTRACE_MAX_MAP_KEYS: "16384" },
  });
  const ended = new Promise<string>((resolve) => {
    child.on("error", (error) => resolve(error.message));
    child.on("exit", (status, signal) => resolve(`status ${status ?? signal}`));
  });
  const timer = layer.features.includes("observability")
    ? setInterval(() => writeMetrics(counters.samples()), metricsEveryMs)
    : undefined;
  for await (const line of createInterface({ input: child.stdout })) {
    const result = parser.parse(line, new Date());
    if (result === "attached" && process.env["NOTIFY_SOCKET"] !== undefined) await exec("systemd-notify", ["--ready"]);
    if (result === "attached" || result === "noise") continue;
    if ("message" in result) writeSync(2, `bpftrace: ${result.message}\n`);
    else {
      counters.count(result);
      log.write(`${JSON.stringify(result)}\n`);
    }
  }
  clearInterval(timer);
  throw new Error(`bpftrace ended: ${await ended}`);
}

/** A file that does not grow without bounds: `x.jsonl`, before it `x.1.jsonl` and so on. */
export function rotatingLog(file: string, maxBytes: number, old: number): { write(line: string): void } {
  const numbered = (i: number) => (i === 0 ? file : file.replace(/(\.[^.]*)$/, `.${i}$1`));
  let handle = openSync(file, "a", 0o640);
  let size = statSync(file).size;

  function rotate(): void {
    closeSync(handle);
    for (let i = old - 1; i >= 0; i--) if (existsSync(numbered(i))) renameSync(numbered(i), numbered(i + 1));
    handle = openSync(file, "a", 0o640);
    size = 0;
  }

  return {
    write(line) {
      if (size > 0 && size + Buffer.byteLength(line) > maxBytes) rotate();
      size += writeSync(handle, line);
    },
  };
}

/** Sums of records by plane and peer. */
export function tcpCounters(): { count(record: TcpRecord): void; samples(): Sample[] } {
  const sums = new Map<string, Sample>();
  function add(name: string, { plane = "", peer = "" }: TcpRecord, value: number): void {
    const sample = sums.get(`${name} ${plane} ${peer}`) ?? { name, labels: { plane, peer }, value: 0 };
    sample.value += value;
    sums.set(`${name} ${plane} ${peer}`, sample);
  }
  return {
    count(record) {
      if (record.type === "retransmit") add("kubedos_tcp_retransmits_total", record, 1);
      else {
        add("kubedos_tcp_flows_total", record, 1);
        add("kubedos_tcp_flow_bytes_total", record, record.sentBytes + record.receivedBytes);
      }
    },
    samples: () => [...sums.values()],
  };
}

function writeMetrics(samples: readonly Sample[]): void {
  if (!existsSync(servicePaths.metrics)) return;
  const file = join(servicePaths.metrics, "ebpf.prom");
  writeFileSync(join(dirname(file), "ebpf.prom.new"), metricsText(samples), { mode: 0o644 });
  renameSync(`${file}.new`, file);
}
