#!/bin/sh
# gzip.sh: /in/plain compressed in /out/image.
set -eu
exec python3 /scripts/deflate.py gzip /in/plain /out/image
