import { expect, test } from "vitest";
import { planeAddress } from "../../shared/render/peers.ts";
import { exampleLayer } from "../../shared/render/testing.ts";
import { tcpParser } from "./parse.ts";

const layer = exampleLayer({ nodes: 3 });
const [node, other] = layer.nodes;
const plane = layer.planes[0]!;
const own = planeAddress(plane, node!);
const theirs = planeAddress(plane, other!);
const at = new Date("2026-01-02T03:04:05.678Z");

function parse(data: string) {
  return tcpParser(layer, node!).parse(JSON.stringify({ type: "printf", data: `${data}\n` }), at);
}

// What bpftrace 0.23 prints for node/ebpf/tcp.bt.
test("a connection of a program to a node is a flow with names", () => {
  expect(parse(`flow ::ffff:${own} 54256 ::ffff:${theirs} 22 1250000 80 118 2 333 ssh -x`)).toEqual({
    type: "flow",
    at: "2026-01-02T03:04:05.678Z",
    node: node!.name,
    plane: plane.name,
    direction: "out",
    program: "ssh -x",
    local: own,
    localPort: 54256,
    remote: theirs,
    remotePort: 22,
    peer: other!.name,
    seconds: 1.25,
    sentBytes: 80,
    receivedBytes: 118,
    retransmits: 2,
    roundTripMs: 0.333,
  });
});

test("a connection that came in has no program; who is no node has no name", () => {
  expect(parse(`flow ::ffff:${own} 22 ::ffff:198.51.100.9 40000 10 1 2 0 300 `)).toMatchObject({
    direction: "in",
    peer: undefined,
  });
  expect(parse("flow 2001:db8::1 22 2001:db8::2 40000 10 1 2 0 300 ")).toMatchObject({
    local: "2001:db8::1",
    plane: undefined,
  });
});

test("a retransmit on the underlay", () => {
  expect(parse(`retransmit ::ffff:${node!.underlay} 40000 ::ffff:${other!.underlay} 9 2`)).toMatchObject({
    type: "retransmit",
    plane: "underlay",
    peer: other!.name,
    state: "SYN_SENT",
  });
});

test("connections within the node are left out; what bpftrace complains of is not", () => {
  expect(parse("flow ::ffff:127.0.0.1 40000 ::ffff:127.0.0.1 80 1 1 1 0 1 curl")).toBe("noise");
  expect(parse(`retransmit ::ffff:${own} 1 ::ffff:${own} 2 1`)).toBe("noise");
  const { parse: line } = tcpParser(layer, node!);
  expect(line('{"type": "attached_probes", "data": {"probes": 3}}', at)).toBe("attached");
  expect(line('{"type": "lost_events", "data": {"events": 7}}', at)).toEqual({
    message: 'events were lost: {"events":7}',
  });
  expect(line("WARNING: something", at)).toEqual({ message: "WARNING: something" });
});
