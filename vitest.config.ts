import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

// Machines, networks, boots and servers. Each file has directories, networks and machines of its own; one more at a time
// than there are cores in the least host, because clusters of containers wait for time limits most of the time.
const machine = ["aws", "boot", "substrates", "faults"].map((area) => `tests/${area}/**/*.test.ts`);
// Debian's installer, from power-on to a node: half an hour and more without KVM, two machines at once.
const installed = ["tests/netinst/**/*.test.ts"];
// Real tools, key derivation made to be slow, thousands of cases: side by side, but not in `make check`.
const slow = "**/*.slow.test.ts";
const beside = {
  include: ["src/**/*.test.ts", "shared/**/*.test.ts", "node/**/*.test.ts", "tests/**/*.test.ts"],
  setupFiles: ["tests/setup.ts"],
  testTimeout: 60_000,
  hookTimeout: 60_000,
};

export default defineConfig({
  test: {
    // Many tests wait for tools and time limits: more workers than cores. The default is one less than cores.
    maxWorkers: availableParallelism() + 1,
    projects: [
      {
        test: { ...beside, name: "unit", exclude: [...machine, ...installed, slow] },
      },
      {
        test: {
          ...beside,
          name: "slow",
          include: beside.include.map((files) => files.replace("*.test.ts", "*.slow.test.ts")),
        },
      },
      {
        test: {
          name: "machine",
          include: machine,
          maxWorkers: 3,
          testTimeout: 900_000, // with the wait for a free slot for a machine
          hookTimeout: 600_000,
        },
      },
      {
        test: {
          name: "netinst", // on demand: `make test-netinst`
          include: installed,
          fileParallelism: false,
          testTimeout: 2 * 3_600_000,
          hookTimeout: 600_000,
        },
      },
    ],
  },
});
