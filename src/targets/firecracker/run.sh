#!/bin/sh
# run NODE SEED: starts one node of this cluster as a Firecracker machine, its console on this terminal. What the machine
# has is in machines/NODE.json. Nothing is fetched; an existing disk of the node is used again, never overwritten.
set -eu
umask 077
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

usage() {
  cat <<'END'
usage: run NODE SEED [options]
  --image FILE     the raw image (default: the one beside this directory, as `image` names it)
  --state DIR      where the node's disk is kept (default: NODE.machine in this directory)
  --bridge NAME    make the node's tap device where there is none, and put it on this bridge (needs root)
  --jail UID:GID   start it in Firecracker's jailer as this user (needs root); --state is its chroot's base
                   (default: /srv/jailer)
  --netns FILE     with --jail: network namespace that has the tap device
environment: FIRECRACKER, JAILER: the programs, where they are not in PATH
END
}

fail() {
  echo "run: $1" >&2
  echo "  $2" >&2
  exit 1
}

# 1. What is asked for.
node='' seed='' image='' state='' bridge='' jail='' netns=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --image | --state | --bridge | --jail | --netns)
      [ $# -gt 1 ] || { usage >&2; exit 2; }
      eval "${1#--}=\$2"
      shift ;;
    -*) usage >&2; exit 2 ;;
    *)
      if [ -z "$node" ]; then node=$1; elif [ -z "$seed" ]; then seed=$1; else usage >&2; exit 2; fi ;;
  esac
  shift
done
[ -n "$node" ] && [ -n "$seed" ] || { usage >&2; exit 2; }
case $jail in
  '') [ -z "$netns" ] || fail '--netns is for --jail' 'start this script in the namespace: ip netns exec NAME ./run …' ;;
  *[!0-9:]* | :* | *: | *:*:*) fail "--jail $jail is no UID:GID" 'give two numbers, e.g. --jail 123:100' ;;
  *:*) ;;
  *) fail "--jail $jail is no UID:GID" 'give two numbers, e.g. --jail 123:100' ;;
esac

# 2. What is needed.
line=$(grep "^$node " "$here/nodes") ||
  fail "there is no node $node in this cluster" "its nodes: $(cut -d' ' -f1 "$here/nodes" | tr '\n' ' ')"
config=$here/machines/$node.json
disk_gib=$(echo "$line" | cut -d' ' -f2)
tap=$(echo "$line" | cut -d' ' -f3)
firecracker=$(command -v "${FIRECRACKER:-firecracker}") ||
  fail 'there is no firecracker' 'install version 1.8 or later, or name it in the variable FIRECRACKER'
[ -z "$jail" ] || jailer=$(command -v "${JAILER:-jailer}") ||
  fail 'there is no jailer' 'it comes with firecracker; or name it in the variable JAILER'
[ -r "$seed" ] || fail "the seed $seed cannot be read" '`kubedos seed` writes it'
[ "$(head -c 15 "$seed" | tr -d '\000')" = 'KUBEDOS-SEED 1 ' ] || fail "$seed is no seed" '`kubedos seed` writes one'

# 3. The machine's directory; the jailer has its own order of things.
if [ -n "$jail" ]; then
  program=$(basename "$firecracker")
  directory=${state:-/srv/jailer}/$program/$node/root
else
  directory=${state:-$here/$node.machine}
fi
mkdir -p "$directory"
disk=$directory/disk.raw
exec 9>"$directory/lock"
flock -n 9 || fail "$node runs already, from $directory" 'end it first'
if [ ! -e "$disk" ]; then
  read -r sum name < "$here/image"
  image=${image:-$here/../$name}
  [ -r "$image" ] || fail "the image $image cannot be read" "name it: --image $name"
  [ "$(sha256sum < "$image" | cut -d' ' -f1)" = "$sum" ] ||
    fail "$image is not the image that belongs to this directory" "take the $name of the same build"
  cp --sparse=always --reflink=auto "$image" "$disk.part"
  truncate -s "${disk_gib}G" "$disk.part"
  chmod 600 "$disk.part"
  mv "$disk.part" "$disk"
fi
for file in vmlinux initrd; do cp -f "$here/$file" "$directory/$file"; done
cp -f "$config" "$directory/machine.json"
cp -f "$seed" "$directory/seed.img"
rm -f "$directory/vsock.sock"

# 4. The network card's other end.
if [ -n "$bridge" ] && [ ! -e "/sys/class/net/$tap" ]; then
  if [ -n "$jail" ]; then ip tuntap add dev "$tap" mode tap user "${jail%:*}" group "${jail#*:}"
  else ip tuntap add dev "$tap" mode tap; fi
  ip link set dev "$tap" master "$bridge" up
fi

# 5. Go.
if [ -z "$jail" ]; then
  cd "$directory"
  exec "$firecracker" --no-api --config-file machine.json
fi
# What the jailer made at the last start, and would not make again.
rm -rf "${directory:?}/dev" "${directory:?}/run" "${directory:?}/$program"
for file in . vmlinux initrd machine.json seed.img disk.raw; do chown "$jail" "$directory/$file"; done
chmod 400 "$directory/seed.img"
exec "$jailer" --id "$node" --exec-file "$firecracker" --uid "${jail%:*}" --gid "${jail#*:}" \
  --chroot-base-dir "${state:-/srv/jailer}" ${netns:+--netns "$netns"} -- --no-api --config-file machine.json
