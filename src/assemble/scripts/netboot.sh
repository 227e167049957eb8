#!/bin/sh
# netboot.sh: what machines fetch when they start over the network, as /out/image (tar): the signed writer (/in/uki), its
# kernel and initrd (/in/vmlinuz, /in/initrd, /in/layer) for BIOS, iPXE, the compressed image (/in/zst) and its hash
# (/in/sum), and of the writer's files (/in/files) the list of machines. With /in/shim, that, /in/manager and /in/certificate.
set -eu
umask 022
tree=/work/tree
mkdir -p "$tree" /work/files
cp /in/uki "$tree/boot.efi"
if [ -e /in/shim ]; then
  # The names that a shim asks for, where it came from itself.
  cp /in/shim "$tree/shimx64.efi"
  ln "$tree/boot.efi" "$tree/grubx64.efi"
  cp /in/manager "$tree/mmx64.efi"
  cp /in/certificate "$tree/kubedos.cer"
  set -- grubx64.efi kubedos.cer mmx64.efi shimx64.efi
fi
cp /in/vmlinuz "$tree/vmlinuz"
cat /in/initrd > "$tree/initrd"
# A cpio begins at a multiple of four bytes (initramfs buffer format).
truncate -s %4 "$tree/initrd"
cat /in/layer >> "$tree/initrd"
cp /in/zst "$tree/image.zst"
cp /in/sum "$tree/image.sha256"
cp /usr/lib/ipxe/undionly.kpxe "$tree/undionly.kpxe"
(cd /work/files && cpio --quiet -id < /in/files)
cp /work/files/kubedos/writer/hardware "$tree/hardware"
# @SERVER@ is put in by who serves it: neither program says its own address in the same words in all versions.
words='console=tty0 console=ttyS0,115200 quiet loglevel=4 panic=30 kubedos.server=@SERVER@'
cat > "$tree/boot.ipxe" <<SCRIPT
#!ipxe
iseq \${platform} efi && chain @SERVER@/boot.efi ||
kernel @SERVER@/vmlinuz $words initrd=initrd
initrd @SERVER@/initrd
boot
SCRIPT
cat > "$tree/grub.cfg" <<CONFIG
# The files are read from \$root. With UEFI the writer hears from DHCP where the image is, or has it from install.server.
set timeout=3
menuentry 'kubedos: write the sealed image to the disk of this machine' {
  if [ "\$grub_platform" = efi ]; then
    chainloader /boot.efi
  else
    linux /vmlinuz $words
    initrd /initrd
  fi
}
CONFIG
find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
tar -cf /out/image --format=ustar --owner=0 --group=0 --numeric-owner --mode=a=r,u+w -C "$tree" \
  boot.efi boot.ipxe grub.cfg hardware image.sha256 image.zst initrd undionly.kpxe vmlinuz "$@"
