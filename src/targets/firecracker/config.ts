import { createHash } from "node:crypto";
import type { Spec, SpecNode } from "../../spec/types.ts";

/** Names of the files in a machine's directory; its configuration names them relative to it. */
export const machineFiles = {
  kernel: "vmlinux",
  initrd: "initrd",
  disk: "disk.raw",
  seed: "seed.img",
  vsock: "vsock.sock",
} as const;

/** Words of Firecracker's machine: no PCI, one serial port, a keyboard controller that only resets. */
const machineWords = ["reboot=k", "pci=off", "8250.nr_uarts=1", "i8042.noaux", "i8042.nomux", "i8042.dumbkbd"];

/** Context ids 0 to 2 of vsock have a meaning of their own (vsock(7)). */
const firstContextId = 3;

/** Name of a node's tap device on the host; interface names hold 15 characters. */
export function tapName(node: Pick<SpecNode, "index">): string {
  return `kdfc${node.index}`;
}

/** A stable, locally administered address of a node's network card. */
export function guestAddress(cluster: string, node: string): string {
  const digits = createHash("sha256").update(`firecracker/${cluster}/${node}`).digest("hex");
  return `06:00:${digits.slice(0, 8).replace(/..(?!$)/g, "$&:")}`;
}

/**
 * The kernel's words: those of the sealed command line with the machine's before its `--`. Firecracker puts its own
 * there as well; what the initrd reads comes last, so that nothing can follow it.
 */
export function bootArguments(sealed: string): string {
  const [kernel = "", ...init] = sealed.trim().split(" -- ");
  return [`${kernel} ${machineWords.join(" ")}`, ...init].join(" -- ");
}

/**
 * One node's machine, as `firecracker --config-file` takes it.
 *
 * @see https://github.com/firecracker-microvm/firecracker/blob/main/src/firecracker/swagger/firecracker.yaml
 */
export function machineConfig(spec: Spec, node: SpecNode, sealedCommandLine: string): Record<string, unknown> {
  return {
    "boot-source": {
      kernel_image_path: machineFiles.kernel,
      initrd_path: machineFiles.initrd,
      boot_args: bootArguments(sealedCommandLine),
    },
    // None is the root device: Firecracker would tell the kernel, and the initrd finds root and seed by itself.
    drives: [drive("disk", machineFiles.disk, false), drive("seed", machineFiles.seed, true)],
    "machine-config": { vcpu_count: node.cpus, mem_size_mib: node.memoryMiB, smt: false },
    "network-interfaces": [
      { iface_id: "eth0", host_dev_name: tapName(node), guest_mac: guestAddress(spec.metadata.name, node.name) },
    ],
    vsock: { guest_cid: firstContextId + node.index, uds_path: machineFiles.vsock },
    entropy: {},
  };
}

function drive(id: string, path: string, readOnly: boolean): Record<string, unknown> {
  return { drive_id: id, path_on_host: path, is_root_device: false, is_read_only: readOnly, cache_type: "Writeback" };
}
