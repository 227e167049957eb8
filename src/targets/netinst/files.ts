import { commandLine } from "../../seal/stages/uki.ts";
import { openpgpDearmor } from "../../vault/openpgp.ts";

const directory = "usr/share/kubedos";
/** Makes apt in the new system trust the medium's repository, which base-installer reads packages from. */
const trustMedium = `#!/bin/sh
mkdir -p /target/etc/apt/trusted.gpg.d
cp /${directory}/archive.gpg /target/etc/apt/trusted.gpg.d/kubedos.gpg
`;

/** A file of ours by its path from the root of what it is in. */
export interface OwnFile {
  path: string;
  mode: number;
  content: Uint8Array;
}

/** What the installer's initrd has of ours: answers, the choice of the disk, the key of the medium's repository. */
export function installerFiles(
  scripts: Readonly<Record<string, string>>,
  preseed: string,
  certificate: string,
): OwnFile[] {
  const texts = Object.entries(scripts).map(([name, text]) => ({ path: `${directory}/${name}`, mode: 0o644, text }));
  return [
    ...texts.map(({ path, mode, text }) => ({ path, mode, content: Buffer.from(text) })),
    { path: `${directory}/archive.gpg`, mode: 0o644, content: openpgpDearmor(certificate) },
    { path: "preseed.cfg", mode: 0o644, content: Buffer.from(preseed) },
    { path: "usr/lib/base-installer.d/05kubedos", mode: 0o755, content: Buffer.from(trustMedium) },
  ];
}

/** GRUB's settings on the installed node: the kernel's words of the sealed image, and the node's own first program. */
export function grubDefault(): string {
  const words = [...commandLine.map((word) => (word === "console=ttyS0" ? "console=tty0 console=ttyS0,115200" : word))];
  return [
    `GRUB_CMDLINE_LINUX="${[...words, "init=/usr/lib/kubedos/start"].join(" ")}"`,
    'GRUB_CMDLINE_LINUX_DEFAULT=""',
    "GRUB_TIMEOUT=1",
    // A graphical menu would look for video modes, also where there is no screen.
    "GRUB_TERMINAL=console",
    "GRUB_DISABLE_OS_PROBER=true",
    "",
  ].join("\n");
}
