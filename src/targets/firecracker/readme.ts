/** README.md of the archive. */
export function firecrackerReadme(cluster: string): string {
  return `# ${cluster} on Firecracker

Each node of the cluster as a Firecracker microVM. Unpack this archive beside \`${cluster}.raw\` of the same build; the
first start of a node copies that image to the node's disk, after its checksum was compared.

    kubedos seed SPEC --all --out seeds
    ./run NODE seeds/NODE.seed --bridge br0

| file | what it is |
|---|---|
| \`run\` | starts one node; \`run --help\` lists what it takes |
| \`machines/NODE.json\` | the node's machine, as \`firecracker --config-file\` takes it |
| \`vmlinux\`, \`initrd\` | kernel and initrd with the cluster layer, out of the signed boot image |
| \`image\` | checksum and name of the raw image |
| \`nodes\` | nodes, sizes of their disks in GiB, their tap devices on the host |

- Firecracker 1.8 or later: Debian's kernel finds its devices by ACPI only.
- The host has a bridge in the cluster's underlay network; \`--bridge\` puts the node's tap device on it.
- \`--jail UID:GID\` starts the machine in Firecracker's jailer: own user, chroot, and with \`--netns\` own network.
- A seed is a node's secrets: keep it readable for one user only, as \`kubedos seed\` writes it.
- No firmware and no TPM: the host vouches for kernel and initrd. The root is checked against its root hash as ever.
- The machine ends when the node reboots; start it again with the same command. Its disk is kept.
`;
}
