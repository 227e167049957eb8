#!/bin/sh
# What the image has in /var and the state has not, such as users' directories of packages.
. /usr/lib/kubedos/state-common.sh
. /usr/lib/kubedos/state.conf
# As all others see it.
mounted=$(sed -n 's|^\([^ ]*\) /var .*|\1|p' /proc/self/mounts | tail -n 1)
[ "$mounted" = "$(cat $run/state-device)" ] || fail "the state partition is not /var, but ${mounted:-nothing}"
mark=/var/lib/kubedos/image roothash=$(cat $run/roothash)
if [ "$(cat $mark 2>/dev/null)" != "$roothash" ]; then
  tar -C $run/image/var --exclude=./lib/dpkg -cf - . | tar -C /var --skip-old-files -xpf - > "$log" 2>&1 ||
    fail "the state partition cannot be filled: $(tail -n 1 "$log")"
  mkdir -p /var/lib/kubedos
  echo "$roothash" > $mark.new
  mv $mark.new $mark
fi
echo "$mode" > $run/state
