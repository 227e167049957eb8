#!/bin/sh
# netinst-initrd.sh: kernel and initrd of Debian's installer, /out/vmlinuz and /out/initrd: the installer's own
# text initrd (from /in/installer, its package) with the platform's kernel (/in/kernel) and that kernel's modules, the
# files of /in/files (cpio), and MEDIUM_PARTS of the installer's parts in /in/parts (lines "path object", objects below
# /in/objects). INITRD_PARTS must be there. TOOLS (objects) are packages whose programs stand for REPLACED_PARTS. What
# waits for a network, speaks or is for other kernels is left out; all else comes from the medium.
set -eu
umask 022
tree=/work/tree kernel=/work/kernel
mkdir -p "$tree" "$kernel"
# 1. The installer's initrd. Its device nodes are in the kernel's own initramfs, and then in devtmpfs.
dpkg-deb --fsys-tarfile /in/installer |
  tar -xOf - --wildcards './usr/lib/debian-installer/images/*/text/debian-installer/amd64/initrd.gz' > /work/initrd.gz
(cd "$tree" && gzip -dc /work/initrd.gz | cpio --quiet -idm --no-absolute-filenames -f 'dev/*')
status=$tree/var/lib/dpkg/status info=$tree/var/lib/dpkg/info
# 2. Parts that are not used, as the installer's list of parts has them.
unused='^(.*-modules-.*-di|kernel-image-.*-di|net-retriever|download-installer|choose-mirror.*|netcfg|ethdetect|network-preseed|media-retriever|mountmedia|wide-dhcpv6-client-udeb|rdnssd-udeb|ndisc6-udeb|brltty-udeb|wpasupplicant-udeb|wireless-regdb-udeb|lowmemcheck|haveged-udeb|console-setup.*|kbd-udeb|screen-udeb|rescue-check)$'
awk -v RS= -v unused="$unused" '{ split($0, line, "\n"); name = line[1]; sub(/^Package: /, "", name) }
  name ~ unused { print name > "/work/unused"; next } { print $0 "\n" }' "$status" > /work/status
while read -r name; do rm -f "$info/$name".*; done < /work/unused
rm -rf "$tree"/lib/modules "$tree"/lib/firmware "$tree"/lib/brltty "$tree"/etc/brltty* "$tree"/usr/share/alsa "$tree"/lib/netcfg \
  "$tree"/lib/choose-mirror "$tree"/lib/libasound* "$tree"/lib/debian-installer.d/S19brltty \
  "$tree"/lib/debian-installer.d/S20speakup "$tree"/lib/debian-installer.d/S55console-setup \
  "$tree"/lib/debian-installer-startup.d/S15lowmem "$tree"/lib/debian-installer-startup.d/S37brltty \
  "$tree"/lib/debian-installer-startup.d/S37speakup "$tree"/lib/debian-installer-startup.d/S38lowmemwarn \
  "$tree"/lib/debian-installer-startup.d/S50entropy-source "$tree"/lib/debian-installer-startup.d/S60rescue-check
# 3. Parts that read the medium, as `udpkg --unpack` leaves them.
for name in $MEDIUM_PARTS; do
  object=$(awk -v name="$name" '$1 ~ "/" name "_" { print $2 }' /in/parts)
  [ -n "$object" ] || { echo "the installer's part $name is not in the lock" >&2; exit 1; }
  ! grep -qx "Package: $name" /work/status || continue
  dpkg-deb --fsys-tarfile "/in/objects/$object" | tar -C "$tree" -xf - --keep-directory-symlink
  rm -rf /work/control
  dpkg-deb --control "/in/objects/$object" /work/control
  sed "1a Status: install ok unpacked" /work/control/control >> /work/status
  echo >> /work/status
  for member in /work/control/*; do
    case ${member##*/} in control | md5sums) ;; *) cp -p "$member" "$info/$name.${member##*/}" ;; esac
  done
done
for name in $REPLACED_PARTS; do
  printf 'Package: %s\nStatus: install ok installed\nVersion: 0\nArchitecture: amd64\n\n' "$name" >> /work/status
done
mkdir /work/tools
for object in $TOOLS; do dpkg-deb --extract "/in/objects/$object" /work/tools; done
cp -a /work/tools/usr/sbin/mke2fs /work/tools/usr/sbin/mkfs.ext* /work/tools/usr/sbin/e2fsck /work/tools/usr/sbin/fsck.ext* \
  /work/tools/usr/sbin/tune2fs "$tree/usr/sbin/"
cp -a /work/tools/usr/lib/x86_64-linux-gnu/*.so.* "$tree/usr/lib/x86_64-linux-gnu/"
cp /work/tools/etc/mke2fs.conf "$tree/etc/"
cp /work/status "$status"
for name in $INITRD_PARTS; do
  grep -qx "Package: $name" "$status" || { echo "Debian's installer no longer brings $name in its initrd" >&2; exit 1; }
done
# 4. The kernel, and what of its modules finds disks, media and file systems.
dpkg-deb --extract /in/kernel "$kernel"
version=$(ls "$kernel/usr/lib/modules")
cp "$kernel/boot/vmlinuz-$version" /out/vmlinuz
ln -s usr/lib "$kernel/lib"
depmod -b "$kernel" "$version"
modules=$kernel/usr/lib/modules/$version
wanted='^kernel/(arch|crypto|lib|fs/(ext4|jbd2|isofs|fat|nls|efivarfs|overlayfs)|drivers/(ata|scsi|nvme|block|virtio|cdrom|md|hid|usb/(host|storage|common|core)|char/hw_random|char/virtio_console|message|mmc|input/(keyboard|serio|evdev)|firmware|pci|rtc|hv/))'
awk -v wanted="$wanted" -F: '$1 ~ wanted { print $1; count = split($2, needs, " "); for (i = 1; i <= count; i++) print needs[i] }' \
  "$modules/modules.dep" | sort -u > /work/modules
mkdir -p "$tree/usr/lib/modules/$version"
(cd "$modules" && tar -cf - modules.builtin modules.builtin.modinfo modules.order --files-from /work/modules) |
  tar -C "$tree/usr/lib/modules/$version" -xf -
depmod -b "$tree" "$version"
# 5. Ours.
(cd "$tree" && cpio --quiet -idmu --no-absolute-filenames < /in/files)
find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
(cd "$tree" && find . | LC_ALL=C sort | cpio --quiet -o -H newc --reproducible -R 0:0) | zstd -q -12 -T1 > /out/initrd
awk -v RS= '{ name = version = architecture = ""; count = split($0, lines, "\n")
  for (i = 1; i <= count; i++) { split(lines[i], words, " ")
    if (words[1] == "Package:") name = words[2]
    if (words[1] == "Version:") version = words[2]
    if (words[1] == "Architecture:") architecture = words[2] }
  print name, version, architecture }' "$status" | LC_ALL=C sort > /out/parts
