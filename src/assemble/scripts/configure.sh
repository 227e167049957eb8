#!/bin/sh
# configure.sh: run the packages' maintainer scripts in /work/root, as dpkg does after unpacking. Nothing starts: there
# is no init, and policy-rc.d says no. The kernel's hooks would make an initrd that no one uses.
set -eu
umask 022
root=/work/root
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true DEBCONF_NOWARNINGS=yes INITRD=No
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mkdir -p "$root/etc/initramfs-tools"

first='base-passwd base-files'
for name in $first $(cd "$root/var/lib/dpkg/info" && ls ./*.preinst | sed -e 's|^\./||' -e 's|\.preinst$||'); do
  case $name in base-passwd | base-files) [ -n "$first" ] || continue ;; esac
  case " $first " in *" $name "*) first=${first#"$name"}; first=${first# } ;; esac
  DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_PACKAGE=${name%%:*} DPKG_MAINTSCRIPT_ARCH=amd64 DPKG_ROOT='' \
    DPKG_ADMINDIR=/var/lib/dpkg DPKG_RUNNING_VERSION=1.22 \
    chroot "$root" "/var/lib/dpkg/info/$name.preinst" install </dev/null
done
chroot "$root" dpkg --force-confold --force-unsafe-io --configure --pending </dev/null
if grep -q '^Status: .* \(unpacked\|half-configured\|triggers-.*\)$' "$root/var/lib/dpkg/status"; then
  chroot "$root" dpkg --audit >&2
  exit 1
fi
umount -R "$root/dev"
umount "$root/proc"
rm "$root/usr/sbin/policy-rc.d"
