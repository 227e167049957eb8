#!/bin/sh
# VERIFY.sh: is every byte of this capsule what it was? Needs a shell and sha256sum, nothing of kubedos.
# Who made it is another question: SHA256SUMS.sig is a signify signature over SHA256SUMS, see README.md.
cd -- "$(dirname -- "$0")" || exit 2
bad=0
if [ -e VOLUMES ] && [ ! -e capsule.json ]; then
  echo "this is one volume of several: join them first, see README.md" >&2
  exit 2
fi
sha256sum --quiet -c SHA256SUMS || bad=1

# Files that the list does not name.
look() {
  for entry in "$1"* "$1".[!.]*; do
    if [ -d "$entry" ] && [ ! -L "$entry" ]; then
      look "$entry/"
    elif [ -e "$entry" ] || [ -L "$entry" ]; then
      case $entry in SHA256SUMS | SHA256SUMS.sig) continue ;; esac
      while read -r _ name; do
        [ "$name" != "$entry" ] || continue 2
      done < SHA256SUMS
      echo "$entry: not listed: nothing vouches for it"
      bad=1
    fi
  done
}
look ''
if [ "$bad" = 0 ]; then echo "all files are whole and unaltered"; else echo "this capsule is DAMAGED"; fi
exit "$bad"
