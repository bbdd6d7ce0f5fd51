# SPDX-License-Identifier: GPL-2.0
# What every lab script shares: where things are, how the lab speaks, and
# how a cache entry gets its key.  Sourced, never run.
# shellcheck shell=sh disable=SC2034

TOP=$(cd "$(dirname "$0")/.." && pwd -P) || exit 1
LAB=$TOP/lab
BUILD=$TOP/build
CACHE=${UBLK_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ublk-lab}
PATH=$PATH:/usr/sbin:/sbin

# shellcheck source=lab/config
. "$LAB/config"

# Not to standard output: some callers want the words of a script there.
say()
{
	printf '== %s\n' "$*" >&2
}

die()
{
	printf 'lab: %s\n' "$*" >&2
	exit 1
}

# key FILE...: a short name for the contents of these files
key()
{
	cat "$@" | sha256sum | cut -c1-12
}

# room MIB DIR: end with one line unless DIR's disk has that much left
room()
{
	mkdir -p "$2" 2>/dev/null || die "cannot create $2"
	free=$(df -Pm "$2" | awk 'NR == 2 { print $4 }')
	[ "$free" -ge "$1" ] ||
		die "no room: $2 has $free MiB free, $1 MiB are needed" \
		    "(UBLK_CACHE=DIR puts the cache elsewhere)"
}

# awk_live ARGUMENT...: awk that shows its output as it comes; mawk reads ahead
# unless told not to
awk_live()
{
	case $(awk -W version 2>&1 </dev/null) in
	mawk*) awk -W interactive "$@" ;;
	*) awk "$@" ;;
	esac
}

# need COMMAND PACKAGE: have it, install it when root, or name the way
need()
{
	command -v "$1" >/dev/null && return
	command -v apt-get >/dev/null ||
		die "missing tool: $1 (Debian has it in the package $2)"
	[ "$(id -u)" = 0 ] ||
		die "missing tool: $1, install it with: apt-get install $2"
	say "installing $2"
	{
		apt-get update &&
		DEBIAN_FRONTEND=noninteractive apt-get install -y \
			--no-install-recommends "$2"
	} >/dev/null 2>&1 </dev/null
	command -v "$1" >/dev/null ||
		die "missing tool: $1, and apt-get install $2 failed"
}

# once LOCK: one process at a time builds a cache entry, others wait here
once()
{
	mkdir -p "$CACHE" 2>/dev/null || die "cannot create $CACHE"
	exec 9>"$CACHE/$1.lock" || die "cannot write in $CACHE"
	flock -n 9 && return
	say "waiting for another lab that builds $1"
	flock 9
}

# prune KIND: forget entries that no lab has used for a week; others may
# belong to another checkout that works right now
prune()
{
	find "$CACHE" -maxdepth 1 -name "$1-*" -type d -mtime +7 |
	while read -r old; do
		say "forgetting ${old##*/}" >&2
		if [ "$(id -u)" = 0 ]; then
			rm -rf "$old"
		else
			unshare --map-root-user --map-auto rm -rf "$old"
		fi
	done
}

# The root's path depends on what is in it.
ROOT=$CACHE/root-$(echo "$SUITE $POCKET $PACKAGES $EXCLUDES" |
	key - "$LAB/root")
