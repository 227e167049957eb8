import { createHash } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import { nodePeers } from "../../shared/render/peers.ts";
import { renderNode } from "../../shared/render/render.ts";
import { fakeSpec } from "../../tests/fakes/spec.ts";
import type { FeatureOpening } from "../features/types.ts";
import type { Spec } from "../spec/types.ts";
import { deriveSsh, deriveWireguard, operatorOwner } from "../vault/derive.ts";
import { signifyPublicKeyBase64 } from "../vault/signify.ts";
import { fixedVault } from "../vault/testing.ts";
import { operatorAddress, operatorUnderlay, planeAddress, wireguardEndpoint } from "./addresses.ts";
import { operatorAccess } from "./keys.ts";
import { clusterLayer, layerFiles } from "./layer.ts";
import { buildSeed } from "./seed.ts";

const vault = fixedVault();
const openings: FeatureOpening[] = [
  { service: "ssh", plane: "control", protocol: "tcp", port: 22, from: ["hub", "operators"] },
  { service: "node-metrics", plane: "observability", protocol: "tcp", port: 9100 },
];

/** The fake spec with an operator and as many nodes as wanted. */
function specOf(nodes = 3, change: Partial<Spec> = {}): Spec {
  const spec = fakeSpec();
  const template = spec.nodes[2]!;
  spec.planes = spec.planes.map((plane, i) => ({ ...plane, cidr: `10.${101 + i}.0.0/16`, topology: "hub" }));
  spec.underlay.cidr = "10.100.0.0/16";
  spec.trust.operators = [{ name: "admin", slot: 1 }];
  for (let index = spec.nodes.length + 1; index <= nodes; index++) {
    const underlay = `10.100.${(index + 10) >> 8}.${(index + 10) & 255}`;
    spec.nodes.push({ ...template, name: `worker-${index}`, index, underlay });
  }
  return { ...spec, ...change };
}

function content(layer: ClusterLayer, path: string): string {
  return layerFiles(layer, vault).find((file) => file.path === path)!.content;
}

test("the layer of a spec never changes: nodes check what they get against it", () => {
  const layer = clusterLayer(specOf(), vault, { openings });
  expect(layerFiles(layer, vault)).toMatchSnapshot();
});

test("the cluster id is of the foundry's key and the cluster's name", () => {
  const expected = createHash("sha256").update(vault.signing.publicKey).update("\0example").digest("hex").slice(0, 32);
  expect(clusterLayer(specOf(), vault, { openings }).clusterId).toBe(expected);
  expect(clusterLayer(specOf(), fixedVault(2), { openings }).clusterId).not.toBe(expected);
  const other = specOf(3, { metadata: { name: "other" } });
  expect(clusterLayer(other, vault, { openings }).clusterId).not.toBe(expected);
});

test("the bytes do not depend on the order in which features and openings come", () => {
  const spec = specOf();
  const shuffled = specOf();
  shuffled.platform.features.reverse();
  const reordered = openings.toReversed().map(({ port, ...rest }) => ({ port, ...rest }));
  const text = (layer: ClusterLayer) => content(layer, "cluster.json");
  expect(text(clusterLayer(shuffled, vault, { openings: [...reordered, ...openings] }))).toBe(
    text(clusterLayer(spec, vault, { openings })),
  );
});

test("cluster.json reads back as the layer", () => {
  const layer = clusterLayer(specOf(), vault, { openings, sysctls: { "vm.swappiness": "1" } });
  expect(JSON.parse(content(layer, "cluster.json"))).toEqual(JSON.parse(JSON.stringify(layer)));
});

test("features' openings are made on every plane of their purpose", () => {
  const spec = specOf();
  spec.planes[2]!.purpose = "observability";
  const layer = clusterLayer(spec, vault, { openings });
  expect(layer.openings.filter((opening) => opening.port === 9100).map((opening) => opening.plane)).toEqual([
    "wg2",
    "wg3",
  ]);
});

test("an opening on a plane that is not there is an error, not a silence", () => {
  const spec = specOf();
  spec.planes = spec.planes.filter((plane) => plane.purpose !== "observability");
  expect(() => clusterLayer(spec, vault, { openings })).toThrow(/node-metrics is served on the observability plane/);
  const policy = specOf(3, {
    policy: { allowDestroy: false, openings: [{ service: "web", plane: "wg9", protocol: "tcp", port: 80 }] },
  });
  expect(() => clusterLayer(policy, vault, { openings })).toThrow(/web on the unknown plane wg9/);
});

test("a vault of another foundry than the spec pins is refused", () => {
  const spec = specOf();
  spec.trust.foundryKey = signifyPublicKeyBase64(vault.signing.publicKey);
  expect(clusterLayer(spec, vault, { openings }).cluster).toBe("example");
  expect(() => clusterLayer(spec, fixedVault(2), { openings })).toThrow(/belongs to another foundry/);
});

test("raising one node's generation changes that node's keys and no other's", () => {
  const before = clusterLayer(specOf(), vault, { openings });
  const spec = specOf();
  spec.nodes[1]!.generation = 2;
  const after = clusterLayer(spec, vault, { openings });
  expect(after.nodes[1]!.keys.filter((key) => before.nodes[1]!.keys.includes(key))).toEqual([]);
  expect(after.nodes[1]!.hostKey).not.toBe(before.nodes[1]!.hostKey);
  expect([after.nodes[0], after.nodes[2], after.operators]).toEqual([
    before.nodes[0],
    before.nodes[2],
    before.operators,
  ]);
});

test("every key and address is one node's alone, and the public keys fit the seeds", () => {
  const spec = specOf(30);
  const layer = clusterLayer(spec, vault, { openings });
  const keys = layer.nodes.flatMap((node) => [...node.keys, node.hostKey]);
  expect(new Set(keys).size).toBe(30 * 4);
  for (const plane of layer.planes) {
    const addresses = layer.nodes.map((node) => planeAddress(plane, node.index));
    const all = [...addresses, operatorAddress(plane, 1), operatorAddress(plane, 2)];
    expect(new Set(all).size).toBe(32);
  }
  const { credentials } = buildSeed(spec, vault, "worker-30");
  const owner = { cluster: "example", name: "worker-30", generation: 1 };
  expect(Buffer.from(credentials["network.wireguard.private.wg2"]!).toString()).toBe(
    deriveWireguard(vault.foundrySecret, owner, "wg2").privateKey,
  );
});

test("no private key is in the layer, nor in what a node renders from it", () => {
  fc.assert(
    fc.property(fc.integer({ min: 3, max: 12 }), fc.integer({ min: 1, max: 200 }), (nodes, number) => {
      const secrets = fixedVault(number);
      const spec = specOf(nodes);
      const layer = clusterLayer(spec, secrets, { openings });
      const files = [
        ...layerFiles(layer, secrets),
        ...renderNode(layer, "hub-1", { userspaceWireguard: false }),
        ...renderNode(layer, "hub-1", { userspaceWireguard: true }),
      ];
      const text = files.map((file) => file.content).join("\n");
      const owners = [...spec.nodes.map((node) => node.name), operatorOwner("admin")];
      const hidden = owners.flatMap((name) => {
        const owner = { cluster: "example", name, generation: 1 };
        const wireguard = spec.planes.map((plane) =>
          Buffer.from(deriveWireguard(secrets.foundrySecret, owner, plane.name).privateKey, "base64"),
        );
        return [...wireguard, Buffer.from(deriveSsh(secrets.foundrySecret, owner).seed)];
      });
      for (const secret of [...hidden, Buffer.from(secrets.foundrySecret), Buffer.from(secrets.signing.seed)]) {
        expect(text).not.toContain(secret.toString("base64").slice(0, 20));
        expect(text).not.toContain(secret.toString("hex").slice(0, 20));
      }
      expect(text).not.toMatch(/PRIVATE KEY/);
    }),
    { numRuns: 10 },
  );
});

test("an operator's keys are those that the hubs expect", () => {
  const spec = specOf();
  const layer = clusterLayer(spec, vault, { openings });
  const access = operatorAccess(spec, vault, "admin");
  const peer = nodePeers(layer, layer.planes[0]!, layer.nodes[0]!).at(-1);
  expect(peer).toMatchObject({ publicKey: access.wireguard.publicKey, allowedIps: [`${access.address}/32`] });
  expect([access.address, access.underlay]).toEqual(["10.101.255.254", "10.100.255.254"]);
  expect(layer.operators[0]!.sshKey).toBe(access.sshPublicKey);
  expect(() => operatorAccess(spec, vault, "nobody")).toThrow(/no operator "nobody"/);
});

test("10,000 nodes: a few MB", () => {
  const spec = specOf(10_000);
  const layer = clusterLayer(spec, vault, { openings });
  const text = content(layer, "cluster.json");
  expect(text.length).toBeLessThan(5_000_000);
}, 120_000);

test("addresses at the ends of a range", () => {
  const plane = { name: "wg1", cidr: "10.0.0.0/29" };
  expect([planeAddress(plane, 1), planeAddress(plane, 6), operatorAddress(plane, 1)]).toEqual([
    "10.0.0.1",
    "10.0.0.6",
    "10.0.0.6",
  ]);
  for (const index of [0, 7, 8, -1, 1.5]) expect(() => planeAddress(plane, index)).toThrow(/has no room/);
  for (const slot of [0, 7, -1]) expect(() => operatorAddress(plane, slot)).toThrow(/has no room/);
  expect(operatorUnderlay(specOf(), 2)).toBe("10.100.255.253");
  expect(wireguardEndpoint({ underlay: "10.0.0.1" }, { port: 7 })).toBe("10.0.0.1:7");
});
