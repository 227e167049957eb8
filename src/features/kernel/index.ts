import { featureNeeds } from "../../spec/feature-needs.ts";
import type { Feature } from "../types.ts";

/** Debian's signed-off kernel: the cloud flavour, or the generic one where there is real hardware. */
export const feature = {
  name: "kernel",
  summary: "Debian's kernel (cloud: virtual machines; generic: hardware too)",
  needs: featureNeeds.kernel,
  packages: (spec) => [spec.platform.kernel === "cloud" ? "linux-image-cloud-amd64" : "linux-image-amd64"],
  files: () => [],
  units: { enable: [], mask: [] },
  sysctls: {},
  // The agent's ports and the seed disk must be there before udev has gone through everything.
  modules: ["virtio_console"],
  openings: [],
  gates: ["sealed"],
} satisfies Feature;
