#!/bin/sh
# The node's state partition as /var, made at first boot. `mode` (platform.state of the spec) is in state.conf beside it:
# `encrypted` (LUKS2, unlocked by this machine's TPM only), `plain`, or `volatile` (nothing: /var stays in memory).
# What cannot be used is one clear line on the console and a stop; nothing that is already there is ever wiped.
set -u
umask 022
. /usr/lib/kubedos/state.conf
label=kubedos-state
log=/run/kubedos/state.log

fail() {
  printf '\r\nkubedos: boot stopped: %s\n' "$*" > /dev/console
  # The agent holds the events port: it passes this on.
  echo "$*" > /run/kubedos/stopped.new
  mv /run/kubedos/stopped.new /run/kubedos/stopped
  sleep 5
  systemctl poweroff --force
  sleep 3600
}

# Runs a tool; its last line says what went wrong.
try() {
  what=$1
  shift
  "$@" > "$log" 2>&1 || fail "$what: $(tail -n 1 "$log")"
}

# From the disk itself: the kernel knows no names of partitions that were made while it ran.
part_of() {
  for entry in /sys/class/block/"$disk"/*/partition; do
    part=$(basename "$(dirname "$entry")")
    [ "$(blkid -p -s PART_ENTRY_NAME -o value "/dev/$part")" = $label ] && echo "$part"
  done
}

done_as() {
  echo "$1" > /run/kubedos/state
  exit 0
}

[ "$mode" = volatile ] && done_as volatile
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
    modprobe -aq loop dm-crypt tpm_crb tpm_tis
    tries=0
    while [ ! -e /dev/tpmrm0 ]; do
      [ $tries -lt 50 ] || fail 'the state partition is to be encrypted, and this machine has no TPM 2.0'
      sleep 0.2
      tries=$((tries + 1))
    done
    ;;
  plain) type=ext4 encrypt=off ; modprobe -aq loop ;;
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

# 4. What the image has in /var and the state has not: users' directories of packages. The list of installed packages
# is the image's own.
[ -e "$device" ] || fail "the state partition $part did not open"
image=/run/kubedos/image state=/run/kubedos/var
mkdir -p $image $state
try "the state partition $part cannot be mounted" mount -t ext4 -o nosuid,nodev,noatime "$device" $state
try 'the image cannot be read' mount --bind / $image
roothash=$(cat /run/kubedos/roothash)
if [ "$(cat $state/lib/kubedos/image 2>/dev/null)" != "$roothash" ]; then
  tar -C $image/var --exclude=./lib/dpkg -cf - . | tar -C $state --skip-old-files -xpf - > "$log" 2>&1 ||
    fail "the state partition $part cannot be filled: $(tail -n 1 "$log")"
  mkdir -p $state/lib/kubedos $state/lib/dpkg
  echo "$roothash" > $state/lib/kubedos/image.new
  mv $state/lib/kubedos/image.new $state/lib/kubedos/image
fi
try '/var cannot be mounted' mount --bind $state /var
# First, because what is mounted below one of the two would appear below the other.
umount $state
try '/var/lib/dpkg cannot be mounted' mount --bind -o ro $image/var/lib/dpkg /var/lib/dpkg
umount $image
rmdir $state $image
done_as "$mode"
