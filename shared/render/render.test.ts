import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { ClusterLayer } from "../cluster-layer.ts";
import { formatAddress, parseAddress, parseNetwork, toRanges } from "./ipv4.ts";
import { renderNode, renderedPaths, type RenderOptions } from "./render.ts";
import { exampleLayer } from "./testing.ts";

const kernel: RenderOptions = { userspaceWireguard: false };

function rendered(layer: ClusterLayer, node: string, options = kernel): Map<string, string> {
  return new Map(renderNode(layer, node, options).map((file) => [file.path, file.content]));
}

/** What nft makes of a ruleset, loaded in a network namespace of its own; throws what nft complains about. */
function nftLoads(ruleset: string): string {
  const directory = mkdtempSync(join(tmpdir(), "kubedos-nft-"));
  try {
    const file = join(directory, "rules");
    writeFileSync(file, ruleset);
    // Twice: loading again must replace, not add.
    const script = `nft -c -f "$1" && nft -f "$1" && nft -f "$1" && nft list ruleset`;
    return execFileSync("unshare", ["-n", "sh", "-c", script, "sh", file], { encoding: "utf8", stdio: "pipe" });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test("the files of a hub with the kernel's WireGuard", () => {
  const text = renderNode(exampleLayer(), "hub-1", kernel).map(
    ({ path, mode, content }) => `==> ${path} ${mode.toString(8)}\n${content}`,
  );
  expect(text.join("\n")).toMatchSnapshot();
});

test("the files of a spoke with wireguard-go, a hub topology, DHCP and a named underlay interface", () => {
  const layer = exampleLayer({ nodes: 4, topology: "hub", mode: "dhcp" });
  const files = renderNode(layer, "worker-2", { userspaceWireguard: true, underlayInterface: "host0" });
  expect(files.map(({ path, content }) => `==> ${path}\n${content}`).join("\n")).toMatchSnapshot();
});

test("the virtual address is let in on edge nodes, on its plane, and VRRP from the other edge nodes only", () => {
  const layer: ClusterLayer = {
    ...exampleLayer({ nodes: 4, roles: ["edge", "edge", "worker"] }),
    edge: { plane: "wg3", vip: "10.103.0.200", services: [] },
  };
  const rules = (node: string) => nftLoads(rendered(layer, node).get(renderedPaths.nftables)!);
  const holder = rules("edge-1");
  expect(holder).toContain("ip daddr != { 10.103.0.2, 10.103.0.200 } counter");
  expect(holder).toContain("ip daddr != 10.102.0.2 counter");
  expect(holder).toMatch(/ip saddr 10\.103\.0\.3 ip protocol (vrrp|112) counter/);
  const other = rules("worker-3");
  expect(other).toContain("ip daddr != 10.103.0.4 counter");
  expect(other).not.toMatch(/10\.103\.0\.200|vrrp|protocol 112/);
});

test("a node that the layer does not know", () => {
  expect(() => renderNode(exampleLayer(), "stranger", kernel)).toThrow(/"stranger" is not in the cluster layer/);
});

test("nft accepts the rules of every kind of node", () => {
  for (const topology of ["mesh", "hub"] as const) {
    for (const mode of ["static", "dhcp"] as const) {
      for (const operators of [0, 2]) {
        const layer = exampleLayer({ nodes: 5, hubs: 2, topology, mode, operators });
        for (const node of ["hub-1", "worker-3"]) {
          for (const underlayInterface of [undefined, "host0"]) {
            const files = rendered(layer, node, { userspaceWireguard: true, underlayInterface });
            const listed = nftLoads(files.get(renderedPaths.nftables)!);
            expect(listed.match(/policy drop/g)).toHaveLength(2);
            expect(listed.match(/chain input \{/g)).toHaveLength(1);
          }
        }
      }
    }
  }
});

test("nft accepts every opening a spec can make", () => {
  const layer = exampleLayer({
    openings: [
      { service: 'a "quoted" name; drop', plane: "wg1", protocol: "tcp", port: 1 },
      { service: "x".repeat(300), plane: "wg2", protocol: "udp", port: 65535, from: ["operators", "hub", "nodes"] },
      { service: "dns", plane: "underlay", protocol: "udp", port: 53, from: ["nodes", "hub", "operators"] },
      { service: "web", plane: "underlay", protocol: "tcp", port: 443 },
    ],
  });
  const listed = nftLoads(rendered(layer, "worker-1").get(renderedPaths.nftables)!);
  expect(listed).toContain('tcp dport 1 counter packets 0 bytes 0 accept comment "a _quoted_ name_ drop"');
  expect(listed).toContain("tcp dport 443 counter packets 0 bytes 0 accept");
  expect(listed).toContain("ip saddr @underlay_hub udp dport 53");
});

test("plane names that are unusual, but allowed for interfaces", () => {
  const layer = exampleLayer();
  const names = ["0wg", "wg-storage_1.a", "input"];
  layer.planes.forEach((plane, i) => (plane.name = names[i]!));
  layer.openings = names.map((plane) => ({ service: "s", plane, protocol: "tcp", port: 80 }));
  layer.operators.forEach((operator) => (operator.plane = "0wg"));
  expect(nftLoads(rendered(layer, "hub-1").get(renderedPaths.nftables)!)).toContain("plane_input_in");
});

test("an opening for roles is made on nodes with one of them only", () => {
  const layer = exampleLayer();
  expect(rendered(layer, "hub-1").get(renderedPaths.nftables)).toContain("tcp dport 6443");
  expect(rendered(layer, "worker-1").get(renderedPaths.nftables)).not.toContain("tcp dport 6443");
});

test("only hubs forward, and only where others depend on it", () => {
  const layer = exampleLayer();
  const forwarding = (node: string, plane: string) =>
    /IPv4Forwarding=(\w+)/.exec(rendered(layer, node).get(`/run/systemd/network/20-kubedos-${plane}.network`)!)![1];
  expect(["wg1", "wg2", "wg3"].map((plane) => forwarding("hub-1", plane))).toEqual(["yes", "no", "no"]);
  expect(["wg1", "wg2", "wg3"].map((plane) => forwarding("worker-1", plane))).toEqual(["no", "no", "no"]);
});

test("a node of 10,000 in a hub topology is rendered, and its rules load", () => {
  const layer = exampleLayer({ nodes: 10_000, topology: "hub" });
  const files = rendered(layer, "hub-1");
  const rules = files.get(renderedPaths.nftables)!;
  expect(rules.length).toBeLessThan(10_000);
  nftLoads(rules);
});

test("hosts(5) resolves short names to the control plane and long names to each plane", () => {
  const lines = rendered(exampleLayer(), "hub-1").get(renderedPaths.hosts)!.trim().split("\n");
  const addressOf = (name: string) => lines.find((line) => line.split(" ").slice(1).includes(name))?.split(" ")[0];
  expect(["worker-1", "worker-1.example", "worker-1.wg1.example", "worker-1.wg3.example"].map(addressOf)).toEqual([
    "10.101.0.2",
    "10.101.0.2",
    "10.101.0.2",
    "10.103.0.2",
  ]);
});

test("addresses survive a round trip, and ranges cover exactly their addresses", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), (address) => {
      expect(parseAddress(formatAddress(address))).toBe(address);
    }),
  );
  const near = fc.array(fc.integer({ min: 0, max: 60 }).map((offset) => 0xc0a800e0 + offset));
  fc.assert(
    fc.property(near, (addresses) => {
      const covered = toRanges(addresses).flatMap((range) => {
        const [first, last = first] = range.split("-");
        const from = parseAddress(first!);
        return Array.from({ length: parseAddress(last!) - from + 1 }, (_, i) => from + i);
      });
      expect(covered).toEqual([...new Set(addresses)].toSorted((a, b) => a - b));
    }),
  );
});

test.each(["", "10.0.0", "10.0.0.256", "10.0.0.1.2", "a.b.c.d", " 10.0.0.1", "1e1.0.0.1"])("no address: %j", (text) => {
  expect(() => parseAddress(text)).toThrow(/not an IPv4 address/);
});

test.each(["10.0.0.0", "10.0.0.0/33", "10.0.0.1/24", "10.0.0.0/", "/24", "10.0.0.0/2x"])("no network: %j", (text) => {
  expect(() => parseNetwork(text)).toThrow(/not an IPv4/);
});
