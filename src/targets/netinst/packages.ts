import type { NetinstRequest } from "../../lock/lock.ts";

/** What every node that Debian's installer makes has beside the platform's packages. */
const common = ["apt", "busybox", "cpio", "e2fsprogs", "initramfs-tools", "signify-openbsd", "zstd"];

/** Debian's build of its installer, of which the medium has the first part of the initrd. */
export const installerPackage = "debian-installer-13-netboot-amd64";

/** Debian packages of the target netinst, in sets that exclude each other: the boot loaders for BIOS and for UEFI. */
export const netinstPackages: readonly (readonly string[])[] = [
  [...common, installerPackage, "grub-pc"],
  [...common, "dosfstools", "efibootmgr", "grub-efi-amd64", "grub-efi-amd64-signed", "shim-signed"],
];

/**
 * Parts of the installer (udebs) that the medium has: what the installation uses. What these need comes with them, but
 * for the next three lists.
 */
export const installerParts: readonly string[] = [
  "base-installer",
  "bootstrap-base",
  "cdrom-detect",
  "cdrom-retriever",
  "disk-detect",
  "finish-install",
  "load-cdrom",
  "partman-auto",
  "partman-base",
  "partman-basicfilesystems",
  "partman-efi",
  "partman-ext3",
  "partman-partitioning",
  "partman-target",
];

/** Parts that the installer's own initrd has. */
export const initrdParts: readonly string[] = [
  "anna",
  "archdetect",
  "busybox-udeb",
  "cdebconf-udeb",
  "debian-archive-keyring-udeb",
  "di-utils",
  "gpgv-udeb",
  "hw-detect",
  "libacl1-udeb",
  "libblkid1-udeb",
  "libc6-udeb",
  "libcap2-udeb",
  "libdebconfclient0-udeb",
  "libdebian-installer4-udeb",
  "libgcrypt20-udeb",
  "libgpg-error0-udeb",
  "libkmod2-udeb",
  "liblzma5-udeb",
  "libpci3-udeb",
  "libpcre2-8-0-udeb",
  "libselinux1-udeb",
  "libtextwrap1-udeb",
  "libudev1-udeb",
  "libuuid1-udeb",
  "pciutils-udeb",
  "rootskel",
  "udev-udeb",
  "udpkg",
  "util-linux-udeb",
  "zlib1g-udeb",
];

/**
 * Parts whose job the platform's own packages do: the file system is made by the e2fsprogs that will check it, and the
 * boot loader comes with the platform's packages.
 */
export const replacedParts: readonly string[] = ["bootable-system", "e2fsprogs-udeb"];

/** Parts that no step of the installation uses: other systems' file systems are not resized. */
export const unusedParts: readonly string[] = [
  "fuse3-udeb",
  "libfuse3-4-udeb",
  "ntfs-3g-udeb",
  "systemd-boot-installer",
];

/** Packages of the platform whose tools are in the installer's initrd, in place of `replacedParts`. */
export const installerTools: readonly string[] = ["e2fsprogs", "libcom-err2", "libext2fs2t64"];

/** Parts that are put into the installer's initrd: they find the medium and read the others from it. */
export const mediumParts: readonly string[] = ["cdrom-detect", "cdrom-retriever", "load-cdrom", "disk-detect"];

/** Packages whose programs start the medium; the first two are build tools. */
export const bootPackages: readonly string[] = [
  "isolinux",
  "syslinux-common",
  "grub-efi-amd64-signed",
  "shim-helpers-amd64-signed",
  "shim-signed",
];

/** What the lock of a spec with the target netinst holds beyond the platform. */
export const netinstRequest = {
  packages: netinstPackages,
  installer: installerParts,
  without: [...initrdParts, ...replacedParts, ...unusedParts],
} satisfies NetinstRequest;
