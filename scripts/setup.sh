#!/bin/sh
# Installs the Debian or Ubuntu packages that kubedos needs on this host, after saying which: `setup.sh [--tests]`.
# Installs nothing where nothing is missing.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

# Building: signatures of the archive, user namespaces. Lab: machines, networks, the way in.
lab='apt ca-certificates debian-archive-keyring gpgv uidmap util-linux mount iproute2 nftables openssh-client
  wireguard-tools wireguard-go qemu-system-x86 qemu-utils ovmf swtpm systemd-container'
# What the tests compare with or build their own small archives from.
tests='age apt-utils busybox-static cpio dnsmasq-base dpkg-dev fdisk gdisk gpg gpg-agent grub-common grub-efi-amd64-bin grub-pc-bin
  openssl signify-openbsd curl fping procps python3-venv docker-registry skopeo zstd packer shellcheck socat tpm2-tools'

say() { printf '%s\n' "$*" >&2; }
fail() {
  say "error: $1"
  say "  hint: $2"
  exit 1
}

[ "${1:-}" = --tests ] && wanted="$lab $tests" || wanted=$lab
command -v apt-get >/dev/null || fail "this host has no apt: kubedos runs on Debian 12 or 13 and Ubuntu LTS" \
  "\`./kubedos doctor\` lists the tools to install by hand"

installed() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }
candidate() { LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p'; }

# shellcheck source=scripts/find-node.sh
. "$here/scripts/find-node.sh"
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"
  else
    sudo env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"
  fi
}
may_install() { [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null; }

# 0. Tests run several clusters of containers at a time; they share one limit of the kernel's.
inotify=/proc/sys/fs/inotify/max_user_instances
if [ "${1:-}" = --tests ] && [ "$(cat $inotify)" -lt 1024 ]; then
  as_root sysctl -q -w fs.inotify.max_user_instances=1024 || say "warning: fs.inotify.max_user_instances stays at $(cat $inotify)"
fi

# 1. What is missing
missing=''
for package in $wanted; do installed "$package" || missing="$missing $package"; done
if [ -z "$missing" ] && find_host_node; then exit 0; fi

# 2. What apt could bring: a bare machine has no package index yet
if may_install; then
  as_root apt-get update -qq >&2 || say "warning: apt-get update failed; going on with what apt knows"
fi
if may_install && ! find_host_node; then
  version=$(candidate nodejs)
  # Where apt's is too old, the launcher makes a private runtime.
  if is_new_enough "${version#*:}"; then missing="$missing nodejs"; fi
fi
[ -n "$missing" ] || exit 0

# 3. Say it, then do it
say "packages that kubedos needs and this host lacks:$missing"
may_install || fail "neither root nor sudo: they cannot be installed" "as root: apt-get install$missing"
# shellcheck disable=SC2086
as_root apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 $missing >&2 </dev/null ||
  fail "apt-get install$missing" "apt's messages are above; \`./kubedos doctor\` shows what is missing for what"
