#!/bin/sh
# JOIN.sh DIRECTORY VOLUME ...: puts a capsule together from its volumes (directories or mounted discs), in any order.
# Needs a shell and coreutils (cp, cat, mkdir, dirname, sha256sum).
set -eu
if [ $# -lt 2 ]; then
  echo "usage: sh JOIN.sh DIRECTORY VOLUME ..." >&2
  exit 2
fi
into=$1
shift
mkdir -p -- "$into"
for volume; do
  [ -e "$volume/VOLUMES" ] || {
    echo "error: $volume is not a volume of a capsule" >&2
    exit 1
  }
  (cd -- "$volume" && sha256sum --quiet -c VOLUME.SHA256SUMS) || {
    echo "error: $volume is damaged: use another copy of it" >&2
    exit 1
  }
done
while read -r name path; do
  for volume; do
    [ -e "$volume/$path" ] || continue
    target=$into/${path%.part-[0-9][0-9][0-9]}
    mkdir -p -- "$(dirname -- "$target")"
    case $path in
      *.part-001) cat -- "$volume/$path" > "$target" ;;
      *.part-[0-9][0-9][0-9]) cat -- "$volume/$path" >> "$target" ;;
      *) cp -- "$volume/$path" "$target" ;;
    esac
    continue 2
  done
  echo "error: $path is missing: it is on $name" >&2
  exit 1
done < "$1/VOLUMES"
echo "joined in $into: now run sh $into/VERIFY.sh"
