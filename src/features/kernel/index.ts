import { featureNeeds } from "../../spec/feature-needs.ts";
import type { Feature } from "../types.ts";

const kernelPackages = { cloud: "linux-image-cloud-amd64", generic: "linux-image-amd64" } as const;

/** Debian's signed-off kernel: the cloud flavour, or the generic one where there is real hardware. */
export const feature = {
  name: "kernel",
  summary: "Debian's kernel (cloud: virtual machines; generic: hardware too)",
  needs: featureNeeds.kernel,
  // Two where targets differ: each image gets its own (src/lifecycle/images.ts).
  packages: (spec) => spec.platform.kernels.map((flavour) => kernelPackages[flavour]),
  files: () => [],
  units: { enable: [], mask: [] },
  sysctls: {},
  // The agent's ports and the seed disk must be there before udev has gone through everything.
  modules: ["virtio_console"],
  openings: [],
  gates: ["sealed"],
} satisfies Feature;
