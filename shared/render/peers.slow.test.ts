import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { nodePeers, operatorPeers, planeAddress, transitHub } from "./peers.ts";
import { exampleLayer } from "./testing.ts";

const layers = fc
  .record({
    nodes: fc.integer({ min: 1, max: 25 }),
    hubs: fc.integer({ min: 0, max: 4 }),
    topology: fc.constantFrom("mesh" as const, "hub" as const),
    operators: fc.integer({ min: 0, max: 3 }),
  })
  .map(exampleLayer);

/** Whether an address falls into one of the networks, by the longest prefix. */
function longestMatch(allowed: readonly string[], address: string): number {
  const number = (text: string) => text.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
  const prefixes = allowed.map((network) => {
    const [base, length] = network.split("/");
    const size = 2 ** (32 - Number(length));
    return Math.floor(number(base!) / size) === Math.floor(number(address) / size) ? Number(length) : -1;
  });
  return Math.max(-1, ...prefixes);
}

describe("of any cluster", () => {
  test("A lists B exactly when B lists A, each with the other's key and endpoint", () => {
    fc.assert(
      fc.property(layers, (layer) => {
        layer.planes.forEach((plane, planeIndex) => {
          const listed = new Map(layer.nodes.map((node) => [node.name, nodePeers(layer, plane, node)]));
          for (const a of layer.nodes) {
            expect(listed.get(a.name)!.map((peer) => peer.name)).not.toContain(a.name);
            for (const b of layer.nodes) {
              const toB = listed.get(a.name)!.find((peer) => peer.name === b.name);
              const toA = listed.get(b.name)!.find((peer) => peer.name === a.name);
              expect(toB === undefined).toBe(toA === undefined);
              if (toB === undefined) continue;
              expect(toB.publicKey).toBe(b.keys[planeIndex]);
              expect(toB.endpoint).toBe(`${b.underlay}:${plane.port}`);
              expect(toB.allowedIps).toContain(`${planeAddress(plane, b)}/32`);
            }
          }
        });
      }),
    );
  });

  test("no address belongs to two peers of one interface", () => {
    fc.assert(
      fc.property(layers, (layer) => {
        for (const plane of layer.planes) {
          for (const node of layer.nodes) {
            const all = nodePeers(layer, plane, node).flatMap((peer) => peer.allowedIps);
            expect(new Set(all).size).toBe(all.length);
          }
        }
      }),
    );
  });

  test("with a hub, every node reaches every node and operator, in one step or through the transit hub", () => {
    fc.assert(
      fc.property(layers, (layer) => {
        const transit = transitHub(layer);
        fc.pre(transit !== undefined);
        for (const plane of layer.planes) {
          const operators = layer.operators.filter((operator) => operator.plane === plane.name);
          const targets = [
            ...layer.nodes.map((node) => ({ name: node.name, address: planeAddress(plane, node) })),
            ...operators,
          ];
          for (const node of layer.nodes) {
            const peers = nodePeers(layer, plane, node);
            for (const target of targets) {
              if (target.name === node.name) continue;
              const direct = peers.some((peer) => peer.name === target.name);
              const ranked = peers
                .map((peer) => ({ peer, length: longestMatch(peer.allowedIps, target.address) }))
                .toSorted((a, b) => b.length - a.length);
              expect(ranked[0]!.length).toBeGreaterThanOrEqual(0);
              expect(ranked[0]!.peer.name).toBe(direct ? target.name : transit.name);
            }
          }
        }
      }),
    );
  });

  test("operators and hubs list each other", () => {
    fc.assert(
      fc.property(layers, (layer) => {
        const plane = layer.planes[0]!;
        for (const operator of layer.operators) {
          const hubs = operatorPeers(layer, operator).map((peer) => peer.name);
          const listing = layer.nodes.filter((node) =>
            nodePeers(layer, plane, node).some((peer) => peer.publicKey === operator.publicKey),
          );
          expect(hubs).toEqual(listing.map((node) => node.name));
        }
      }),
    );
  });
});

test("a spoke of a hub topology keeps only the hubs as peers, and keeps them awake", () => {
  const layer = exampleLayer({ nodes: 5, hubs: 2, topology: "hub" });
  const peers = nodePeers(layer, layer.planes[0]!, layer.nodes[3]!);
  expect(peers.map(({ name, allowedIps, keepaliveSeconds }) => [name, allowedIps, keepaliveSeconds])).toEqual([
    ["hub-1", ["10.101.0.1/32", "10.101.0.0/16"], 25],
    ["hub-2", ["10.101.0.2/32"], 25],
  ]);
});
