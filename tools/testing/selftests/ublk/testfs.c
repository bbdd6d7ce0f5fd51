// SPDX-License-Identifier: GPL-2.0
/*
 * File systems on disks under test: see testfs.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "testfs.h"
#include "testhost.h"

static unsigned int next_random(unsigned int *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 8;
}

/* Size and contents of a file follow from its number. */
static __u32 fill_file(char *buf, unsigned int number)
{
	unsigned int seed = number + 1, i;
	__u32 len = next_random(&seed) % 200000;

	for (i = 0; i < len; i++)
		buf[i] = next_random(&seed);
	return len;
}

int fs_write_files(const char *dir)
{
	char *buf = malloc(200000), path[64];
	int i, fd, err = 0;

	for (i = 0; i < FS_FILES && !err; i++) {
		__u32 len = fill_file(buf, i);

		snprintf(path, sizeof(path), "%s/%d", dir, i);
		fd = open(path, O_WRONLY | O_CREAT, 0600);
		if (fd < 0 || write(fd, buf, len) != len)
			err = -EIO;
		if (!(i % 4) && fsync(fd))
			err = -EIO;
		close(fd);
	}
	free(buf);
	return err;
}

int fs_compare_files(const char *dir)
{
	char *want = malloc(200000), *got = malloc(200001), path[64];
	int i, fd, err = 0;

	for (i = 0; i < FS_FILES && !err; i++) {
		__u32 len = fill_file(want, i);

		snprintf(path, sizeof(path), "%s/%d", dir, i);
		fd = open(path, O_RDONLY);
		if (fd < 0 || read(fd, got, 200001) != len ||
		    memcmp(want, got, len))
			err = -EBADMSG;
		close(fd);
	}
	free(want);
	free(got);
	return err;
}

const struct fs_kind fs_ext4 = {
	"ext4", { "mkfs.ext4", "-q", "-F" }, { "fsck.ext4", "-f", "-n" },
};

const struct fs_kind fs_xfs = {
	"xfs", { "mkfs.xfs", "-q", "-f" }, { "xfs_repair", "-n" },
};

int fs_run(const char *const words[6], const char *dev)
{
	const char *argv[8] = { };
	int i;

	for (i = 0; i < 6 && words[i]; i++)
		argv[i] = words[i];
	argv[i] = dev;
	return td_run(argv);
}

/* A module that mount(2) would load counts as well. */
static bool is_known(const char *type)
{
	char line[64], name[32], alias[32];
	const char *const argv[] = { "modprobe", "-q", alias, NULL };
	bool found = false;
	FILE *f;

	snprintf(alias, sizeof(alias), "fs-%s", type);
	td_run(argv);
	f = fopen("/proc/filesystems", "r");
	while (f && !found && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "nodev %31s", name) != 1)
			sscanf(line, " %31s", name);
		found = !strcmp(name, type);
	}
	if (f)
		fclose(f);
	return found;
}

/* Mounts, looks into the files or writes them, and unmounts. */
static int visit(const char *dev, const char *dir, const char *type,
		 int (*look)(const char *dir))
{
	int ret;

	if (mount(dev, dir, type, 0, NULL))
		return -errno;
	ret = look(dir);
	if (umount(dir) && !ret)
		ret = -errno;
	return ret;
}

int fs_check(const char *dev, const char *dir, const struct fs_kind *fs)
{
	int ret;

	if (!is_known(fs->type))
		return -ENODEV;
	ret = fs_run(fs->mkfs, dev);
	if (ret)
		return ret;
	ret = visit(dev, dir, fs->type, fs_write_files);
	if (!ret && fs_run(fs->fsck, dev))
		ret = -EUCLEAN;
	return ret ? ret : visit(dev, dir, fs->type, fs_compare_files);
}
