#!/bin/sh
# kubedos.sh VERB ARGUMENT...: runs the kubedos of this capsule with the tools of this capsule, on any Linux on amd64.
# Needs a kernel, a shell and root; nothing else of the machine is used, and no network. The capsule is /capsule inside,
# and everything is made in the directory KUBEDOS_CAPSULE_WORK (default: /var/tmp/kubedos-capsule).
#   sh kubedos.sh                                    rebuild everything and compare: capsule rebuild /capsule
#   sh kubedos.sh up rebuilt/SPEC.yaml               then: start the machines (needs the vault)
#   sh kubedos.sh capsule verify /capsule --key …    any other verb
# KUBEDOS_PASSPHRASE_FILE, KUBEDOS_IDENTITY: files that open the vault.
# KUBEDOS_CLOCK=+630720000 (seconds) rehearses a rebuild in the future.
set -eu
here=${0%/*}
[ "$here" != "$0" ] || here=.
here=$(CDPATH='' cd -- "$here" && pwd)
work=${KUBEDOS_CAPSULE_WORK:-/var/tmp/kubedos-capsule}
fail() {
  printf 'error: %s\n  hint: %s\n' "$1" "$2" >&2
  exit 1
}

# 1. busybox, in place or as a copy where the medium does not let programs run
busybox=$here/boot/busybox
if ! "$busybox" true 2> /dev/null; then
  mkdir -p "$work" || fail "cannot make $work" "set KUBEDOS_CAPSULE_WORK to a directory with 3 GB free"
  (cd "$here/boot" && tar -cf - busybox) | (cd "$work" && tar -xf -)
  busybox=$work/busybox
  chmod 755 "$busybox" 2> /dev/null || :
  "$busybox" true || fail "boot/busybox does not run here" "this needs Linux on amd64, and $work must allow programs"
fi
"$busybox" mkdir -p "$work/home" "$work/cache" || fail "cannot make $work" "set KUBEDOS_CAPSULE_WORK to a directory with 3 GB free"
[ "$("$busybox" id -u)" = 0 ] || fail "this needs root" "run it as root: it mounts what it has unpacked, in a namespace of its own"

work=$(CDPATH='' cd -- "$work" && pwd -P)

# 2. The tools, unpacked once; every package is checked
runtime=$work/runtime
if ! "$busybox" cmp -s "$here/boot/packages" "$runtime/.packages"; then
  echo "unpacking the tools into $runtime ..." >&2
  "$busybox" rm -rf "$runtime" "$runtime.new"
  "$busybox" mkdir -p "$runtime.new"
  while read -r hash name; do
    deb=$here/store/sha256/${hash%"${hash#??}"}/$hash
    [ "$("$busybox" sha256sum "$deb" | "$busybox" cut -c 1-64)" = "$hash" ] ||
      fail "$name is damaged in the capsule ($deb)" "sh VERIFY.sh names all that is damaged; use another copy of the capsule"
    "$busybox" dpkg-deb -x "$deb" "$runtime.new" || fail "$name cannot be unpacked" "is there room in $work?"
  done < "$here/boot/packages"
  for name in capsule tool proc dev sys tmp run; do "$busybox" mkdir -p "$runtime.new/$name"; done
  "$busybox" chmod 1777 "$runtime.new/tmp"
  "$busybox" ln -sf mawk "$runtime.new/usr/bin/awk"
  echo 'root:x:0:0:root:/run:/bin/sh' > "$runtime.new/etc/passwd"
  echo 'root:x:0:' > "$runtime.new/etc/group"
  "$busybox" cp "$here/boot/packages" "$runtime.new/.packages"
  "$busybox" mv "$runtime.new" "$runtime"
fi

# 3. kubedos
# (once: another kubedos of this capsule may be running from there)
sum=$("$busybox" sha256sum "$here/tool/kubedos.tar" | "$busybox" cut -c 1-64)
if [ "$("$busybox" cat "$work/tool/.sum" 2> /dev/null)" != "$sum" ]; then
  "$busybox" rm -rf "$work/tool"
  "$busybox" mkdir "$work/tool"
  "$busybox" tar -xf "$here/tool/kubedos.tar" -C "$work/tool"
  echo "$sum" > "$work/tool/.sum"
fi

# 4. Into the tools' own root, in a mount namespace: the mounts end with it
[ $# -gt 0 ] || set -- capsule rebuild /capsule
exec "$busybox" unshare --mount "$busybox" sh "$here/boot/enter.sh" "$busybox" "$here" "$work" "$@"
