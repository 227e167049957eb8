import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { renderSalt } from "../../shared/salt.ts";
import { fakeSpec } from "../../tests/fakes/spec.ts";
import { openKeyring, publicKeyOf } from "../vault/keyring.ts";
import { fixedVault } from "../vault/testing.ts";
import { clusterLayer, layerFiles } from "./layer.ts";
import { saltKeyNames, saltPublicKeys, saltSecrets } from "./salt.ts";

const vault = fixedVault();
const spec = fakeSpec({ features: ["agent", "base", "firewall", "kernel", "planes", "salt"] });
let directory: string;
let keys: Readonly<Record<string, string>>;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "kubedos-salt-"));
  ({ privateKeys: keys } = await openKeyring(join(directory, "lab.keyring"), vault, saltKeyNames(spec)));
});
afterAll(() => rmSync(directory, { recursive: true }));

test("every node's seed has its own key, hubs' the masters' too, and nobody's has another's", () => {
  const [hub, core] = ["hub-1", "core-1"].map((name) => saltSecrets(spec, keys, name));
  expect(Object.keys(hub!)).toEqual(["kubedos.salt.minion.pem", "kubedos.salt.master.pem"]);
  expect(Object.keys(core!)).toEqual(["kubedos.salt.minion.pem"]);
  expect(new Set(Object.values(keys)).size).toBe(4);
  const { minions, master } = saltPublicKeys(spec, keys)!;
  expect(publicKeyOf(core!["kubedos.salt.minion.pem"]!)).toBe(minions["core-1"]);
  expect(publicKeyOf(hub!["kubedos.salt.master.pem"]!)).toBe(master);
});

test("a raised generation asks for another key; without the feature there is none", () => {
  const raised = { ...spec, nodes: spec.nodes.map((node, i) => (i === 1 ? { ...node, generation: 2 } : node)) };
  expect(saltKeyNames(raised).filter((name) => !saltKeyNames(spec).includes(name))).toEqual(["salt-minion/core-1/2"]);
  expect(saltKeyNames(fakeSpec())).toEqual([]);
  expect([saltPublicKeys(fakeSpec(), {}), saltSecrets(fakeSpec(), {}, "hub-1")]).toEqual([undefined, {}]);
});

test("where nodes join, the foundry has the masters' key only, and minions wait until they are enrolled", () => {
  const platform = { ...spec.platform, salt: { enrollment: "join" as const } };
  const joining = { ...spec, platform };
  expect(saltKeyNames(joining)).toEqual(["salt-master/1"]);
  expect(Object.keys(saltSecrets(joining, keys, "hub-1"))).toEqual(["kubedos.salt.master.pem"]);
  expect(saltSecrets(joining, keys, "core-1")).toEqual({});
  const layer = clusterLayer(joining, vault, { openings: [], salt: saltPublicKeys(joining, keys) });
  expect(layer.salt?.enrollment).toBe("join");
  expect(layer.nodes.map(({ saltKey }) => saltKey)).toEqual(layer.nodes.map(() => undefined));
  const paths = renderSalt(layer, layer.nodes[1]!).map(({ path }) => path.replace("/run/kubedos/salt/", ""));
  expect(paths).toEqual(["minion.d/kubedos.conf", "keys/minion/minion_master.pub", "join"]);
});

test("the layer and what nodes render from it hold public keys only; each node sees its own part", () => {
  const layer = clusterLayer(spec, vault, { openings: [], salt: saltPublicKeys(spec, keys) });
  const rendered = Object.fromEntries(
    layer.nodes.map((node) => [
      node.name,
      Object.fromEntries(
        renderSalt(layer, node).map(({ path, content }) => [path.replace("/run/kubedos/salt/", ""), content]),
      ),
    ]),
  );
  expect(JSON.stringify([layerFiles(layer, vault), rendered])).not.toMatch(/PRIVATE KEY/);
  expect(Object.keys(rendered["core-1"]!)).toEqual([
    "minion.d/kubedos.conf",
    "keys/minion/minion_master.pub",
    "keys/minion/minion.pub",
    "enrolled",
  ]);
  expect(Object.keys(rendered["hub-1"]!).filter((path) => path.startsWith("keys/master/minions/"))).toEqual(
    layer.nodes.map(({ name }) => `keys/master/minions/${name}`),
  );
  expect(JSON.parse(rendered["core-1"]!["minion.d/kubedos.conf"]!)).toMatchObject({
    id: "core-1",
    master: ["10.101.0.1"],
    grains: { roles: ["core"], node_index: 2, planes: { wg3: { address: "10.103.0.2", purpose: "backend" } } },
  });
  expect(JSON.parse(rendered["hub-1"]!["master.d/kubedos.conf"]!)).toEqual({ interface: "10.101.0.1" });
});
