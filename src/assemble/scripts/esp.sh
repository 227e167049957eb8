#!/bin/sh
# esp.sh SIZE_BYTES VOLUME_ID FAT_BITS: the signed boot image in a FAT file system: /out/esp.
set -eu
umask 022
cp /in/uki /work/uki
touch -d "@$SOURCE_DATE_EPOCH" /work/uki
truncate -s "$1" /out/esp
mkfs.vfat -F "$3" -i "$2" -n KUBEDOS --invariant /out/esp > /dev/null
mmd -i /out/esp ::/EFI ::/EFI/BOOT
mcopy -m -i /out/esp /work/uki ::/EFI/BOOT/BOOTX64.EFI
