#!/bin/sh
# unpack-one.sh DEB ROOT LISTS: extract one package the way dpkg's unpack does: its files, its control files under
# var/lib/dpkg/info and its paragraph for the status file. Several run at once; directory entries are noted in
# LISTS, because two packages may ship the same directory with other modes (see unpack.sh).
set -eu
deb=$1 root=$2 lists=$3
name=$(basename "$deb")
work=$(mktemp -d "$lists/work.XXXXXX")
dpkg-deb --fsys-tarfile "$deb" > "$work/data.tar"
tar -xpf "$work/data.tar" -C "$root" --numeric-owner --no-overwrite-dir --delay-directory-restore
tar -tvf "$work/data.tar" --numeric-owner --quoting-style=literal | awk -v name="$name" '
  /^d/ { mode = $1; owner = $2; path = $0; sub(/^[^ ]+ +[^ ]+ +[^ ]+ +[^ ]+ +[^ ]+ /, "", path); print path "\t" name "\t" mode "\t" owner }
' > "$lists/$name.dirs"
dpkg-deb -e "$deb" "$work/control"
control=$work/control/control
package=$(sed -n 's/^Package: //p' "$control")
if grep -qx 'Multi-Arch: same' "$control"; then id=$package:$(sed -n 's/^Architecture: //p' "$control"); else id=$package; fi
info=$root/var/lib/dpkg/info/$id
tar -tf "$work/data.tar" --quoting-style=literal | sed -e 's|^\.||' -e 's|/$||' -e 's|^$|/.|' > "$info.list"
{
  sed -n '1p' "$control"
  echo 'Status: install ok unpacked'
  sed '1d' "$control"
  if [ -f "$work/control/conffiles" ]; then
    echo 'Conffiles:'
    grep '^/' "$work/control/conffiles" | while read -r file; do
      [ ! -f "$root$file" ] || echo " $file $(md5sum < "$root$file" | cut -d' ' -f1)"
    done
  fi
  echo
} > "$lists/$package.status"
rm "$control"
for file in "$work/control"/*; do
  [ -f "$file" ] || continue
  kind=$(basename "$file")
  cp "$file" "$info.$kind"
  case $kind in
    preinst | postinst | prerm | postrm | config) chmod 755 "$info.$kind" ;;
    *) chmod 644 "$info.$kind" ;;
  esac
done
rm -r "$work"
