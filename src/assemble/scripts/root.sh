#!/bin/sh
# root.sh EROFS_UUID VERITY_UUID SALT: the configured tree plus the features' files as a read-only root: /out/root (erofs),
# /out/verity (hash tree), /out/osrel; prints the root hash and the number of 4096-byte blocks.
set -eu
umask 022
root=/work/root
mkdir "$root"
tar -xpf /in/tree -C "$root" --numeric-owner
# 1. The features' files, users and units.
mkdir -p "$root/dev"
mount --bind /dev "$root/dev"
sh /scripts/features.sh "$root" /in 2> /work/log || { cat /work/log >&2; exit 1; }
umount "$root/dev"
# 2. What belongs to one build or one machine has gone with the tree; what the machine has for itself comes.
rm -f "$root"/etc/*-
ln -s ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
rm -rf "$root/tmp" "$root/run"
# 3. What no machine reads goes: caches, documentation (licences stay), translations, old encodings (UTF-8, UTF-16 and ASCII
# are the C library's own), sources of databases that are there compiled, test suites, type declarations, byte code.
while read -r pattern; do rm -rf "$root"$pattern; done < /scripts/pruned
mkdir -p "$root/var/cache" "$root/var/log/journal" "$root/boot" "$root/tmp" "$root/run" "$root/srv" "$root/var/lib/apt/lists/partial"
chmod 1777 "$root/tmp"
find "$root/usr/share/doc" -mindepth 2 ! -type d ! -name copyright -delete
find "$root/usr/share/doc" -mindepth 1 -type d -empty -delete
find "$root" -name __pycache__ -prune -exec rm -rf {} +
# Byte code comes back, with no time in it: the root is read-only, so that Python would compile everything at every start,
# which takes seconds, and minutes on a slow machine. Not that of Ansible's modules, which run elsewhere. A file that
# cannot be compiled (templates, other versions) stays as it is and makes status 1; any other status is a failure.
for site in "$root"/usr/lib/python3.* "$root"/usr/lib/python3 "$root"/usr/lib/kubedos/*/lib/python*/site-packages; do
  [ -d "$site" ] && [ -x "$root/usr/bin/python3" ] || continue
  PYTHONHASHSEED=0 chroot "$root" python3 -m compileall -qq --invalidation-mode unchecked-hash \
    -x '/ansible/modules/|/dist-packages/(dns|netaddr|pyparsing)/' "${site#"$root"}" || [ $? -eq 1 ]
done
cp "$root/usr/lib/os-release" /out/osrel
# 4. Seal.
mkfs.erofs --quiet -zlz4hc,level=9 -C65536 "-T$SOURCE_DATE_EPOCH" --all-time "-U$1" /out/root "$root" > /dev/null
veritysetup format --no-superblock "--salt=$3" "--uuid=$2" --root-hash-file=/work/roothash /out/root /out/verity > /dev/null
echo "roothash $(cat /work/roothash)"
echo "blocks $(($(stat -c %s /out/root) / 4096))"
