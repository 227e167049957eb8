import fc from "fast-check";

/** What a person could write, as plain data. Only for tests. */
export type WrittenDocument = Record<string, unknown>;

const label = fc.stringMatching(/^[a-z]([a-z0-9-]{0,10}[a-z0-9])?$/).filter((name) => name !== "localhost");

const machine = fc.record(
  {
    cpus: fc.integer({ min: 1, max: 256 }),
    memoryMiB: fc.integer({ min: 384, max: 65_536 }),
    diskGiB: fc.integer({ min: 1, max: 1000 }),
    generation: fc.integer({ min: 1, max: 100 }),
  },
  { requiredKeys: [] },
);

/** Valid specs: up to 12 listed nodes and 3 pools, up to 6 planes, any optional field written or left out. */
export const validDocument: fc.Arbitrary<WrittenDocument> = fc
  .record({
    name: label,
    nodes: fc.uniqueArray(fc.record({ name: label, machine, indexed: fc.boolean() }), {
      minLength: 1,
      maxLength: 12,
      selector: (node) => node.name,
    }),
    pools: fc.uniqueArray(fc.record({ name: label, machine, count: fc.integer({ min: 0, max: 20 }) }), {
      maxLength: 3,
      selector: (pool) => pool.name,
    }),
    cores: fc.constantFrom(0, 1, 3, 5),
    planes: fc.integer({ min: 1, max: 6 }),
    topology: fc.constantFrom("mesh", "hub"),
    ported: fc.boolean(),
    mtu: fc.integer({ min: 1360, max: 9216 }),
    substrate: fc.constantFrom("qemu", "nspawn"),
    targets: fc.subarray(["raw", "qcow2"], { minLength: 1 }),
    secureBoot: fc.boolean(),
    replace: fc.boolean(),
    packages: fc.uniqueArray(fc.stringMatching(/^[a-z0-9][a-z0-9+.-]{1,10}$/), { maxLength: 4 }),
    openings: fc.uniqueArray(fc.integer({ min: 10_000, max: 50_000 }), { maxLength: 3 }),
  })
  .filter(({ nodes, pools }) => {
    // NAME-1 of a pool and of the core pool must not be the name of a listed node.
    const listed = nodes.map((node) => node.name);
    const pooled = [...pools.map((pool) => pool.name), "core"];
    return (
      !listed.some((name) => pooled.some((pool) => name.startsWith(`${pool}-`)) || name === "operator") &&
      !pools.some((pool) => pool.name === "core")
    );
  })
  .map((parts) => ({
    apiVersion: "kubedos/v1",
    metadata: { name: parts.name },
    platform: { packages: parts.packages },
    underlay: { cidr: "10.0.0.0/16", mtu: parts.mtu },
    planes: Array.from({ length: parts.planes }, (_, i) => ({
      name: `wg${i + 1}`,
      purpose: ["control", "observability", "backend"][i] ?? "custom",
      cidr: `10.${i + 1}.0.0/16`,
      topology: parts.topology,
      ...(parts.ported ? { port: 40_000 + i } : {}),
    })),
    nodes: parts.nodes.map((node, i) => ({
      name: node.name,
      role: i === 0 ? "hub" : "worker",
      ...(node.indexed ? { index: 500 + i, underlay: `10.0.200.${i + 1}` } : {}),
      ...node.machine,
    })),
    pools: [
      { name: "core", role: "core", count: parts.cores },
      ...parts.pools.map((pool) => ({ name: pool.name, count: pool.count, ...pool.machine })),
    ],
    substrate: { name: parts.substrate },
    targets: parts.targets,
    trust: { secureBoot: parts.secureBoot },
    policy: {
      ...(parts.replace ? { onChange: "replace", allowDestroy: true } : {}),
      openings: parts.openings.map((port) => ({ service: `s${port}`, plane: "wg1", port })),
    },
  }));
