import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { TcpRecord } from "../../shared/ebpf.ts";
import { metricsText } from "../agent/metrics.ts";
import { rotatingLog, tcpCounters } from "./record.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "kubedos-ebpf-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

test("the records take no more of the disk than a few files, the newest lines in the first", () => {
  const file = join(directory, "tcp.jsonl");
  writeFileSync(file, "line-00\n"); // of the boot before
  const log = rotatingLog(file, 24, 2);
  for (let i = 1; i < 12; i++) log.write(`line-${String(i).padStart(2, "0")}\n`);
  expect(readdirSync(directory).toSorted()).toEqual(["tcp.1.jsonl", "tcp.2.jsonl", "tcp.jsonl"]);
  expect(readFileSync(file, "utf8")).toBe("line-09\nline-10\nline-11\n");
  expect(readFileSync(join(directory, "tcp.1.jsonl"), "utf8")).toBe("line-06\nline-07\nline-08\n");
  expect(readFileSync(join(directory, "tcp.2.jsonl"), "utf8")).toBe("line-03\nline-04\nline-05\n");
});

test("counters by plane and peer, in the text format", () => {
  const ends = { at: "", node: "hub", plane: "wg1", local: "", localPort: 1, remote: "", remotePort: 2 };
  const flow = { seconds: 1, sentBytes: 10, receivedBytes: 5, retransmits: 0, roundTripMs: 1 };
  const records: TcpRecord[] = [
    { type: "flow", direction: "out", ...ends, peer: "core-1", ...flow },
    { type: "flow", direction: "in", ...ends, peer: "core-1", ...flow },
    { type: "retransmit", ...ends, state: "ESTABLISHED" },
  ];
  const counters = tcpCounters();
  for (const record of records) counters.count(record);
  const text = metricsText(counters.samples());
  expect(text).toContain("# TYPE kubedos_tcp_flows_total counter\n");
  expect(text).toContain('kubedos_tcp_flows_total{plane="wg1",peer="core-1"} 2\n');
  expect(text).toContain('kubedos_tcp_flow_bytes_total{plane="wg1",peer="core-1"} 30\n');
  expect(text).toContain('kubedos_tcp_retransmits_total{plane="wg1",peer=""} 1\n');
});
