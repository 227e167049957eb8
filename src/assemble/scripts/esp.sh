#!/bin/sh
# esp.sh SIZE_BYTES VOLUME_ID: sign the UKI (key on standard input, never on a disk) and put it into a FAT file system:
# /out/uki, /out/esp. sbsign writes its clock into the signature, so it is told the lock's time.
set -eu
umask 077
cat > /work/key
when=$(date -u -d "@$SOURCE_DATE_EPOCH" '+%Y-%m-%d %H:%M:%S')
faketime -f "$when" sbsign --key /work/key --cert /in/certificate --output /work/uki /in/unsigned > /work/log 2>&1 || {
  cat /work/log >&2
  exit 1
}
rm /work/key
umask 022
cp /work/uki /out/uki
touch -d "@$SOURCE_DATE_EPOCH" /work/uki
truncate -s "$1" /out/esp
mkfs.vfat -F 32 -i "$2" -n KUBEDOS --invariant /out/esp > /dev/null
mmd -i /out/esp ::/EFI ::/EFI/BOOT
mcopy -m -i /out/esp /work/uki ::/EFI/BOOT/BOOTX64.EFI
