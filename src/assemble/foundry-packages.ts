/**
 * Debian packages of the foundry root: the build tools. Their closure is locked beside the platform's, so that no
 * artifact depends on the host's versions. Packages are extracted, not configured; see foundry.ts.
 */
export const foundryPackages: readonly string[] = [
  "apt-utils",
  "busybox-static",
  "cpio",
  "cryptsetup-bin",
  "dmsetup",
  "dosfstools",
  "dpkg",
  "erofs-utils",
  "faketime",
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
  "systemd-boot-efi",
  "wireguard-go",
  "xorriso",
  "xz-utils",
  "zstd",
];

/** Beside them where the spec asks for Python distributions: pip resolves them at lock time. */
export const pythonFoundryPackages: readonly string[] = ["python3-pip"];
