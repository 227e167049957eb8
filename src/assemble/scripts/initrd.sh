#!/bin/sh
# initrd.sh: kernel and initrd from the kernel's package, the foundry's busybox and TOOLS (paths): /out/vmlinuz, /out/initrd;
# prints the kernel's version. MODULES (words) are what the initrd may need; what they depend on is added in order: /m/order.
# /m/cards says which PCI devices the drivers of network cards among them are for.
set -eu
umask 022
kernel=/work/kernel image=/work/image
mkdir -p "$kernel" "$image/m" "$image/bin" "$image/dev" "$image/proc" "$image/sys" "$image/run" "$image/sysroot" "$image/root"
dpkg-deb --extract /in/kernel "$kernel"
version=$(ls "$kernel/usr/lib/modules")
cp "$kernel/boot/vmlinuz-$version" /out/vmlinuz
ln -s usr/lib "$kernel/lib"
depmod -b "$kernel" "$version"
for module in $MODULES; do
  modprobe -d "$kernel" -S "$version" --show-depends "$module" 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p' || true
done | awk '!seen[$0]++' > /work/modules
[ -s /work/modules ] || { echo "no module found in $version" >&2; exit 1; }
while read -r file; do
  name=$(basename "$file" .xz)
  xz -dc "$file" > "$image/m/$name"
  echo "$name" >> "$image/m/order"
  case $file in */drivers/net/ethernet/*) modinfo -F alias "$image/m/$name" | sed -n "s/^pci:/$name &/p" >> "$image/m/cards" ;; esac
done < /work/modules
cp /usr/bin/busybox "$image/bin/busybox"
mkdir -p "$image/lib64" "$image/lib/x86_64-linux-gnu"
cp -L /usr/lib64/ld-linux-x86-64.so.2 "$image/lib64/"
for tool in $TOOLS; do
  cp "$tool" "$image/bin/"
  ldd "$tool" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p'
done | sort -u | while read -r library; do cp -L "$library" "$image/lib/x86_64-linux-gnu/"; done
cp /in/init "$image/init"
chmod 755 "$image/init"
[ ! -e /in/seed ] || cp /in/seed "$image/seed"
find "$image" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
(cd "$image" && find . | LC_ALL=C sort | cpio --quiet -o -H newc --reproducible -R 0:0) | zstd -q -12 -T1 > /out/initrd
echo "uname $version"
