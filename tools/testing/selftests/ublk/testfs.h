/* SPDX-License-Identifier: GPL-2.0 */
/*
 * File systems on disks under test: what makes and checks them, and files whose
 * contents follow from their numbers.
 */
#ifndef UBLK_TESTFS_H
#define UBLK_TESTFS_H

#include <errno.h>
#include <stdbool.h>

#define FS_FILES	24	/* named "0" and so on */

struct fs_kind {
	const char *type;
	const char *mkfs[6];	/* the disk comes behind these words */
	const char *fsck[6];
};

extern const struct fs_kind fs_ext4;
extern const struct fs_kind fs_xfs;

/* Like td_run(). */
int fs_run(const char *const words[6], const char *dev);
int fs_write_files(const char *dir);
int fs_compare_files(const char *dir);

/*
 * Files written before an unmount are there after it, and fsck is content. 0;
 * -ENODEV if the kernel, -ENOENT if the tools are missing; -EBADMSG for wrong
 * files, -EUCLEAN for a complaint of fsck, or another errno.
 */
int fs_check(const char *dev, const char *dir, const struct fs_kind *fs);

#define CHECK_FS(dev, dir, fs)						\
do {									\
	int ret = fs_check(dev, dir, fs);				\
									\
	if (ret == -ENODEV)						\
		SKIP(return, "kernel without %s", (fs)->type);		\
	if (ret == -ENOENT)						\
		SKIP(return, "%s is not installed", (fs)->mkfs[0]);	\
	EXPECT_EQ(0, ret);						\
} while (0)

#endif
