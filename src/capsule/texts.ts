/** What the texts of a capsule speak of. */
export interface CapsuleAbout {
  cluster: string;
  /** Base name of the spec. */
  spec: string;
  epoch: number;
  withVault: boolean;
  /** Whether QEMU and what goes with it are in it. */
  withMachines: boolean;
  version: string;
}

function dateOf(epoch: number): string {
  return new Date(epoch * 1000).toISOString().slice(0, 10);
}

/** README.md of a capsule: what this is, for somebody who finds it in a safe. */
export function readmeText({ cluster, spec, epoch, withVault, withMachines, version }: CapsuleAbout): string {
  return `# Time capsule of the cluster ${cluster}

Everything to check, rebuild and deploy this cluster's machines again, without a network: made by kubedos ${version} from
packages of ${dateOf(epoch)}. Nothing in it needs kubedos to be installed anywhere.

| what | where |
|---|---|
| is it whole? | \`sh VERIFY.sh\` (shell and sha256sum) |
| disk images, their manifest, signatures, bills of materials | artifacts/ |
| build everything again and compare | \`sh kubedos.sh\` as root, see RESTORE.md |
| start the machines here | ${withMachines ? "`sh kubedos.sh up …`, with the QEMU in it: see RESTORE.md" : "with a QEMU of your own: none is in it"} |
| spec and lock | spec/${spec}.yaml, spec/${spec}.lock |
| the foundry's vault, encrypted | ${withVault ? `spec/${spec}.vault` : "not in this capsule: keep a copy of it elsewhere"} |
| every package and other input, by its sha256 | store/sha256/ |
| kubedos itself, with its sources | tool/kubedos.tar |
| what is in here | capsule.json, SHA256SUMS |

## Who made it
SHA256SUMS.sig is a signature by the foundry's key over SHA256SUMS, in the format of signify(1):

    signify-openbsd -V -p foundry.pub -m SHA256SUMS -x SHA256SUMS.sig

Use a foundry.pub that you had before. The one in artifacts/ proves only that the capsule is of one piece.

## Secrets
${
  withVault
    ? "The vault is encrypted; whoever has the capsule and what opens the vault has all keys of the cluster."
    : "There is none in it. A rebuild gives the same signed images, because the boot image's signature is published."
}
`;
}

/** RESTORE.md of a capsule: the steps. */
export function restoreText({ spec, withVault, withMachines }: CapsuleAbout): string {
  const machines = withMachines
    ? `
## Starting the machines here

With the vault, the cluster runs on this machine, with QEMU, TPM emulator and firmware from the capsule:

    sh /mnt/kubedos.sh
    sh /mnt/kubedos.sh up rebuilt/${spec}.yaml
    sh /mnt/kubedos.sh ssh --spec rebuilt/${spec}.yaml NODE
    sh /mnt/kubedos.sh down rebuilt/${spec}.yaml

KUBEDOS_PASSPHRASE_FILE or KUBEDOS_IDENTITY names the file that opens the vault; without one, the passphrase is asked for.
It needs /dev/net/tun and 1 GB of memory for each machine; with /dev/kvm machines are fast.
`
    : "";
  return `# Restoring

Needs a machine with Linux on amd64, root, 2 GB of memory and 3 GB of disk. No network, no package manager, no Node.

1. Make the capsule readable. A disc: \`mount /dev/sr0 /mnt\`. An ISO file: \`mount -o loop,ro FILE.iso /mnt\`. Volumes:
   \`sh volume-01/JOIN.sh DIRECTORY volume-01 volume-02 …\`.
2. Check it: \`sh /mnt/VERIFY.sh\`.
3. Deploy what is there: artifacts/ holds the disk images; see artifacts/manifest.json for their hashes.
4. Or build them again: \`sh /mnt/kubedos.sh\`. It unpacks the tools into /var/tmp/kubedos-capsule (another place:
   KUBEDOS_CAPSULE_WORK), builds everything from store/, and compares every byte with artifacts/. New files are in
   out/ there.
5. Any other verb of kubedos: \`sh /mnt/kubedos.sh VERB …\`; the capsule is /capsule inside, names without a
   directory are of the work directory.

${
  withVault
    ? `The vault in spec/${spec}.vault makes seeds for the machines and signs changed images; it opens with its passphrase or
age identity.`
    : `Seeds of the machines and changed images need the foundry's vault, which is kept elsewhere: put it beside a copy of
spec/${spec}.yaml as ${spec}.vault (after a rebuild: in rebuilt/ of the work directory).`
}
${machines}`;
}
