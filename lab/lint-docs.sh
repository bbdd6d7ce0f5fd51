#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Does Documentation/block/ublk.rst tell the truth? Its command tables against
# the numbers in the uapi header and against what the driver dispatches, its
# list of missing features against the driver's mask, the tests it names against
# the tests there are, the udev rules against their file. One line for each lie;
# silent when there is none.

# The backquotes in single quotes are those of the document:

set -eu

TOP=$(cd "$(dirname "$0")/.." && pwd -P)
DOC=$TOP/Documentation/block/ublk.rst
UAPI=$TOP/include/uapi/linux/ublk_cmd.h
SRC=$TOP/drivers/block/ublk
TESTS=$TOP/tools/testing/selftests/ublk

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# rows TITLE: the lines of the list-table with this title
rows()
{
	awk -v title="$1" '
		/^\.\. list-table:: /	{ on = $0 ~ title "$"; next }
		/^[^ ]/			{ on = 0 }
		on' "$DOC"
}

# documented TITLE: "NAME number" of each command in a table
documented()
{
	rows "$1" |
		sed -n 's/^   \* - ``\([A-Z_0-9]*\)`` \(0x[0-9a-f]*\)$/\1 \2/p' |
		sort
}

# defined KIND: "NAME number" of each UBLK_U_KIND_* encoding in the header
defined()
{
	awk -v kind="UBLK_U_$1_" '
		/^#define UBLK_(CMD|IO)_[A-Z_0-9]+[ \t]+0x/ { plain[$2] = $3 }
		$1 == "#define" && index($2, kind) == 1 {
			name = substr($2, length(kind) + 1)
			next
		}
		name && /_IO[WR]+\(/ {
			split($0, arg, /, */)
			nr = arg[2] in plain ? plain[arg[2]] : arg[2]
			print name, nr
			name = ""
		}' "$UAPI" | sort
}

# dispatched FILES KIND: "NAME" of each UBLK_U_KIND_* that has a row of a table or
# a case of a switch in one of FILES that names its function
dispatched()
{
	for file in $1; do cat "$SRC/$file"; done | awk -v kind="UBLK_(U_)?$2_" '
		/^\t\[/		{ name = $0; call = 1 }
		/^\tcase /	{ name = $0; next }
		/return ublk_/	{ call = 1 }
		name && call && match(name, kind "[A-Z_0-9]+") {
			name = substr(name, RSTART, RLENGTH)
			sub(kind, "", name)
			if (name !~ /^OP_/)
				print name
		}
		{ name = ""; call = 0 }' | sort -u
}

# only FORMAT A B: a line for each one in list A that is not in list B
only()
{
	comm -23 "$2" "$3" | sed "s/.*/ublk.rst: $1/" >> "$work/lies"
}

# compare TITLE KIND FILES: one command table
compare()
{
	documented "$1" > "$work/doc"
	defined "$2" > "$work/uapi"
	dispatched "$3" "$2" > "$work/code"
	cut -d' ' -f1 "$work/doc" > "$work/names"

	[ -s "$work/doc" ] || echo "ublk.rst: no table '$1'" >> "$work/lies"
	only "'&' is not in the uapi header" "$work/doc" "$work/uapi"
	only "& is documented, $3 does not take it" "$work/names" "$work/code"
	only "$3 takes &, which is not documented" "$work/code" "$work/names"
}

features()
{
	sed -n '/^#define UBLK_FEATURES\t/,/)$/p' "$SRC/ublk.h" |
		grep -oE 'UBLK_F_[A-Z_]+' | sed 's/UBLK_F_//' | sort > "$work/has"
	grep -oE '^#define UBLK_F_[A-Z_]+' "$UAPI" | sed 's/.*UBLK_F_//' |
		sort > "$work/all"
	awk '/^Not in this driver$/ { on = 1; next }
	     /^===/ { on = 0 }
	     on' "$DOC" | grep -oE '``[A-Z_]+``' | tr -d '`' | sort -u > "$work/no"

	comm -23 "$work/all" "$work/has" > "$work/missing"
	only "& is called missing, and is not" "$work/no" "$work/missing"
	only "& is missing, and not called so" "$work/missing" "$work/no"
}

# The last cell of a row: test files by their names, beginnings of tests with "*"
tests()
{
	cat "$TESTS"/test_*.c > "$work/tests"
	for title in "Control commands" "I/O commands" "Moves of a device" \
		     "Requests at the death of their server" "Known faults"; do
		rows "$title" | awk '
			function out()	{ if (name) print name "\t" last }
			/^   \* - /	{ out(); name = substr($0, 8); last = ""; next }
			/^     - /	{ last = substr($0, 8); next }
			/^       /	{ last = last " " substr($0, 8) }
			END		{ out() }' | sed 1d
	done | tr -d '`,:' | while IFS='	' read -r row cell; do
		[ -n "$cell" ] || echo "ublk.rst: $row: no test"
		set -f
		for test in $cell; do
			case $test in
			*\*)	grep -qE "^TEST.*, ${test%\*}" "$work/tests" ;;
			*)	[ -f "$TESTS/$test.c" ] || [ -f "$TESTS/$test.sh" ] ;;
			esac || echo "ublk.rst: $row: no test '$test'"
		done
	done >> "$work/lies"
}

# The udev rules, without the licence: word for word
rules()
{
	sed 1d "$TESTS/60-ublk.rules" > "$work/rules"
	awk -v first="$(sed q "$work/rules")" '
		substr($0, 3) == first	{ on = 1 }
		/^[^ ]/			{ on = 0 }
		on			{ sub(/^  /, ""); print }' "$DOC" > "$work/quoted"
	[ "$(cat "$work/rules")" = "$(cat "$work/quoted")" ] ||
		echo "ublk.rst: the udev rules are not those of 60-ublk.rules" \
			>> "$work/lies"
}

: > "$work/lies"
compare "Control commands" CMD ctrl.c
compare "I/O commands" IO "io.c batch_cmd.c"
features
tests
rules

cat "$work/lies" >&2
[ ! -s "$work/lies" ]
