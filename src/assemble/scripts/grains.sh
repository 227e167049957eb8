#!/bin/sh
# grains.sh BYTES: the grains of /in/raw, compressed one by one, in /out/grains; their lengths in /out/lengths.
set -eu
exec python3 /scripts/deflate.py grains /in/raw /out/grains /out/lengths "$1"
