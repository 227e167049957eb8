import type { KernelFlavour, Spec, TargetName } from "./types.ts";

/** Targets for real machines, which the cloud kernel has no drivers for. */
const metalTargets: readonly TargetName[] = ["metal", "iso", "netboot", "netinst"];

interface WithKernel {
  platform: Pick<Spec["platform"], "kernel">;
}

/** The kernel that a target of this spec boots. */
export function flavourOf(target: TargetName, { platform }: WithKernel): KernelFlavour {
  return metalTargets.includes(target) ? "generic" : platform.kernel;
}

/** Every kernel that the spec's targets need; the platform's own first. */
export function flavoursOf(spec: WithKernel & Pick<Spec, "targets">): KernelFlavour[] {
  return [...new Set([spec.platform.kernel, ...spec.targets.map((target) => flavourOf(target, spec))])];
}
