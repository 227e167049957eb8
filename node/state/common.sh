# For the three steps that make the state partition /var (docs/identity.md). What cannot be used is one clear line on the
# console and a stop; nothing that is already there is ever wiped.
set -u
# The agent, another user, reads what is left in /run.
umask 022
run=/run/kubedos
log=$run/state.log

# The unit's failure turns the machine off, after the agent, which holds the events port, has passed this on.
fail() {
  printf '\r\nkubedos: boot stopped: %s\n' "$*" > /dev/console
  echo "$*" > $run/stopped.new
  mv $run/stopped.new $run/stopped
  sleep 5
  exit 1
}

# Runs a tool; its last line says what went wrong.
try() {
  what=$1
  shift
  "$@" > "$log" 2>&1 || fail "$what: $(tail -n 1 "$log")"
}
