#!/bin/sh
# qcow2.sh: /in/raw as qcow2 in /out/image; the format holds no time and no random id.
set -eu
qemu-img convert -f raw -O qcow2 /in/raw /out/image
