#!/bin/sh
# enter.sh BUSYBOX CAPSULE WORK ARGUMENT...: called by kubedos.sh in a mount namespace: kubedos in the unpacked tools.
set -eu
busybox=$1 capsule=$2 work=$3
shift 3
root=$work/runtime
"$busybox" mount --make-rprivate / 2> /dev/null || :
"$busybox" mount -o bind "$root" "$root"
"$busybox" mount -o bind "$capsule" "$root/capsule"
"$busybox" mount -o bind "$work" "$root/work"
"$busybox" mount -o bind "$work/tool" "$root/tool"
"$busybox" mount -t proc proc "$root/proc"
"$busybox" mount -o rbind /dev "$root/dev"
"$busybox" mount -o rbind /sys "$root/sys" 2> /dev/null || :
"$busybox" mount -t tmpfs -o mode=1777 tmp "$root/tmp"
"$busybox" mount -t tmpfs -o mode=755 run "$root/run"
clock=${KUBEDOS_CLOCK:-}
if [ -n "$clock" ]; then
  set -- LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1 "FAKETIME=$clock" NO_FAKE_STAT=1 \
    DONT_FAKE_MONOTONIC=1 "KUBEDOS_CLOCK=$clock" node --disable-warning=ExperimentalWarning /tool/dist/cli.mjs "$@"
else
  set -- node --disable-warning=ExperimentalWarning /tool/dist/cli.mjs "$@"
fi
cd "$root/work"
exec "$busybox" chroot "$root" /usr/bin/env -i -C /work PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/work/home LC_ALL=C.UTF-8 \
  TERM="${TERM:-dumb}" KUBEDOS_CACHE=/work/cache KUBEDOS_RUNTIME=/run/kubedos "$@"
