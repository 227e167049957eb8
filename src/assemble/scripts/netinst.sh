#!/bin/sh
# netinst.sh VOLUME_ID DISK_GUID: the medium with Debian's installer as /out/image: /in/vmlinuz and /in/initrd, the signed
# repository (/in/repository, tar), and what the installation adds to Debian's packages. It starts by BIOS (isolinux) and
# by UEFI, with Debian's shim and signed GRUB (/in/shim, /in/grub, packages), from CD and from a stick.
set -eu
umask 022
tree=/work/tree
mkdir -p "$tree/install" "$tree/isolinux" "$tree/boot/grub" "$tree/.disk" "$tree/kubedos" "$tree/darksite"
cp /in/vmlinuz /in/initrd "$tree/install/"
tar -xf /in/repository -C "$tree/darksite"
# Where the installer looks; `darksite` is where people look.
ln -s darksite/dists "$tree/dists"
ln -s darksite/pool "$tree/pool"
echo "kubedos, with Debian's installer" > "$tree/.disk/info"
: > "$tree/.disk/base_installable"
echo main > "$tree/.disk/base_components"
echo not_complete > "$tree/.disk/cd_type"
for name in overlay units layer packages; do cp "/in/$name" "$tree/kubedos/$name"; done
cp /scripts/features.sh "$tree/kubedos/features"
[ ! -e /in/python ] || cp /in/python "$tree/kubedos/python"
if [ -e /in/blobs ]; then
  cp /in/blobs "$tree/kubedos/blobs"
  while read -r _ object _; do install -D -m 644 "/in/objects/$object" "$tree/kubedos/objects/$object"; done < /in/blobs
fi
(cd "$tree" && cpio --quiet -idu --no-absolute-filenames < /in/medium)
# 1. The words of the kernel: both screens and serial lines see what is said, and questions have been answered.
words='auto=true priority=critical DEBIAN_FRONTEND=text console=tty0 console=ttyS0,115200 --- quiet'
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$tree/isolinux/"
cat > "$tree/isolinux/isolinux.cfg" <<CONFIG
SERIAL 0 115200
PROMPT 0
DEFAULT install
LABEL install
  KERNEL /install/vmlinuz
  INITRD /install/initrd
  APPEND $words
CONFIG
cat > "$tree/boot/grub/grub.cfg" <<CONFIG
set timeout=3
menuentry 'Install Debian with kubedos' {
  linux /install/vmlinuz $words
  initrd /install/initrd
}
CONFIG
# 2. Debian's chain for firmware with Microsoft's keys.
mkdir -p /work/shim /work/grub /work/esp/EFI/BOOT /work/esp/EFI/debian /work/esp/boot/grub
dpkg-deb --extract /in/shim /work/shim
dpkg-deb --extract /in/helpers /work/shim
dpkg-deb --extract /in/grub /work/grub
cp /work/shim/usr/lib/shim/shimx64.efi.signed /work/esp/EFI/BOOT/BOOTX64.EFI
cp /work/shim/usr/lib/shim/mmx64.efi.signed /work/esp/EFI/BOOT/mmx64.efi
cp /work/grub/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed /work/esp/EFI/BOOT/grubx64.efi
cat > /work/esp/EFI/debian/grub.cfg <<'CONFIG'
search --no-floppy --file --set=root /install/initrd
set prefix=($root)/boot/grub
configfile ($root)/boot/grub/grub.cfg
CONFIG
cp /work/esp/EFI/debian/grub.cfg /work/esp/boot/grub/grub.cfg
find /work/esp "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
truncate -s 8M /work/efi.img
mkfs.vfat -F 12 -i "$(printf %.8s "$2")" -n KUBEDOS --invariant /work/efi.img > /dev/null
(cd /work/esp && find . -mindepth 1 -type d | LC_ALL=C sort | while read -r path; do mmd -i /work/efi.img "::${path#.}"; done
  find . -type f | LC_ALL=C sort | while read -r path; do mcopy -m -i /work/efi.img "$path" "::${path#.}"; done)
xorriso -as mkisofs -quiet -r -J -joliet-long -V "$1" -o /out/image \
  --modification-date="$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S00)" --set_all_file_dates "=$SOURCE_DATE_EPOCH" \
  -isohybrid-mbr /usr/lib/ISOLINUX/isohdpfx.bin -partition_offset 16 \
  -c isolinux/boot.cat -b isolinux/isolinux.bin -no-emul-boot -boot-load-size 4 -boot-info-table \
  -append_partition 2 C12A7328-F81F-11D2-BA4B-00A0C93EC93B /work/efi.img -appended_part_as_gpt --gpt_disk_guid "$2" \
  -eltorito-alt-boot -e --interval:appended_partition_2:all:: -no-emul-boot \
  "$tree" > /work/log 2>&1 || { tail -n 20 /work/log >&2; exit 1; }
