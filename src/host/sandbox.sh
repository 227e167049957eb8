#!/bin/sh
# sandbox.sh ROOT OUT SCRIPTS NAME PATH ... -- COMMAND ARG ...
# Runs COMMAND in the foundry root ROOT. Called in mount, pid, network, ipc and uts namespaces of its own, so that all
# mounts end with it. The command sees: the root read-only, /scripts, /in/NAME for each input (read-only), /out to
# write results, /work and /tmp in memory, a /dev with the harmless devices, no network, a fixed environment.
# WORK: a directory that serves as /work instead of memory. CLOCK: shifts the clock that the command sees (libfaketime's
# format, e.g. +400d); /dev/shm/clock.so is there for roots below /work as well.
set -eu
root=$1 out=$2 scripts=$3
shift 3
umask 022
mount --bind "$root" "$root"
mount -t tmpfs -o mode=755 in "$root/in"
while [ "$1" != -- ]; do
  if [ -d "$2" ]; then mkdir "$root/in/$1"; else : > "$root/in/$1"; fi
  mount --bind "$2" "$root/in/$1"
  shift 2
done
shift
mount -o remount,bind,ro "$root/in"
mount -o remount,bind,ro "$root"
mount --bind "$scripts" "$root/scripts"
mount --bind "$out" "$root/out"
if [ -n "${WORK-}" ]; then
  mkdir -m 755 "$WORK"
  mount --bind "$WORK" "$root/work"
else
  mount -t tmpfs -o mode=755,size=80% work "$root/work"
fi
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount -t tmpfs -o mode=755 run "$root/run"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 dev "$root/dev"
for device in null zero full random urandom tty; do
  : > "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/shm"
if [ -n "${CLOCK-}" ]; then
  cp "$root/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1" "$root/dev/shm/clock.so"
  set -- env LD_PRELOAD=/dev/shm/clock.so "FAKETIME=$CLOCK" NO_FAKE_STAT=1 DONT_FAKE_MONOTONIC=1 "$@"
fi
hostname foundry
cd /
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C.UTF-8 TZ=UTC "SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH" \
  chroot "$root" "$@"
