#!/bin/sh
# iso.sh VOLUME_ID DISK_GUID SEEDS_MIB: the installation medium as /out/image: the writer (/in/esp for UEFI; /in/vmlinuz, /in/initrd
# and /in/layer for BIOS), the compressed image (/in/zst) and its hash (/in/sum). Starts from CD and from a stick.
set -eu
umask 022
tree=/work/tree
mkdir -p "$tree/boot" "$tree/isolinux" "$tree/kubedos"
cp /in/vmlinuz "$tree/boot/vmlinuz"
cat /in/initrd > "$tree/boot/initrd"
# A cpio begins at a multiple of four bytes (initramfs buffer format).
truncate -s %4 "$tree/boot/initrd"
cat /in/layer >> "$tree/boot/initrd"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$tree/isolinux/"
cat > "$tree/isolinux/isolinux.cfg" <<'CONFIG'
SERIAL 0 115200
PROMPT 0
DEFAULT writer
LABEL writer
  KERNEL /boot/vmlinuz
  INITRD /boot/initrd
  APPEND console=tty0 console=ttyS0,115200 quiet loglevel=4 panic=30
CONFIG
cp /in/zst "$tree/kubedos/image.zst"
cp /in/sum "$tree/kubedos/image.sha256"
# Room for the nodes' seeds: `kubedos write --seeds` fills it on the medium, never in this artifact.
printf 'KUBEDOS-SEEDS 0\n' > "$tree/kubedos/seeds"
truncate -s "${3}M" "$tree/kubedos/seeds"
[ ! -e /in/darksite ] || { mkdir "$tree/darksite" && tar -xf /in/darksite -C "$tree/darksite"; }
find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
xorriso -as mkisofs -quiet -r -J -joliet-long -V "$1" -o /out/image \
  --modification-date="$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S00)" --set_all_file_dates "=$SOURCE_DATE_EPOCH" \
  -isohybrid-mbr /usr/lib/ISOLINUX/isohdpfx.bin -partition_offset 16 \
  -c isolinux/boot.cat -b isolinux/isolinux.bin -no-emul-boot -boot-load-size 4 -boot-info-table \
  -append_partition 2 C12A7328-F81F-11D2-BA4B-00A0C93EC93B /in/esp -appended_part_as_gpt --gpt_disk_guid "$2" \
  -eltorito-alt-boot -e --interval:appended_partition_2:all:: -no-emul-boot \
  "$tree" > /work/log 2>&1 || { tail -n 20 /work/log >&2; exit 1; }
