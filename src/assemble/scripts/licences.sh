#!/bin/sh
# licences.sh: the copyright files of packages that the root does not have: /out/copyright (tar) from the objects that
# /in/list names, one a line, below /in/objects. A package's documentation may be a link to another's; it is kept.
set -eu
mkdir -p /work/tree/usr/share/doc
while read -r object; do
  # A file between the two: the status of a pipe is that of its end.
  dpkg-deb --fsys-tarfile "/in/objects/$object" > /work/data
  tar -tf /work/data > /work/names
  grep -q '^\./usr/share/doc/.' /work/names || continue
  tar -C /work/tree -xf /work/data --no-overwrite-dir --wildcards './usr/share/doc/?*'
done < /in/list
cd /work/tree
find usr/share/doc -type l -o -path 'usr/share/doc/*/copyright' | LC_ALL=C sort > /work/members
tar --numeric-owner --owner=0 --group=0 --mtime="@$SOURCE_DATE_EPOCH" --format=gnu -cf /out/copyright --files-from /work/members
