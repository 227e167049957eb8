#!/bin/sh
# firmware.sh OWNER_GUID enforce|open: OVMF built for Secure Boot: /out/code and /out/vars, the variables enrolled with the
# foundry's own keys only, or empty.
set -eu
cp /usr/share/OVMF/OVMF_CODE_4M.secboot.fd /out/code
if [ "$2" = open ]; then
  cp /usr/share/OVMF/OVMF_VARS_4M.fd /out/vars
  exit
fi
virt-fw-vars --input /usr/share/OVMF/OVMF_VARS_4M.fd --output /out/vars \
  --set-pk "$1" /in/pk --add-kek "$1" /in/kek --add-db "$1" /in/db --secure-boot > /work/log 2>&1 || {
  cat /work/log >&2
  exit 1
}
