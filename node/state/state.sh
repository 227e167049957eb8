#!/bin/sh
# The node's state partition: made at first boot, checked, opened; /run/kubedos/state-device then names what to mount.
# `mode` (platform.state of the spec) is in state.conf beside it: `encrypted` (LUKS2, unlocked by this machine's TPM only),
# `plain`, or `volatile` (nothing: /var stays in memory).
. /usr/lib/kubedos/state-common.sh
. /usr/lib/kubedos/state.conf
label=kubedos-state

# From the disk itself: the kernel knows no names of partitions that were made while it ran.
part_of() {
  for entry in /sys/class/block/"$disk"/*/partition; do
    part=$(basename "$(dirname "$entry")")
    [ "$(blkid -p -s PART_ENTRY_NAME -o value "/dev/$part")" = $label ] && echo "$part"
  done
}

if [ "$mode" = volatile ]; then
  echo volatile > $run/state
  exit 0
fi
node=$(cat /run/kubedos/node)
# 1. The disk that the sealed root is on, and the partition's id: one for this node of this cluster.
for slave in /sys/dev/block/"$(mountpoint -d /)"/slaves/*; do
  disk=$(basename "$(dirname "$(readlink -f "$slave")")")
done
id=$(printf 'state %s %s' "$(cat /run/kubedos/layer/cluster-id)" "$node" | sha256sum |
  sed 's/^\(.\{8\}\)\(.\{4\}\)\(.\{4\}\)\(.\{4\}\)\(.\{12\}\).*/\1-\2-\3-\4-\5/')
case $mode in
  encrypted)
    type=crypto_LUKS encrypt=tpm2
    tries=0
    while [ ! -e /dev/tpmrm0 ]; do
      [ $tries -lt 50 ] || fail 'the state partition is to be encrypted, and this machine has no TPM 2.0'
      sleep 0.2
      tries=$((tries + 1))
    done
    ;;
  plain) type=ext4 encrypt=off ;;
  *) fail "unknown mode of the state partition: $mode" ;;
esac

# 2. First boot: systemd-repart writes the partition table last, so a boot that is cut off leaves no half-made partition.
if [ -z "$(part_of)" ]; then
  mkdir -p /run/kubedos/repart.d
  printf '[Partition]\nType=var\nLabel=%s\nUUID=%s\nFormat=ext4\nEncrypt=%s\nSizeMinBytes=128M\n' \
    "$label" "$id" "$encrypt" > /run/kubedos/repart.d/state.conf
  # PCR 7: Secure Boot and the keys that are trusted. PCR 12: words that nobody has signed (systemd-stub(7)).
  try "no state partition can be made on $disk (is the disk large enough?)" \
    systemd-repart --definitions=/run/kubedos/repart.d --dry-run=no --empty=refuse --discard=no \
    --tpm2-device=auto --tpm2-pcrs=7+12 "/dev/$disk"
fi
part=$(part_of)
[ -n "$part" ] || fail "the state partition on $disk did not appear"

# 3. Only our own, in the form that the spec asks for: an unencrypted one put in its place is refused.
found=$(blkid -p -s PART_ENTRY_UUID -o value "/dev/$part")
[ "$found" = "$id" ] ||
  fail "the state partition $part belongs to another node or cluster than $node: remove it, or give the machine its own disk"
found=$(blkid -p -s TYPE -o value "/dev/$part")
[ "$found" = "$type" ] ||
  fail "the state partition $part is damaged or not $mode: found ${found:-nothing known}, expected $type"
device=/dev/$part
if [ "$mode" = encrypted ]; then
  try "the state partition $part cannot be unlocked by this machine's TPM in its present state" \
    /usr/lib/systemd/systemd-cryptsetup attach state "/dev/$part" - tpm2-device=auto,headless=true
  device=/dev/mapper/state
fi
e2fsck -p "$device" > "$log" 2>&1
[ $? -lt 4 ] || fail "the file system of the state partition $part is damaged: $(tail -n 1 "$log")"

[ -e "$device" ] || fail "the state partition $part did not open"
echo "$device" > $run/state-device
