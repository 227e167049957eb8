# Sourced by POSIX shells with $here set to the project's root.
# shellcheck shell=sh disable=SC2154

# Sets $node: the host's where it is new enough, else the project's private runtime, which is made if need be.
find_node() {
  find_host_node || node=$("$here/scripts/runtime.sh") || exit 1
}

# Sets $node to the host's, or fails where it has none that is new enough.
find_host_node() {
  for name in node nodejs; do
    node=$(command -v "$name") && is_new_enough "$("$node" --version 2>/dev/null)" && return
  done
  return 1
}

# Node 20.19 or newer, e.g. `v20.19.2`.
is_new_enough() {
  major=${1#v}
  minor=${major#*.}
  major=${major%%.*}
  minor=${minor%%.*}
  case "$major$minor" in '' | *[!0-9]*) return 1 ;; esac
  [ "$major" -gt 20 ] || { [ "$major" -eq 20 ] && [ "$minor" -ge 19 ]; }
}
