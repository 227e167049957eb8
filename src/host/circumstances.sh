#!/bin/sh
# circumstances.sh root|user UMASK HOSTNAME CPU COMMAND ARG ...
# Runs COMMAND with another umask and host name, on one processor, and in a user namespace: `root` maps the host's ids
# as they are, so that root keeps its files but has no rights over the host; `user` makes the user root of the namespace.
set -eu
mode=$1
shift
case $mode in
  inside)
    # No ids until the other side has written them down.
    until read -r first _ < /proc/self/uid_map && [ -n "$first" ]; do sleep 0.05; done
    umask "$1"
    hostname "$2"
    cpu=$3
    shift 3
    exec taskset -c "$cpu" "$@"
    ;;
  user) exec unshare --user --map-root-user --map-auto --uts sh "$0" inside "$@" ;;
  root)
    exec 3<&0
    unshare --user --uts sh "$0" inside "$@" <&3 3<&- &
    pid=$!
    while [ "$(readlink "/proc/$pid/ns/user")" = "$(readlink /proc/self/ns/user)" ]; do
      kill -0 "$pid" || exit 1
      sleep 0.05
    done
    echo '0 0 4294967295' > "/proc/$pid/gid_map"
    echo '0 0 4294967295' > "/proc/$pid/uid_map"
    wait "$pid"
    ;;
esac
