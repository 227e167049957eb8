import { block, expression, hclText, keyword, type Block, type Value } from "../hcl.ts";

/** What the console says when firmware, boot image, kernel and root were fine, and only the node's seed is missing. */
const provenLine = "no seed disk found";

/** The image that a template starts from. */
export interface PackerImage {
  cluster: string;
  /** File beside the archive's folder. */
  file: string;
  sha256: string;
}

function variable(name: string, type: string, description: string, initial: Value): Block {
  return block("variable", [name], { type: keyword(type), description, default: initial });
}

/** variables.pkr.hcl */
export function packerVariables({ file }: PackerImage): string {
  return hclText({
    blocks: [
      variable("image", "string", `The sealed image; empty: ${file} beside this folder.`, ""),
      variable("output_directory", "string", "Where the image goes; it must not exist.", "output"),
      variable("disk_size", "string", "Size of the disk, at least that of the image: a node's diskGiB.", "4G"),
      variable("accelerator", "string", "kvm, or tcg where there is no hardware virtualization.", "kvm"),
      variable("cpus", "number", "Processors of the machine that proves the image.", 1),
      variable("memory", "number", "Its memory in MiB.", 1024),
      variable("firmware", "string", "UEFI firmware (OVMF).", "/usr/share/ovmf/OVMF.fd"),
      variable("qemu_binary", "string", "QEMU.", "qemu-system-x86_64"),
      variable("shutdown_timeout", "string", "How long the proof may take.", "10m"),
    ],
  });
}

/**
 * NAME.pkr.hcl: the qemu builder copies the image, whose checksum it compares, enlarges its disk and starts it once
 * without a seed. The machine comes as far as the seed that is not there, says so on its console, and powers itself
 * off: nobody has to type anything, and the image stays as it was sealed.
 */
export function packerTemplate({ cluster, file, sha256 }: PackerImage): string {
  const console = "${path.root}/console.log";
  return hclText({
    blocks: [
      block("packer", [], { required_version: ">= 1.6.6" }),
      block("source", ["qemu", "kubedos"], {
        iso_url: expression(`var.image != "" ? var.image : "\${path.root}/../${file}"`),
        iso_checksum: `sha256:${sha256}`,
        disk_image: true,
        disk_size: expression("var.disk_size"),
        format: "qcow2",
        vm_name: `${cluster}.qcow2`,
        output_directory: expression("var.output_directory"),
        qemu_binary: expression("var.qemu_binary"),
        accelerator: expression("var.accelerator"),
        machine_type: "q35",
        cpus: expression("var.cpus"),
        memory: expression("var.memory"),
        disk_interface: "virtio",
        net_device: "virtio-net",
        headless: true,
        communicator: "none",
        boot_wait: "1s",
        shutdown_timeout: expression("var.shutdown_timeout"),
        qemuargs: [
          ["-bios", expression("var.firmware")],
          ["-serial", `file:${console}`],
          // Firmware without variables of its own keeps them in a file on the first FAT file system: on the image.
          ["-snapshot"],
        ],
      }),
      block("build", [], {
        attributes: { name: cluster, sources: ["source.qemu.kubedos"] },
        blocks: [
          // A machine that ended for any other reason has proved nothing.
          block("post-processor", ["shell-local"], {
            inline: [`grep -q '${provenLine}' '${console}'`],
          }),
          block("post-processor", ["checksum"], {
            checksum_types: ["sha256"],
            output: `\${var.output_directory}/${cluster}.{{.ChecksumType}}`,
          }),
        ],
      }),
    ],
  });
}

/** README.md */
export function packerReadme({ cluster, file }: PackerImage): string {
  return `# ${cluster} for Packer

A template that starts from the sealed image \`${file}\` of the same build. Unpack this archive beside that file.

    packer validate ${cluster}.packer
    packer build ${cluster}.packer

The qemu builder compares the image with the checksum in the template, copies it, enlarges the disk to \`disk_size\`, and
starts it once under UEFI firmware without a node's seed. The machine checks boot image and root, says that the seed is
missing, and powers itself off; that line on its console (\`console.log\`) is the proof, and without it the build fails.
Nothing is typed, nothing is downloaded. What the machine writes, QEMU throws away (\`-snapshot\`): the image is what was
sealed, and provisioners cannot change it.

| variable | default | |
|---|---|---|
| \`image\` | \`${file}\` beside this folder | the sealed image |
| \`output_directory\` | \`output\` | where the result and its checksum go |
| \`disk_size\` | \`4G\` | the nodes' \`diskGiB\` |
| \`accelerator\` | \`kvm\` | \`tcg\` where there is no hardware virtualization |
| \`firmware\` | \`/usr/share/ovmf/OVMF.fd\` | Debian: package ovmf |
| \`cpus\`, \`memory\`, \`qemu_binary\`, \`shutdown_timeout\` | | of the machine that proves the image |

Packer 1.6.6 (Debian) has the qemu builder; for 1.7 and later: \`packer plugins install github.com/hashicorp/qemu\`.
Your own post-processors go into a file of their own beside the template, or after this build: the result is
\`output/${cluster}.qcow2\`. Each machine made from it needs its node's seed: \`kubedos seed SPEC NODE --out seeds\`.
`;
}
