#!/bin/sh
# unpack.sh: all packages of /work/debs into /work/root, as dpkg would have unpacked them. dpkg
# itself unpacks one package at a time; here one runs per processor, which makes the order of extraction vary. What
# could differ by order is directories that several packages ship: their mode and owner are set again at the end,
# the first package by name wins, base-files before all.
set -eu
umask 022
root=/work/root lists=/work/lists
mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/var/lib/dpkg/triggers" \
  "$root/var/lib/dpkg/alternatives" "$lists"
sh /scripts/unpack-one.sh /work/debs/base-files_* "$root" "$lists"
ls -d /work/debs/* | grep -v '/base-files_' | xargs -P "$(nproc)" -I{} sh /scripts/unpack-one.sh {} "$root" "$lists"

LC_ALL=C sort -t "$(printf '\t')" -k1,1 -k2,2 "$lists"/*.dirs | awk -F '\t' '
  function octal(text,   value, i, ch, special) {
    value = 0; special = 0
    for (i = 2; i <= 10; i++) {
      ch = substr(text, i, 1); value = value * 2 + (ch != "-" && ch != "S" && ch != "T")
      if ((ch == "s" || ch == "S")) special += (i == 4 ? 4 : 2)
      if ((ch == "t" || ch == "T")) special += 1
    }
    return special * 512 + value
  }
  function flush() { if (count > 1 && differ) printf "%o %s %s\n", octal(mode), owner, path }
  {
    if ($1 != path) { flush(); path = $1; mode = $3; owner = $4; count = 0; differ = 0; isbase = ($2 ~ /^base-files_/) }
    count++
    if ($3 != mode || $4 != owner) differ = 1
    if ($2 ~ /^base-files_/) { mode = $3; owner = $4 }
  }
  END { flush() }
' | while read -r mode owner path; do
  chown "$(echo "$owner" | tr / :)" "$root/$path"
  chmod "$mode" "$root/$path"
done

LC_ALL=C
export LC_ALL
cat "$lists"/*.status > "$root/var/lib/dpkg/status"
: > "$root/var/lib/dpkg/available"
echo 1 > "$root/var/lib/dpkg/info/format"
echo amd64 > "$root/var/lib/dpkg/arch"
for file in "$root"/var/lib/dpkg/info/*.triggers; do
  id=$(basename "$file" .triggers)
  sed -e 's/#.*//' "$file" | while read -r kind what; do
    case $kind in
      interest | interest-await) suffix= ;;
      interest-noawait) suffix=/noawait ;;
      *) continue ;;
    esac
    case $what in
      /*) echo "$what $id$suffix" >> "$root/var/lib/dpkg/triggers/File" ;;
      *) echo "$id$suffix" >> "$root/var/lib/dpkg/triggers/$what" ;;
    esac
  done
done
rm -r "$lists"
