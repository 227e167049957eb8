#!/bin/sh
# shim.sh: Debian's shim (/out/unsigned) and MokManager (/out/manager) from the packages /in/shim and /in/helpers.
set -eu
umask 022
dpkg-deb -x /in/shim /work/shim
dpkg-deb -x /in/helpers /work/helpers
cp /work/shim/usr/lib/shim/shimx64.efi.signed /out/unsigned
cp /work/helpers/usr/lib/shim/mmx64.efi.signed /out/manager
