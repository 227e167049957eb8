#!/bin/sh
# enter.sh BUSYBOX CAPSULE WORK ARGUMENT...: called by kubedos.sh in a mount namespace: kubedos in the unpacked tools.
set -eu
busybox=$1 capsule=$2 work=$3
shift 3
root=$work/runtime
"$busybox" mount --make-rprivate / 2> /dev/null || :
"$busybox" mount -o bind "$root" "$root"
"$busybox" mount -o bind "$capsule" "$root/capsule"
"$busybox" mount -o bind "$work/tool" "$root/tool"
"$busybox" mount -t proc proc "$root/proc"
"$busybox" mount -o rbind /dev "$root/dev"
"$busybox" mount -o rbind /sys "$root/sys" 2> /dev/null || :
"$busybox" mount -t tmpfs -o mode=1777 tmp "$root/tmp"
"$busybox" mount -t tmpfs -o mode=755 run "$root/run"
# The work directory has its own path inside too: what runs later is known by it, and there may be several.
"$busybox" mkdir -p "$root$work"
"$busybox" mount -o bind "$work" "$root$work"
clock=${KUBEDOS_CLOCK:-}
if [ -n "$clock" ]; then
  set -- LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1 "FAKETIME=$clock" NO_FAKE_STAT=1 \
    DONT_FAKE_MONOTONIC=1 "KUBEDOS_CLOCK=$clock" node --disable-warning=ExperimentalWarning /tool/dist/cli.mjs "$@"
else
  set -- node --disable-warning=ExperimentalWarning /tool/dist/cli.mjs "$@"
fi
# What opens the vault is named by its path outside, and seen here as a file of its own.
if [ -n "${KUBEDOS_PASSPHRASE_FILE:-}" ]; then
  : > "$root/run/passphrase"
  "$busybox" mount -o bind "$KUBEDOS_PASSPHRASE_FILE" "$root/run/passphrase"
  set -- KUBEDOS_PASSPHRASE_FILE=/run/passphrase "$@"
fi
if [ -n "${KUBEDOS_IDENTITY:-}" ]; then
  : > "$root/run/identity"
  "$busybox" mount -o bind "$KUBEDOS_IDENTITY" "$root/run/identity"
  set -- KUBEDOS_IDENTITY=/run/identity "$@"
fi
set -- /usr/bin/env -i -C "$work" PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="$work/home" LC_ALL=C.UTF-8 \
  TERM="${TERM:-dumb}" KUBEDOS_CACHE="$work/cache" KUBEDOS_RUNTIME="$work/run" "$@"
# The namespace's own root, so that whoever enters the namespace later is in the tools too. Where the machine runs from its
# initial memory disk the kernel refuses that.
"$busybox" mkdir -p "$root/old"
cd "$root"
if "$busybox" pivot_root . old 2> /dev/null; then
  umount -l /old
  exec "$@"
fi
exec "$busybox" chroot "$root" "$@"
