#!/bin/sh
# tree.sh: the packages of /in/debs (lines "name object", objects below /in/objects), unpacked and configured, as /out/tree (tar). Serial maintainer scripts are most of
# its time, so it is a stage of its own: features' files change without it.
set -eu
mkdir /work/debs
while read -r name object; do ln -s "/in/objects/$object" "/work/debs/$name"; done < /in/debs
perl /scripts/unpack.pl
sh /scripts/configure.sh > /work/log 2>&1 || { tail -n 30 /work/log >&2; exit 1; }
# What belongs to one build or one machine goes at once: no host key is kept anywhere, and the tree has the same bytes
# whenever it is made.
cd /work/root
rm -f etc/ssh/ssh_host_* etc/hostname etc/resolv.conf etc/*- var/lib/dbus/machine-id var/lib/systemd/random-seed \
  var/lib/dpkg/lock* var/lib/dpkg/*-old
: > etc/machine-id
rm -rf var/cache var/log
mkdir -p var/cache var/log
tar -C /work/root --sort=name --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" --format=gnu -cf /out/tree .
