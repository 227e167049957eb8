#!/bin/sh
# Runs npm under the given Node: `npm.sh NODE ARGUMENT...`. The host's npm if there is one, else the npm that
# package.json pins by hash ("packageManager"), fetched by the corepack that Debian's nodejs brings along.
set -eu
node=$1
shift
PATH=$(dirname -- "$node"):$PATH
export PATH

if command -v npm >/dev/null; then exec npm "$@"; fi
for corepack in "$(dirname -- "$(dirname -- "$node")")/usr/share/nodejs/corepack/dist/corepack.js" /usr/share/nodejs/corepack/dist/corepack.js; do
  if [ -r "$corepack" ]; then
    COREPACK_ENABLE_DOWNLOAD_PROMPT=0 exec "$node" "$corepack" npm "$@"
  fi
done
echo "error: neither npm nor corepack is installed beside $node" >&2
echo "  hint: apt-get install npm" >&2
exit 1
