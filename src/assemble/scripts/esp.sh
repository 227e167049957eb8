#!/bin/sh
# esp.sh SIZE_BYTES VOLUME_ID FAT_BITS: the signed boot image in a FAT file system: /out/esp. With /in/shim, that is what
# firmware starts; it starts the boot image under GRUB's name, or /in/manager, which enrols /in/certificate.
set -eu
umask 022
cp /in/* /work/
touch -d "@$SOURCE_DATE_EPOCH" /work/*
truncate -s "$1" /out/esp
mkfs.vfat -F "$3" -i "$2" -n KUBEDOS --invariant /out/esp > /dev/null
mmd -i /out/esp ::/EFI ::/EFI/BOOT
if [ -e /work/shim ]; then
  mcopy -m -i /out/esp /work/shim ::/EFI/BOOT/BOOTX64.EFI
  mcopy -m -i /out/esp /work/uki ::/EFI/BOOT/GRUBX64.EFI
  mcopy -m -i /out/esp /work/manager ::/EFI/BOOT/MMX64.EFI
  mcopy -m -i /out/esp /work/certificate ::/KUBEDOS.CER
else
  mcopy -m -i /out/esp /work/uki ::/EFI/BOOT/BOOTX64.EFI
fi
