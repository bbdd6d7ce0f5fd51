#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A ublk device from an ordinary user's point of view, with nobody's help but
# udev's: the rules of 60-ublk.rules are installed for the time of the test, the
# rest is ublk_srv, run by a user who has no other rights.

set -uo pipefail
# shellcheck source=tools/testing/selftests/ublk/tap.sh
. "$(dirname "$0")/tap.sh"

RULES=/run/udev/rules.d/60-ublk.rules
OWNER=65534
STRANGER=65533
SIZE=$((16 << 20))

# as USER COMMAND...: without the rights of root, and without its groups
as()
{
	local user=$1

	shift
	setpriv --reuid "$user" --regid "$user" --clear-groups \
		--inh-caps=-all --bounding-set=-all "$@" 2>"$work/err"
}

# says WORDS COMMAND...: does the command fail, and with these words?
says()
{
	local words=$1

	shift
	! "$@" >"$work/out" || return 1
	grep -q "$words" "$work/err"
}

# belongs USER NODE...: and nobody else may touch them
belongs()
{
	local user=$1 node

	shift
	for node; do
		[ "$(stat -c '%u %g %a' "$node")" = "$user $user 600" ] || return 1
	done
}

# add OPTION...: a device of the owner; sets disk and id
add()
{
	disk=$(as "$OWNER" "$srv" add --unprivileged -b "$@") || {
		sed 's/^/# /' "$work/err"
		return 1
	}
	id=${disk#/dev/ublkb}
}

del()
{
	as "$OWNER" "$srv" del -n "$id" && [ ! -e "$disk" ] &&
		[ ! -e "/dev/ublkc$id" ]
}

# dies: the device loses its disk, soon and without a word to us
dies()
{
	local tries

	for ((tries = 0; tries < 100; tries++)); do
		! as "$OWNER" "$srv" list -n "$id" | grep -q " dead " || return 0
		sleep .1
	done
	return 1
}

data_comes_back()
{
	head -c "$SIZE" /dev/urandom >"$work/data"
	chmod 644 "$work/data"
	as "$OWNER" dd if="$work/data" of="$disk" bs=64k oflag=direct &&
		as "$OWNER" dd if="$disk" bs=64k iflag=direct |
			cmp - "$work/data" &&
		cmp "$work/home/disk" "$work/data"
}

install_rules()
{
	install -m 755 "$HERE/ublk_srv" "$srv"
	mkdir -p "${RULES%/*}"
	sed "s,/usr/local/bin/ublk_srv,$srv," "$HERE/60-ublk.rules" >"$RULES"
	udevadm control --reload
	udevadm trigger --settle --action=change /sys/class/misc/ublk-control
}

# Called by the trap:
# shellcheck disable=SC2329
clean_up()
{
	"$srv" del -a
	rm -f "$RULES"
	udevadm control --reload
	chmod 600 /dev/ublk-control
	rm -rf "$work"
}

[ "$(id -u)" = 0 ] || skip_all "needs root to install a rule"
needs_tools udevadm setpriv
needs_driver
[ ! -e "$RULES" ] || skip_all "there is a $RULES already"
udevadm control --ping --timeout=10 2>/dev/null || skip_all "udevd is not running"

# A folder that programs of others may be run from.
work=$(mktemp -d /run/ublk-test-XXXXXX)
srv=$work/ublk_srv
trap clean_up EXIT
install_rules
chmod 755 "$work"
install -d -o "$OWNER" -g "$OWNER" "$work/home"

echo "TAP version 13"

[ "$(stat -c %a /dev/ublk-control)" = 666 ]
report "everyone_may_ask_for_a_device"

says "Operation not permitted" as "$OWNER" "$srv" add
report "user_without_the_option_is_refused"

add -t loop -f "$work/home/disk" -s "$SIZE"
report "user_adds_a_device"

belongs "$OWNER" "$disk" "/dev/ublkc$id"
report "both_nodes_are_the_users_when_the_path_is_printed"

[ "$("$srv" owner -n "$id")" = "$OWNER $OWNER" ]
report "owner_prints_both_ids"

[ -n "$(as "$OWNER" "$srv" list)" ]
report "owner_lists_the_device"

data_comes_back
report "owner_reads_what_it_wrote"

says "Permission denied" as "$STRANGER" dd if="$disk" of=/dev/null count=1
report "stranger_does_not_read_the_disk"

[ -z "$(as "$STRANGER" "$srv" list)" ]
report "stranger_lists_nothing"

says "Permission denied" as "$STRANGER" "$srv" del -n "$id"
report "stranger_does_not_delete_the_device"

del
report "owner_deletes_the_device"

add --recovery --quiesce && as "$OWNER" "$srv" quiesce -n "$id" && dies
report "owner_quiesces_a_device_which_dies"

says "Invalid argument" as "$OWNER" "$srv" recover -n "$id"
report "owner_cannot_recover_it"

del
report "owner_deletes_a_dead_device"

add && "$srv" list -n "$id" >"$work/out" && "$srv" del -n "$id"
report "root_lists_and_deletes_devices_of_users"

disk=$("$srv" add -b) && id=${disk#/dev/ublkb} && udevadm settle &&
	[ "$(stat -c %u "$disk" "/dev/ublkc$id" | sort -u)" = 0 ]
report "devices_of_root_stay_with_root"

! "$srv" owner -n "$id" >"$work/out" 2>&1 && [ ! -s "$work/out" ]
report "owner_is_silent_about_devices_of_root"

says "Operation not permitted" as "$OWNER" "$srv" del -n "$id"
report "user_does_not_delete_devices_of_root"

"$srv" del -n "$id"
! "$srv" owner -n "$id" >"$work/out" 2>&1 && [ ! -s "$work/out" ]
report "owner_is_silent_about_devices_that_are_not_there"

finish
