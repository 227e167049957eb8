#!/bin/sh
# tree.sh: the packages of /in/debs (lines "name object", objects below /in/objects), unpacked and configured, as /out/tree (tar). Serial maintainer scripts are most of
# its time, so it is a stage of its own: features' files change without it.
set -eu
mkdir /work/debs
while read -r name object; do ln -s "/in/objects/$object" "/work/debs/$name"; done < /in/debs
perl /scripts/unpack.pl
sh /scripts/configure.sh > /work/log 2>&1 || { tail -n 30 /work/log >&2; exit 1; }
tar -C /work/root --sort=name --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" --format=gnu -cf /out/tree .
