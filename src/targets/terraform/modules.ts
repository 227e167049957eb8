import type { Spec } from "../../spec/types.ts";
import { block, expression, keyword, type Block, type Body, type Value } from "../hcl.ts";

/** The image that the modules place. */
export interface TerraformImage {
  /** File beside the archive's folder. */
  file: string;
  sha256: string;
}

function variable(name: string, type: string, description: string, initial?: Value): Block {
  return block("variable", [name], {
    type: keyword(type),
    description,
    ...(initial === undefined ? {} : { default: initial }),
  });
}

function settings(name: string, source: string, version: string): Block {
  return block("terraform", [], {
    attributes: { required_version: ">= 1.5" },
    blocks: [block("required_providers", [], { [name]: { source, version } })],
  });
}

/** What both modules know of the cluster. */
function cluster({ metadata, nodes }: Spec, { file, sha256 }: TerraformImage): Block {
  return block("locals", [], {
    cluster: metadata.name,
    image: expression(`var.image != "" ? var.image : "\${path.module}/../../${file}"`),
    image_sha256: sha256,
    nodes: Object.fromEntries(
      nodes.map(({ name, cpus, memoryMiB, diskGiB }) => [
        name,
        { cpus, memory_mib: memoryMiB, disk_gib: diskGiB } satisfies Value,
      ]),
    ),
  });
}

const common = (file: string) => [
  variable("seeds", "string", "Directory with NODE.seed of every node: `kubedos seed SPEC --all --out seeds`."),
  variable("image", "string", `The sealed image; empty: ${file} beside the unpacked folder.`, ""),
  variable("bridge", "string", "Bridge of the hypervisor in the cluster's underlay network.", "vmbr0"),
];

const eachNode = { for_each: expression("local.nodes") };

/**
 * Proxmox VE, by the provider bpg/proxmox: image and seeds go into a storage with content type `import`, each node is a
 * machine with UEFI, TPM 2.0, its own disk and its seed's.
 */
export function proxmoxModule(spec: Spec, image: TerraformImage): Body {
  const placed = (name: string, more: Record<string, Value>, file: Record<string, Value>) =>
    block("resource", ["proxmox_virtual_environment_file", name], {
      attributes: {
        ...more,
        content_type: "import",
        datastore_id: expression("var.import_storage"),
        node_name: expression("var.proxmox_node"),
      },
      blocks: [block("source_file", [], file)],
    });
  return {
    blocks: [
      settings("proxmox", "bpg/proxmox", ">= 0.80.0"),
      variable("proxmox_node", "string", "Node of the Proxmox cluster that runs the machines."),
      variable("import_storage", "string", "Storage that takes files of the content type `import`.", "local"),
      variable("storage", "string", "Storage of the machines' disks.", "local-lvm"),
      variable("first_vm_id", "number", "The machines have the ids from here on, in the order of their names.", 9000),
      ...common(image.file),
      cluster(spec, image),
      placed(
        "image",
        {},
        {
          path: expression("local.image"),
          checksum: expression("local.image_sha256"),
          // Another image is another file: machines that run keep theirs.
          file_name: "kubedos-${local.cluster}-${substr(local.image_sha256, 0, 12)}.qcow2",
        },
      ),
      placed("seed", eachNode, {
        path: "${var.seeds}/${each.key}.seed",
        file_name: "kubedos-${local.cluster}-${each.key}-seed.raw",
      }),
      block("resource", ["proxmox_virtual_environment_vm", "node"], {
        attributes: {
          ...eachNode,
          name: expression("each.key"),
          description: "Node ${each.key} of the kubedos cluster ${local.cluster}",
          tags: expression(`sort(["kubedos", local.cluster])`),
          node_name: expression("var.proxmox_node"),
          vm_id: expression("var.first_vm_id + index(keys(local.nodes), each.key)"),
          machine: "q35",
          bios: "ovmf",
          scsi_hardware: "virtio-scsi-single",
          on_boot: true,
          boot_order: ["scsi0"],
        },
        blocks: [
          block("cpu", [], { cores: expression("each.value.cpus"), type: "x86-64-v2-AES" }),
          block("memory", [], { dedicated: expression("each.value.memory_mib") }),
          block("efi_disk", [], { datastore_id: expression("var.storage"), type: "4m", pre_enrolled_keys: false }),
          block("tpm_state", [], { datastore_id: expression("var.storage"), version: "v2.0" }),
          block("disk", [], {
            datastore_id: expression("var.storage"),
            interface: "scsi0",
            import_from: expression("proxmox_virtual_environment_file.image.id"),
            size: expression("each.value.disk_gib"),
            discard: "on",
          }),
          block("disk", [], {
            datastore_id: expression("var.storage"),
            interface: "scsi1",
            import_from: expression("proxmox_virtual_environment_file.seed[each.key].id"),
            size: 1,
          }),
          block("network_device", [], { bridge: expression("var.bridge"), model: "virtio" }),
          block("operating_system", [], { type: "l26" }),
          block("serial_device", [], {}),
        ],
      }),
      block("output", ["machines"], {
        description: "Id of each node's machine.",
        value: expression("{ for name, machine in proxmox_virtual_environment_vm.node : name => machine.vm_id }"),
      }),
    ],
  };
}

/** libvirt, by the provider dmacvicar/libvirt: image and seeds are volumes, each node is a domain with UEFI and TPM 2.0. */
export function libvirtModule(spec: Spec, image: TerraformImage): Body {
  const pool = expression("var.pool");
  return {
    blocks: [
      settings("libvirt", "dmacvicar/libvirt", "~> 0.8.3"),
      variable("pool", "string", "Storage pool of the volumes.", "default"),
      variable("firmware", "string", "UEFI firmware on the hypervisor.", "/usr/share/OVMF/OVMF_CODE_4M.fd"),
      variable("firmware_variables", "string", "Its variables, to start from.", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
      variable("nvram_directory", "string", "Where each machine keeps its own.", "/var/lib/libvirt/qemu/nvram"),
      ...common(image.file),
      cluster(spec, image),
      block("resource", ["libvirt_volume", "image"], {
        name: "kubedos-${local.cluster}-${substr(local.image_sha256, 0, 12)}.qcow2",
        pool,
        source: expression("local.image"),
        format: "qcow2",
      }),
      block("resource", ["libvirt_volume", "disk"], {
        ...eachNode,
        name: "kubedos-${local.cluster}-${each.key}.qcow2",
        pool,
        base_volume_id: expression("libvirt_volume.image.id"),
        size: expression("each.value.disk_gib * 1024 * 1024 * 1024"),
        format: "qcow2",
      }),
      block("resource", ["libvirt_volume", "seed"], {
        ...eachNode,
        name: "kubedos-${local.cluster}-${each.key}-seed.raw",
        pool,
        source: "${var.seeds}/${each.key}.seed",
        format: "raw",
      }),
      block("resource", ["libvirt_domain", "node"], {
        attributes: {
          ...eachNode,
          name: "${local.cluster}-${each.key}",
          description: "Node ${each.key} of the kubedos cluster ${local.cluster}",
          vcpu: expression("each.value.cpus"),
          memory: expression("each.value.memory_mib"),
          machine: "q35",
          firmware: expression("var.firmware"),
          autostart: true,
        },
        blocks: [
          block("nvram", [], {
            file: "${var.nvram_directory}/kubedos-${local.cluster}-${each.key}.fd",
            template: expression("var.firmware_variables"),
          }),
          block("tpm", [], { backend_type: "emulator", backend_version: "2.0" }),
          block("cpu", [], { mode: "host-passthrough" }),
          block("disk", [], { volume_id: expression("libvirt_volume.disk[each.key].id") }),
          block("disk", [], { volume_id: expression("libvirt_volume.seed[each.key].id") }),
          block("network_interface", [], { bridge: expression("var.bridge") }),
          block("console", [], { type: "pty", target_port: "0", target_type: "serial" }),
        ],
      }),
      block("output", ["machines"], {
        description: "Id of each node's domain.",
        value: expression("{ for name, machine in libvirt_domain.node : name => machine.id }"),
      }),
    ],
  };
}
