#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The tools of util-linux on a disk that ublk_srv serves from a file.

set -uo pipefail
# shellcheck source=tools/testing/selftests/ublk/tap.sh
. "$(dirname "$0")/tap.sh"

SIZE=$((4 << 20))

# zero OFFSET LENGTH: does the disk read as zeroes there?
zero()
{
	cmp -s -n "$2" -i "$1:0" "$disk" /dev/zero
}

# data OFFSET LENGTH: does it read as what was written at first?
data()
{
	cmp -s -n "$2" -i "$1" "$disk" "$work/data"
}

# cleared COMMAND...: is the second MiB, and nothing else, zero after it?
cleared()
{
	dd if="$work/data" of="$disk" bs=1M conv=fsync status=none &&
		"$@" -o 1MiB -l 1MiB "$disk" >"$work/out" 2>&1 &&
		data 0 $((1 << 20)) && zero $((1 << 20)) $((1 << 20)) &&
		data $((2 << 20)) $((SIZE - (2 << 20)))
}

get()
{
	blockdev "$1" "$disk"
}

# Called by the trap:
# shellcheck disable=SC2329
clean_up()
{
	"$HERE/ublk_srv" del -n "$id"
	rm -rf "$work"
}

needs_driver
needs_tools blkdiscard fallocate blockdev

work=$(mktemp -d)
head -c "$SIZE" /dev/urandom >"$work/data"
disk=$("$HERE/ublk_srv" add -b -t loop -f "$work/disk" -s "$SIZE") || {
	rm -rf "$work"
	echo "Bail out! ublk_srv cannot add a disk"
	exit 1
}
id=${disk#/dev/ublkb}
trap clean_up EXIT

echo "TAP version 13"

[ "$(get --getsize64)" = "$SIZE" ] && [ "$(get --getsz)" = $((SIZE >> 9)) ]
report "blockdev_shows_the_size"

[ "$(get --getss)" = "$(cat "/sys/block/${disk#/dev/}/queue/logical_block_size")" ]
report "blockdev_shows_the_block"

blockdev --setra 512 "$disk" && [ "$(get --getra)" = 512 ] &&
	[ "$(cat "/sys/block/${disk#/dev/}/queue/read_ahead_kb")" = 256 ]
report "blockdev_sets_the_readahead"

blockdev --setro "$disk" && [ "$(get --getro)" = 1 ] &&
	! dd if=/dev/zero of="$disk" count=1 status=none 2>"$work/out" &&
	blockdev --setrw "$disk" && dd if=/dev/zero of="$disk" count=1 status=none
report "blockdev_makes_the_disk_read_only_and_back"

cleared blkdiscard
report "blkdiscard_frees_a_range"

cleared blkdiscard --zeroout
report "blkdiscard_zeroes_a_range"

cleared fallocate --punch-hole
report "fallocate_punches_a_hole"

cleared fallocate --zero-range --keep-size
report "fallocate_zeroes_a_range"

blkdiscard -f "$disk" && zero 0 "$SIZE"
report "blkdiscard_frees_the_disk"

finish
