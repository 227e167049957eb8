#!/bin/sh
# compress.sh: /in/raw as zstd in /out/zst, the sha256 of what it unpacks to in /out/sum (hex, no newline); prints both and
# the size. More or fewer processors give the same bytes (zstd(1), --threads).
set -eu
zstd -q -9 -T0 -o /out/zst /in/raw
sha256sum /in/raw | cut -d' ' -f1 | tr -d '\n' > /out/sum
echo "sha256 $(cat /out/sum)"
echo "size $(stat -c %s /in/raw)"
