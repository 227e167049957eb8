import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { loadSpec, parseSpec } from "../load.ts";

const file = join(import.meta.dirname, "../../../examples/services.yaml");
const example = readFileSync(file, "utf8");

/** `line:column message` of each problem of the example with some lines changed. */
function problems(...changes: [from: string | RegExp, to: string][]): string[] {
  let text = example;
  for (const [from, to] of changes) {
    expect(text).toMatch(from);
    text = text.replace(from, to);
  }
  return parseSpec(text, "x.yaml").problems.map(({ message, at }) => `${at?.line}:${at?.col} ${message}`);
}

test("the example passes, and is asked for the gates of all its features", async () => {
  const spec = await loadSpec(file);
  expect(spec.acceptance.gates).toEqual([
    "fabric",
    "certificates",
    "enrollment",
    "firewall",
    "convergence",
    "isolation",
    "security",
    "etcd",
    "containerd",
    "vip",
    "targets",
    "logs",
  ]);
  expect(spec.platform.edge).toEqual({
    vip: "10.103.0.200",
    services: [{ name: "etcd", port: 2379, role: "core", targetPort: 2379 }],
  });
});

test("an even quorum", () => {
  expect(problems([/.*name: core-3.*\n/, ""])).toEqual([expect.stringMatching(/^53:5 2 nodes have the role `core`/)]);
});

test.each<[string, [string | RegExp, string][], RegExp]>([
  [
    "etcd without members",
    [
      [/role: core,/g, "role: worker,"],
      ["role: core }", "role: hub }"],
    ],
    /^13:5 feature `etcd` runs on/,
  ],
  ["no virtual address", [[/ {2}edge:\n(?: {4}.*\n)+/, ""]], /^13:5 feature `edge` needs `platform.edge`/],
  ["an address that nobody wants", [["    - edge\n", ""]], /^29:3 `platform.edge` is for the feature `edge`/],
  ["one holder", [["role: edge, index: 6", "role: worker, index: 6"]], /^30:3 a virtual address moves between/],
  ["not an address", [["vip: 10.103.0.200", "vip: ten"]], /^31:10 the virtual address "ten" is not an IPv4 address/],
  ["on no plane", [["10.103.0.200\n", "10.9.0.200\n"]], /^31:10 the virtual address 10\.9\.0\.200 is on no plane/],
  [
    "a node that balances what it serves",
    [
      ["role: core, index: 4", "role: worker, index: 4"],
      ["role: edge, index: 5", "roles: [core, edge], index: 5"],
    ],
    /^33:\d+ `platform.edge.services\[0\]`: on node `edge-1` 2379\/tcp belongs to a service of its other roles/,
  ],
  [
    "a node's address",
    [["vip: 10.103.0.200", "vip: 10.103.0.3"]],
    /^31:10 .* is also the address of node `core-2` on wg3/,
  ],
  ["an operator's address", [["vip: 10.103.0.200", "vip: 10.101.0.254"]], /^31:10 .* address of operator `operator`/],
  ["no service behind it", [[/services:\n.*\n/, "services: []\n"]], /^32:15 /],
  [
    "a port of the system",
    [
      ["port: 2379", "port: 22"],
      ["vip: 10.103", "vip: 10.101"],
    ],
    /^33:29 .* 22\/tcp on that plane belongs to `ssh`/,
  ],
  [
    "a role that nobody has",
    [["role: core }", "role: worker }"]],
    /^33:41 .* nodes of role `worker`, and there are none/,
  ],
  [
    "USB storage off without what turns it off",
    [
      ["    - security\n", ""],
      ["  edge:\n", "  security: { usbStorage: false }\n  edge:\n"],
    ],
    /^\d+:27 .* is for the feature `security`, which is not chosen/,
  ],
  [
    "a gate of a feature that is not chosen",
    [
      ["    - etcd\n", ""],
      [/$/, "acceptance: { gates: [etcd] }\n"],
    ],
    /^\d+:23 the gate `etcd` proves feature `etcd`/,
  ],
])("%s", (_name, changes, says) => {
  expect(problems(...changes)).toEqual([expect.stringMatching(says)]);
});

test("two services of one name and port", () => {
  const again = "      - { name: etcd, port: 2379, role: core }\n";
  expect(problems([again, again + again])).toEqual([
    expect.stringMatching(/^34:17 .* has the name `etcd`, which `services\[0\]` has already/),
    expect.stringMatching(/^34:29 .* has the port 2379, which `services\[0\]` has already/),
  ]);
});
