import type { SubstrateName } from "../spec/types.ts";
import { nspawnSubstrate } from "./nspawn/index.ts";
import { qemuSubstrate } from "./qemu/index.ts";
import type { Substrate } from "./types.ts";

/** All substrates. */
export const substrates = {
  qemu: qemuSubstrate,
  nspawn: nspawnSubstrate,
} satisfies Record<SubstrateName, Substrate> as Record<SubstrateName, Substrate>;
