#!/bin/sh
# firmware.sh OWNER_GUID enforce|open: OVMF built for Secure Boot: /out/code and /out/vars, the variables enrolled with the
# foundry's own keys only and without what /in/denied says, or empty; /out/aws: the variables as EC2 takes them.
set -eu
cp /usr/share/OVMF/OVMF_CODE_4M.secboot.fd /out/code
if [ "$2" = open ]; then
  cp /usr/share/OVMF/OVMF_VARS_4M.fd /out/vars
  set --
else
  set -- --set-pk "$1" /in/pk --add-kek "$1" /in/kek --add-db "$1" /in/db --secure-boot --output /out/vars
  [ ! -e /in/denied ] || set -- "$@" --set-json /in/denied
fi
virt-fw-vars --input /usr/share/OVMF/OVMF_VARS_4M.fd "$@" --output-aws /out/aws > /work/log 2>&1 || {
  cat /work/log >&2
  exit 1
}
