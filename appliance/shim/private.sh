#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Takes from the kernel's source the two headers of OCFS2's cluster stack that no headers package ships.
# usage: private.sh [linux-source-6.1.tar.xz | folder of an unpacked source]; run in the folder of the module.
# PALISADE_SOURCE stands for the argument where DKMS calls.
set -eu
[ -r private/stackglue.h ] && [ -r private/dlm/dlmapi.h ] && exit 0
source=${1:-${PALISADE_SOURCE:-/usr/src/linux-source-6.1.tar.xz}}
[ -r "$source" ] || { echo "private.sh: $source is missing: apt-get install linux-source-6.1" >&2; exit 1; }
mkdir -p private/dlm
if [ -d "$source" ]; then
    cp "$source/fs/ocfs2/stackglue.h" private/
    cp "$source/fs/ocfs2/dlm/dlmapi.h" private/dlm/
else
    tar -C private -xf "$source" --wildcards --strip-components=3 '*/fs/ocfs2/stackglue.h' '*/fs/ocfs2/dlm/dlmapi.h'
fi
