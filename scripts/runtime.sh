#!/bin/sh
# Prints the path of a Node that is new enough for kubedos, made of Debian 13's own packages in a private directory of
# the project, for hosts whose own Node is too old or missing. Needs no root; changes nothing outside the cache.
#
# apt resolves nodejs in a root of its own (signed indices, every package checked against their sha256), the packages
# are only extracted, and the directory's name is the hash of the list of packages.
# KUBEDOS_MIRROR: base URL of a Debian archive to use instead of the host's own apt sources.
set -eu

cache=${KUBEDOS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kubedos}/runtime
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
codenames='oldoldstable|oldstable|stable|testing|unstable|bullseye|bookworm|trixie|forky|sid'

say() { printf '%s\n' "$*" >&2; }
fail() {
  say "error: $1"
  say "  hint: $2"
  exit 1
}

# 1. Made before?
if [ -x "$cache/current/bin/node" ]; then
  readlink -f "$cache/current/bin/node"
  exit 0
fi

# 2. What it takes
for tool in apt-get dpkg-deb sha256sum flock; do
  command -v "$tool" >/dev/null || fail "Node 20.19 or newer is needed, and without $tool it cannot be made here" \
    "install Node 20.19 or newer and put it in PATH"
done
[ "$(dpkg --print-architecture)" = amd64 ] || fail "a private Node runtime is made on amd64 only" "install Node 20.19 or newer and put it in PATH"
[ -r "$keyring" ] || fail "$keyring is missing, so Debian's signatures cannot be checked" "apt-get install debian-archive-keyring"
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
if [ -x "$cache/current/bin/node" ]; then
  readlink -f "$cache/current/bin/node"
  exit 0
fi
say "Node 20.19 or newer is not installed: making a private runtime of Debian 13's nodejs in $cache ..."
work=$(mktemp -d "$cache/new.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

# 3. A root for apt alone: the host's way to servers (proxies, credentials), nothing else of the host
mkdir -p "$work/state/lists/partial" "$work/archives/partial" "$work/root"
: >"$work/state/status"
cat >"$work/apt.conf" <<EOF
Dir::State "$work/state";
Dir::State::status "$work/state/status";
Dir::Cache "$work";
Dir::Cache::archives "$work/archives";
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "root";
APT::Default-Release "";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
#clear APT::Update;
#clear DPkg;
EOF
apt() { LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -qq -c "$work/apt.conf" "$@" </dev/null; }

# 4. The mirror: as told, or the host's own
mirror=${KUBEDOS_MIRROR:-}
if [ -z "$mirror" ]; then
  mkdir "$work/no-lists"
  mirror=$(LC_ALL=C apt-get update --print-uris -o Dir::State::lists="$work/no-lists" -o APT::Sandbox::User=root 2>/dev/null |
    sed -En "s#^'([^']+)/dists/($codenames)(-updates)?/(In)?Release' .*#\1#p" | sed 's#/*$##' | head -n 1)
fi
[ -n "$mirror" ] || fail "this host's apt has no Debian source to take Node from" \
  "name one: KUBEDOS_MIRROR=http://deb.debian.org/debian (or install Node 20.19 or newer)"
mirror=${mirror%/}
case "$mirror" in
  */debian) security="${mirror%/debian}/debian-security" ;;
  *) security='' ;;
esac
{
  echo "deb [signed-by=$keyring] $mirror trixie main"
  if [ -n "$security" ]; then echo "deb [signed-by=$keyring] $security trixie-security main"; fi
} >"$work/sources.list"

# 5. Resolve and fetch: apt checks the signatures of the indices and the hash of every package
apt update >&2 || fail "the package index of Debian 13 could not be fetched from $mirror" \
  "check the network and the messages above, or name another mirror: KUBEDOS_MIRROR=URL"
apt install -y --download-only nodejs >&2 || fail "Debian 13's nodejs could not be fetched from $mirror" "run again: what came already is not lost at the mirror"
(cd "$work/archives" && sha256sum -- *.deb) >"$work/packages"
hash=$(sha256sum <"$work/packages" | cut -c 1-16)

# 6. Extract only: no maintainer script runs
for package in "$work"/archives/*.deb; do dpkg-deb -x "$package" "$work/root"; done
lib="$work/root/usr/lib/x86_64-linux-gnu"

# Debian's libnode reads six of node's built-in modules from /usr/share/nodejs. The path in our copy becomes one of the
# same length below a directory that the wrapper opens as descriptor 8.
LC_ALL=C sed -i 's#/usr/share/nodejs/#/proc/self/fd/8///#g' "$lib"/libnode.so.*
mkdir "$work/root/bin"
cat >"$work/root/bin/node" <<'EOF'
#!/bin/sh
here=$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")")
exec 8<"$here/usr/share/nodejs"
exec "$here/usr/lib64/ld-linux-x86-64.so.2" --library-path "$here/usr/lib/x86_64-linux-gnu" \
  "$here/usr/bin/node" --require "$here/own-path.cjs" "$@"
EOF
cat >"$work/root/own-path.cjs" <<'EOF'
// Run through its own ld.so, node takes that for its path; what starts node again must go through the wrapper.
const bin = `${__dirname}/bin`;
process.execPath = process.argv[0] = `${bin}/node`;
const path = process.env.PATH ?? "/usr/bin:/bin";
if (!path.startsWith(`${bin}:`)) process.env.PATH = `${bin}:${path}`;
EOF
chmod 755 "$work/root/bin/node"
cp "$work/packages" "$work/root/packages.sha256"

# 7. Try it, then put it in place
"$work/root/bin/node" --eval 'new (require("node:worker_threads").Worker)("", { eval: true })' >&2 ||
  fail "the private Node runtime does not run on this host" "install Node 20.19 or newer and put it in PATH"
[ -e "$cache/$hash" ] || mv "$work/root" "$cache/$hash"
ln -sfn "$hash" "$cache/current"
say "private Node runtime: $("$cache/$hash/bin/node" --version)"
readlink -f "$cache/current/bin/node"
