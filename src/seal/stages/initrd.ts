import type { Stage } from "../../assemble/engine.ts";
import { runScript, scriptVersion, type Tools } from "../../assemble/tools.ts";
import type { KernelFlavour } from "../../spec/types.ts";

/**
 * Kernel modules that the initrd may need before the root is there: block devices, the agent's port, verity, erofs and
 * overlayfs. Names that a flavour has built in or lacks are passed over.
 */
const modules = {
  cloud: [
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "virtio_scsi",
    "sd_mod",
    "nvme",
    "vmw_pvscsi",
    "hv_storvsc",
    "virtio_console",
    "dm-verity",
    "erofs",
    "overlay",
  ],
  generic: [
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "virtio_scsi",
    "sd_mod",
    "sr_mod",
    "nvme",
    "ahci",
    "usb_storage",
    "uas",
    "xhci_pci",
    "ehci_pci",
    "mmc_block",
    "sdhci_pci",
    "vmw_pvscsi",
    "mptspi",
    "mpt3sas",
    "megaraid_sas",
    "hv_storvsc",
    "virtio_console",
    "dm-verity",
    "erofs",
    "overlay",
  ],
} as const;

/** What reads a disk on a USB bus. */
const usbModules: ReadonlySet<string> = new Set(["usb_storage", "uas"]);

const initrdTools = ["/usr/sbin/dmsetup", "/usr/bin/signify-openbsd"];

/**
 * Kernel and base initrd, from the kernel's package alone. Without USB storage a USB disk holds neither root nor seed.
 * Passes on `uname`.
 */
export function initrdStage(
  tools: Tools,
  kernel: { sha256: string },
  { flavour, usbStorage }: { flavour: KernelFlavour; usbStorage: boolean },
  programs: { init: { sha256: string }; seed: { sha256: string } },
  suffix = "",
): Stage {
  const chosen = modules[flavour].filter((name) => usbStorage || !usbModules.has(name));
  const environment = { MODULES: chosen.join(" "), TOOLS: initrdTools.join(" ") };
  return {
    name: `initrd${suffix}`,
    version: scriptVersion(tools, "initrd.sh"),
    options: { epoch: tools.epoch, ...environment },
    inputs: { kernel, ...programs },
    outputs: ["vmlinuz", "initrd"],
    run: (work) => runScript(tools, work, "initrd.sh", [], { env: environment }),
  };
}

/** What the image writer needs besides: the medium, a keyboard, sticks, the firmware's variables, network cards' addresses. */
const writerModules = [
  ...modules.generic,
  "ata_piix",
  "ata_generic",
  "vmd",
  "aacraid",
  "smartpqi",
  "hpsa",
  "isofs",
  "vfat",
  "nls_cp437",
  "nls_ascii",
  "usbhid",
  "hid_generic",
  "efivarfs",
  "virtio_net",
  "vmxnet3",
  "e1000",
  "e1000e",
  "igb",
  "igc",
  "ixgbe",
  "i40e",
  "r8169",
  "tg3",
  "bnx2x",
  "mlx4_en",
  "mlx5_core",
];
const writerTools = ["/usr/bin/signify-openbsd", "/usr/bin/zstd", "/usr/bin/age", "/usr/bin/efibootmgr"];

/** Kernel and initrd of the image writer, whose parts are node/writer/. Passes on `uname`. */
export function writerInitrdStage(tools: Tools, kernel: { sha256: string }, init: { sha256: string }): Stage {
  const environment = { MODULES: writerModules.join(" "), TOOLS: writerTools.join(" ") };
  return {
    name: "writer-initrd",
    version: scriptVersion(tools, "initrd.sh"),
    options: { epoch: tools.epoch, ...environment },
    inputs: { kernel, init },
    outputs: ["vmlinuz", "initrd"],
    run: (work) => runScript(tools, work, "initrd.sh", [], { env: environment }),
  };
}
