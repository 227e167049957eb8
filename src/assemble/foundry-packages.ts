/**
 * Debian packages of the foundry root: the build tools. Their closure is locked beside the platform's, so that no
 * artifact depends on the host's versions. Packages are extracted, not configured; see foundry.ts.
 */
export const foundryPackages: readonly string[] = [
  "age",
  "apt-utils",
  "busybox-static",
  "cpio",
  "cryptsetup-bin",
  "dmsetup",
  "dosfstools",
  "dpkg",
  "efibootmgr",
  "erofs-utils",
  "faketime",
  "ipxe",
  "isolinux",
  "kmod",
  "mawk",
  "mount",
  "mtools",
  "nodejs",
  "ovmf",
  "python3-virt-firmware",
  "qemu-utils",
  "sbsigntool",
  "signify-openbsd",
  "syslinux-common",
  "systemd-boot-efi",
  "wireguard-go",
  "xorriso",
  "xz-utils",
  "zstd",
];

/** Beside them where the spec asks for Python distributions: pip resolves them at lock time. */
export const pythonFoundryPackages: readonly string[] = ["python3-pip"];

/**
 * What starts machines and is the operator's way in to them, beside the foundry root: a time capsule brings it, so that
 * what it restores also boots where there is no QEMU. Nothing else uses it, and no build fetches it.
 */
export const machinePackages: readonly string[] = [
  "iproute2",
  "openssh-client",
  "qemu-system-x86",
  "swtpm",
  "wireguard-tools",
];

/** Debian's shim, and its MokManager; see src/seal/stages/shim.ts. */
export const shimPackages = ["shim-helpers-amd64-signed", "shim-signed"] as const;

/** Build tools of which parts are in the boot image (see initrd.sh and uki.ts), with the libraries that these load. */
export const bootImagePackages: readonly string[] = [
  "busybox-static",
  "dmsetup",
  "libbsd0",
  "libc6",
  "libcap2",
  "libdevmapper1.02.1",
  "libmd0",
  "libpcre2-8-0",
  "libselinux1",
  "libudev1",
  "signify-openbsd",
  "systemd-boot-efi",
];
