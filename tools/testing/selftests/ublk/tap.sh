# SPDX-License-Identifier: GPL-2.0
#
# What the tests in shell have in common: they source this, report, and finish.
# shellcheck shell=bash disable=SC2034

# Where the programs and files of the tests are.
HERE=$(cd "$(dirname "$0")" && pwd)

nr=0
failed=0

skip_all()
{
	echo "1..0 # SKIP $1"
	exit 4
}

needs_driver()
{
	[ -e /dev/ublk-control ] || skip_all "no /dev/ublk-control: load ublk_drv"
}

# needs_tools NAME...
needs_tools()
{
	local tool

	for tool; do
		command -v "$tool" >/dev/null || skip_all "no $tool"
	done
}

# report NAME [STATUS]: one result line, without STATUS from the command before
# it; details go before it, as comments
report()
{
	local status=${2:-$?}

	nr=$((nr + 1))
	if [ "$status" -eq 0 ]; then
		echo "ok $nr $1"
	else
		echo "not ok $nr $1"
		failed=1
	fi
}

finish()
{
	echo "1..$nr"
	exit $failed
}
