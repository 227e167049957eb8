/** README.md of the archive. */
export function terraformReadme(cluster: string, image: string): string {
  return `# ${cluster} for Terraform and OpenTofu

Modules that place the sealed image \`${image}\` of the same build and each node's seed on a hypervisor, and make a machine
for each node. Unpack this archive beside that image.

| folder | provider | syntax |
|---|---|---|
| \`proxmox\`, \`proxmox-json\` | bpg/proxmox 0.80 or later, Proxmox VE 8.4 or later | HCL; the same in JSON |
| \`libvirt\`, \`libvirt-json\` | dmacvicar/libvirt 0.8 | HCL; the same in JSON |

    kubedos seed SPEC --all --out seeds

    module "${cluster}" {
      source       = "./${cluster}.terraform/proxmox"
      seeds        = abspath("seeds")
      proxmox_node = "pve"
    }

The provider itself (address, credentials) is configured where the module is used. The variables are described in
\`main.tf\`; none but \`seeds\`, and for Proxmox \`proxmox_node\`, must be given.

- A seed is a node's secrets. Terraform's state holds its path, not its content; the storage it is placed in holds the
  content, so give nobody else access to that.
- Proxmox: the storage \`import_storage\` must allow the content type "Import" (Datacenter, Storage, Content).
- Secure Boot: both modules start from firmware without keys, so any boot image would start, and the gate \`sealed\` is not
  met. Put the foundry's certificate (\`secureboot-db.pem\`) into the firmware's database, or see docs/targets.md.
- A new image is a new file; a machine whose image changed is replaced, and its state is gone. Read the plan.
`;
}
