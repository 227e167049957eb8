import { join } from "node:path";
import type { Stage } from "../assemble/engine.ts";
import { runScript, scriptVersion, type Tools } from "../assemble/tools.ts";
import type { TargetName } from "../spec/types.ts";
import { amiStage } from "./ami.ts";
import { gceStage, ovaStage, vhdStage, vhdxStage, vmdkStage } from "./containers.ts";
import { isoStage } from "./iso.ts";
import { netbootStage } from "./netboot.ts";
import { netinstStage } from "./netinst/index.ts";
import { firecrackerStage } from "./firecracker/index.ts";
import { packerStage } from "./packer/index.ts";
import { writeRawImage } from "./raw.ts";
import { terraformStage } from "./terraform/index.ts";
import type { SealedParts, Target } from "./types.ts";

/** The raw image: what every other target is made from. */
export function rawStage(root: Stage, esp: Stage, suffix = ""): Stage {
  return {
    name: `raw${suffix}`,
    version: "2",
    options: {},
    inputs: {
      esp: { stage: esp, output: "esp" },
      root: { stage: root, output: "root" },
      verity: { stage: root, output: "verity" },
    },
    outputs: ["image"],
    async run(work) {
      const parts = { esp: work.inputs["esp"]!, root: work.inputs["root"]!, verity: work.inputs["verity"]! };
      return writeRawImage(join(work.out, "image"), parts, String(work.meta[root.name]!["roothash"]), work.signal);
    },
  };
}

function qcow2Stage(tools: Tools, raw: Stage): Stage {
  return {
    name: "qcow2",
    version: scriptVersion(tools, "qcow2.sh"),
    options: {},
    inputs: { raw: { stage: raw, output: "image" } },
    outputs: ["image"],
    async run(work) {
      await runScript(tools, work, "qcow2.sh");
    },
  };
}

/** One stage of a kind for all targets that start from it. */
function sharedStage(make: (tools: Tools, raw: Stage) => Stage): (parts: Pick<SealedParts, "tools" | "raw">) => Stage {
  const ofRaw = new WeakMap<Stage, Stage>();
  return ({ tools, raw }) => {
    const stage = ofRaw.get(raw) ?? make(tools, raw);
    ofRaw.set(raw, stage);
    return stage;
  };
}

const sharedVmdk = sharedStage(vmdkStage);
const sharedQcow2 = sharedStage(qcow2Stage);

const firmwareKeys = "UEFI with the foundry's Secure Boot keys";

/** All output formats. */
export const targets = {
  raw: {
    name: "raw",
    summary: "disk image, byte for byte: dd, Proxmox import, any hypervisor",
    needs: firmwareKeys,
    extension: "raw",
    stage: ({ raw }) => raw,
  },
  metal: {
    name: "metal",
    summary: "the raw image with the generic kernel, for real machines: dd, `kubedos write`",
    needs: firmwareKeys,
    extension: "metal.raw",
    stage: ({ raw }) => raw,
  },
  qcow2: {
    name: "qcow2",
    summary: "QEMU/KVM, libvirt, Proxmox, OpenStack",
    needs: firmwareKeys,
    extension: "qcow2",
    stage: sharedQcow2,
  },
  vmdk: {
    name: "vmdk",
    summary: "streamOptimized disk: VMware content libraries, VirtualBox",
    needs: firmwareKeys,
    extension: "vmdk",
    stage: sharedVmdk,
  },
  ova: {
    name: "ova",
    summary: "appliance with UEFI, Secure Boot, TPM, PVSCSI and vmxnet3: vSphere 7 and later",
    needs: `${firmwareKeys}; a key provider for the TPM`,
    extension: "ova",
    stage: (parts) => ovaStage(parts.tools, sharedVmdk(parts)),
  },
  vhd: {
    name: "vhd",
    summary: "fixed VHD of whole MiB: Azure (generation 2)",
    needs: "upload as a page blob; the foundry's keys in the gallery image's UEFI settings",
    extension: "vhd",
    stage: ({ tools, raw }) => vhdStage(tools, raw),
  },
  vhdx: {
    name: "vhdx",
    summary: "dynamic VHDX: Hyper-V (generation 2)",
    needs: "Secure Boot off: Hyper-V takes no keys of one's own",
    extension: "vhdx",
    stage: ({ raw }) => vhdxStage(raw),
  },
  gce: {
    name: "gce",
    summary: "disk.raw in a tar.gz: Google Compute Engine",
    needs: "upload to Cloud Storage; the foundry's keys at `gcloud compute images create`",
    extension: "gce.tar.gz",
    stage: ({ tools, raw }) => gceStage(tools, raw),
  },
  ami: {
    name: "ami",
    summary: "plan of an Amazon machine image: `kubedos ami push` uploads and registers it",
    needs: "an AWS account; underlay.mode: dhcp; instance types with UEFI and NitroTPM",
    extension: "ami.json",
    stage: ({ raw, firmware }) => amiStage(raw, firmware),
  },
  iso: {
    name: "iso",
    summary: "installation medium, CD or stick: writes the sealed image to a machine's disk and checks it",
    needs: `${firmwareKeys}, or Secure Boot off; the node's seed`,
    extension: "iso",
    stage: (parts) => isoStage(parts.tools, { ...parts, medium: parts.medium() }),
  },
  netboot: {
    name: "netboot",
    summary: "what machines start from over the network: `kubedos serve-netboot` installs a rack from it",
    needs: `${firmwareKeys}, or Secure Boot off; \`hardware.mac\` of the nodes`,
    extension: "netboot.tar",
    stage: (parts) => netbootStage(parts.tools, { ...parts, medium: parts.medium() }),
  },
  netinst: {
    name: "netinst",
    summary:
      "Debian's installer, offline and without questions: installs the platform's packages file by file, unsealed",
    needs: "BIOS or UEFI (also with Microsoft's keys); platform.state: plain; a disk of 4 GiB; the node's seed",
    extension: "netinst.iso",
    stage: (parts) => netinstStage(parts.tools, parts.netinst()),
  },
  firecracker: {
    name: "firecracker",
    summary: "vmlinux, initrd, a configuration a node and a start script, for Firecracker microVMs",
    needs: "the target raw beside it; Firecracker 1.8 or later; platform.state: plain or volatile (it has no TPM)",
    extension: "firecracker.tar",
    stage: ({ tools, spec, uki, raw }) => firecrackerStage(tools, spec, { uki, raw }),
  },
  packer: {
    name: "packer",
    summary: "Packer template (HCL2) whose qemu builder proves and copies the sealed image",
    needs: "the target qcow2 beside it; Packer 1.6.6 or later with the qemu builder; OVMF",
    extension: "packer.tar",
    stage: ({ tools, spec, raw }) => packerStage(sharedQcow2({ tools, raw }), spec.metadata.name, tools.epoch),
  },
  terraform: {
    name: "terraform",
    summary: "Terraform modules (HCL and JSON) that place image and seeds on Proxmox VE or libvirt",
    needs: "the target qcow2 beside it; the nodes' seeds (`kubedos seed`); Terraform 1.5 or OpenTofu",
    extension: "terraform.tar",
    stage: ({ tools, spec, raw }) => terraformStage(sharedQcow2({ tools, raw }), spec, tools.epoch),
  },
} satisfies Record<TargetName, Target> as Record<TargetName, Target>;
