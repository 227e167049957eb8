#!/bin/sh
# playbooks.sh: the user's site.yml (in /in/content, an archive of the cluster layer's ansible/) read by the platform's
# own Ansible (of /in/tree, with the roles of /in/platform) against /in/inventory. Nothing of it runs. Writes what
# Ansible says to /out/log and prints its exit status.
set -eu
mkdir /work/root
tar -xf /in/tree -C /work/root --exclude=./usr/share/doc --exclude=./usr/lib/modules --exclude=./boot --exclude=./var
(cd /work/root && cpio --quiet -idm --no-absolute-filenames < /in/platform)
mkdir -p /work/root/run /work/root/tmp /work/root/proc /work/root/dev
(cd /work/root/run && cpio --quiet -idm --no-absolute-filenames < /in/content)
cp /in/inventory /work/root/run/inventory.yml
mount -t proc proc /work/root/proc
mount --rbind /dev /work/root/dev
status=0
chroot /work/root env HOME=/tmp LANG=C.UTF-8 LC_ALL=C.UTF-8 ANSIBLE_LOCAL_TEMP=/tmp/ansible ANSIBLE_NOCOLOR=1 \
  ANSIBLE_ROLES_PATH=/usr/share/kubedos/ansible/roles PYTHONDONTWRITEBYTECODE=1 \
  ansible-playbook --syntax-check --inventory /run/inventory.yml /run/kubedos/layer/ansible/site.yml \
  > /work/log 2>&1 || status=$?
umount -R /work/root/dev
umount /work/root/proc
sed -e 's|/run/kubedos/layer/||g' /work/log > /out/log
echo "status $status"
