#!/bin/sh
# packages.sh: apt's index of the packages of /in/debs (lines "path object", objects below /in/objects) as /out/Packages
# and /out/Packages.xz. Sorted: apt-ftparchive takes files as the directory gives them. An installer's parts (.udeb) are
# shown to it as packages: it takes no other ending.
set -eu
mkdir /work/repository
cd /work/repository
while read -r path object; do
  mkdir -p "${path%/*}"
  case $path in *.udeb) path=${path%.udeb}.udeb.deb ;; esac
  ln -s "/in/objects/$object" "$path"
done < /in/debs
mkdir -p pool
apt-ftparchive -o APT::FTPArchive::MD5=false -o APT::FTPArchive::SHA1=false -o APT::FTPArchive::SHA512=false \
  -o APT::FTPArchive::AlwaysStat=false packages pool > /work/packages
sed 's/^\(Filename: .*\.udeb\)\.deb$/\1/' /work/packages | perl -00 -e 'print sort <>' > /out/Packages
xz --threads=1 -6 --keep --stdout /out/Packages > /out/Packages.xz
