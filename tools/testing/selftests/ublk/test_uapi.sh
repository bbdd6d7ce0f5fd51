#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Our ublk_cmd.h against the one that the distribution installs, both ways:
# every macro's value and type, every structure's size, every member's type,
# offset and size, every inline helper's prototype and answers.
#
# Each header is turned into a sorted list of facts, partly read off its text
# and partly printed by a program compiled with it; diff is the judge. Two
# broken copies of our header prove that the judge can see.
#
# OURS and THEIRS name other headers to compare; CC another compiler.

set -euo pipefail
# shellcheck source=tools/testing/selftests/ublk/tap.sh
. "$(dirname "$0")/tap.sh"

SERIES=7.3
TREE=$HERE/../../../../include/uapi/linux/ublk_cmd.h
COPY=$HERE/lib/include/linux/ublk_cmd.h
THEIRS=${THEIRS:-/usr/include/linux/ublk_cmd.h}
CC=${CC:-gcc}
CXX=${CXX:-g++}

# An installed suite has only the copy that it was built with.
[ -f "$TREE" ] || TREE=$COPY
OURS=${OURS:-$TREE}

# The macros that the header itself defines, one "name body" a line. -dD keeps
# line markers, which tell its own definitions from those of its includes.
macros()
{
	"$CC" -E -dD "$1" | awk -v self="$1" '
		/^# [0-9]+ "/	{ own = $3 == "\"" self "\"" }
		own && /^#define / {
			sub(/^#define /, "")
			gsub(/[ \t]+/, " ")
			print
		}'
}

# The declarations of the header itself on one line, without comments
declarations()
{
	"$CC" -E "$1" | awk -v self="$1" '
		/^# [0-9]+ "/	{ own = $3 == "\"" self "\""; next }
		own		{ print }' | tr -s '\n\t ' ' '
}

# One "structure type member" a line, "structure - -" at its start. Members of
# anonymous unions belong to the structure around them.
members()
{
	declarations "$1" | grep -oE 'struct [a-z_0-9]+ \{([^{}]*|\{[^{}]*\})*\}' |
	awk '{
		name = $2
		print name, "-", "-"
		sub(/^struct [a-z_0-9]+ \{/, "")
		gsub(/union \{|[{}]/, "")
		n = split($0, decl, ";")
		for (i = 1; i <= n; i++) {
			sub(/\[.*/, "", decl[i])
			words = split(decl[i], word, " ")
			if (words < 2)
				continue
			type = word[1]
			for (w = 2; w < words; w++)
				type = type "_" word[w]
			print name, type, word[words]
		}
	}'
}

helpers()
{
	declarations "$1" | grep -oE '[a-z_0-9]+ ?\([^()]*\) \{' |
		sed 's/ \?(.*//' | sort -u
}

# What only the compiler knows, as the body of a main() that prints it
questions()
{
	macros "$1" | while read -r name body; do
		case $name in
		*\(*)	continue ;;
		esac
		[ -n "$body" ] || continue
		echo "	MACRO($name);"
	done
	members "$1" | while read -r name type member; do
		if [ "$member" = - ]; then
			echo "	STRUCT($name);"
		else
			echo "	MEMBER($name, $type, $member);"
		fi
	done
}

# A program that answers the questions of header $1
program()
{
	cat <<-END
	#include <stddef.h>
	#include <stdio.h>
	#include <linux/ioctl.h>
	#include <errno.h>
	#include "$1"

	#define MACRO(x) \\
		printf("macro %s = %llx, %zu bytes, %s\n", #x, \\
		       (unsigned long long)(x), sizeof(x), \\
		       (__typeof__(x))-1 < 1 ? "signed" : "unsigned")
	#define STRUCT(s) \\
		printf("struct %s: %zu bytes, aligned to %zu\n", #s, \\
		       sizeof(struct s), __alignof__(struct s))
	#define MEMBER(s, t, m) \\
		printf("member %s.%s: %s at %zu, %zu bytes\n", #s, #m, #t, \\
		       offsetof(struct s, m), sizeof(((struct s *)0)->m))

	static __u8 (*get_op)(const struct ublksrv_io_desc *) = ublksrv_get_op;
	static __u32 (*get_flags)(const struct ublksrv_io_desc *) =
		ublksrv_get_flags;
	static struct ublk_auto_buf_reg (*to_reg)(__u64) =
		ublk_sqe_addr_to_auto_buf_reg;
	static __u64 (*to_addr)(const struct ublk_auto_buf_reg *) =
		ublk_auto_buf_reg_to_sqe_addr;
	static __u64 (*zc_addr)(__u16, __u32) = ublk_shmem_zc_addr;
	static __u16 (*zc_index)(__u64) = ublk_shmem_zc_index;
	static __u32 (*zc_offset)(__u64) = ublk_shmem_zc_offset;

	static void ask_helpers(unsigned long long word)
	{
		struct ublksrv_io_desc iod = { .op_flags = (__u32)word };
		struct ublk_auto_buf_reg reg = to_reg(word);

		printf("helper, given %llx: %x %x, %x %x %x %x %llx, %llx %x %x\n",
		       word, get_op(&iod), get_flags(&iod),
		       reg.index, reg.flags, reg.reserved0, reg.reserved1,
		       (unsigned long long)to_addr(&reg),
		       (unsigned long long)zc_addr((__u16)(word >> 7), (__u32)word),
		       zc_index(word), zc_offset(word));
	}

	int main(void)
	{
		unsigned long long word = 0x0123456789abcdefULL;
		int i;

		for (i = 0; i < 64; i++) {
			ask_helpers(1ULL << i);
			ask_helpers(word);
			word = word * 6364136223846793005ULL + 1442695040888963407ULL;
		}
	$(questions "$1")
		return 0;
	}
	END
}

# facts HEADER OUT: everything there is to know about a header, sorted
facts()
{
	program "$1" > "$2.c"
	"$CC" -Wall -Werror -o "$2.bin" "$2.c" || return 1
	{
		"$2.bin"
		macros "$1" | sed 's/ .*//; s/^/name /'
		helpers "$1" | sed 's/^/name /'
	} | sort > "$2"
}

# same KIND: compare the facts whose first word is KIND
same()
{
	diff -U0 --label installed --label ours \
		<(grep "^$1" "$work/theirs") <(grep "^$1" "$work/ours") |
		sed 's/^/# /'
}

# breaks EDIT: does the judge see what a sed command does to our header?
breaks()
{
	sed "$1" "$OURS" > "$work/broken.h"
	! cmp -s "$work/broken.h" "$OURS" || return 1
	facts "$work/broken.h" "$work/broken" || return 1
	! diff -q "$work/broken" "$work/ours" > "$work/verdict"
}

"$CC" -E - < /dev/null > /dev/null 2>&1 || skip_all "no compiler ($CC)"
[ -f "$OURS" ] || skip_all "this tree's ublk_cmd.h is not here"
[ -f "$THEIRS" ] || skip_all "no installed ublk_cmd.h (linux-libc-dev)"

installed=$(echo '#include <linux/version.h>
LINUX_VERSION_MAJOR.LINUX_VERSION_PATCHLEVEL' | "$CC" -E -P - | tr -d ' \n')
[ "$installed" = "$SERIES" ] ||
	skip_all "the installed headers are of Linux $installed, not $SERIES"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "TAP version 13"

facts "$THEIRS" "$work/theirs"
status=0
facts "$OURS" "$work/ours" || status=1
"$CC" -Wall -Wextra -Werror -fsyntax-only -x c "$OURS" || status=1
if command -v "$CXX" > /dev/null; then
	"$CXX" -Wall -Wextra -Werror -fsyntax-only -x c++ "$OURS" || status=1
fi
report "ublk_cmd.h compiles alone, in C and in C++" $status

status=0; same name || status=1
same macro || status=1
report "macros have the installed header's names, values and types" $status

status=0; same struct || status=1
same member || status=1
report "structures have the installed header's members and layout" $status

status=0; same helper || status=1
report "inline helpers have the installed header's prototypes and answers" $status

status=0
breaks 's/^\(#define UBLK_MAX_QUEUE_DEPTH\).*/\1 4095/' || status=1
breaks '/UBLK_IO_OP_ZONE_RESET_ALL/d' || status=1
breaks 's/__u16	nr_elem;/__u32	nr_elem;/' || status=1
report "a wrong value, a missing name and a wrong type are noticed" $status

finish
