#!/bin/sh
# start.sh CGROUP COMMAND ARG ...: run COMMAND in a control group of its own, in each hierarchy that systemd inside a
# container wants to manage (cgroup v2, or v1's name=systemd and the hybrid "unified").
set -eu
group=$1
shift
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
  set_in=/sys/fs/cgroup
else
  set_in='/sys/fs/cgroup/unified /sys/fs/cgroup/systemd'
  for hierarchy in $set_in; do
    mountpoint -q "$hierarchy" && continue
    mkdir -p "$hierarchy"
    case $hierarchy in
      */unified) mount -t cgroup2 cgroup2 "$hierarchy" ;;
      *) mount -t cgroup -o none,name=systemd cgroup "$hierarchy" ;;
    esac
  done
fi
for hierarchy in $set_in; do
  mkdir -p "$hierarchy/$group"
  echo $$ > "$hierarchy/$group/cgroup.procs"
done
exec env SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 "$@"
