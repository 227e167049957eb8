#!/bin/sh
# features.sh ROOT INPUTS: what the spec's features put over Debian's packages in ROOT, from INPUTS: Python environments
# (python, tar), files (overlay, cpio; blobs, a list of "mode object path" with objects/), users, and units (lines
# "enable UNIT", "mask UNIT"). The image is made with it, and so is a system that Debian's installer makes: the medium
# carries it.
set -eu
umask 022
root=${1%/} inputs=$2
if [ -e "$inputs/python" ]; then tar -xpf "$inputs/python" -C "$root/" --numeric-owner --keep-directory-symlink; fi
if [ -e "$inputs/blobs" ]; then
  while read -r mode object path; do
    install -D -m "$mode" -o 0 -g 0 "$inputs/objects/$object" "$root$path"
  done < "$inputs/blobs"
fi
(cd "$root/" && cpio --quiet -idmu --no-absolute-filenames) < "$inputs/overlay"
chroot "$root/" systemd-sysusers
while read -r verb unit; do
  chroot "$root/" systemctl --quiet "$verb" "$unit" < /dev/null
done < "$inputs/units"
