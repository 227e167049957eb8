#!/bin/sh
# vmlinux.sh: the ELF kernel out of a bzImage's payload, one zstd frame: /in/payload to /out/vmlinux.
set -eu
zstd --quiet --decompress -o /out/vmlinux /in/payload
