#!/bin/sh
# The opened state partition as /var. The list of installed packages stays the image's own.
. /usr/lib/kubedos/state-common.sh
part=$(cat $run/state-device)
# Private: what is mounted on /var must not appear here too.
image=$run/image
mkdir -p $image
try 'the image cannot be read' mount --bind --make-private / $image
try "the state partition $part cannot be mounted" mount -t ext4 -o nosuid,nodev,noatime "$part" /var
try '/var cannot be written' mkdir -p /var/lib/dpkg
try '/var/lib/dpkg cannot be mounted' mount --bind -o ro $image/var/lib/dpkg /var/lib/dpkg
umount $image
rmdir $image
