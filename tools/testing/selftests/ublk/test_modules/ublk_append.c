// SPDX-License-Identifier: GPL-2.0
/*
 * Sends a ZONE_APPEND to a disk, which no program can: /dev/ublk-append is for the test,
 * see ublk_append.h.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "ublk_append.h"

/* The data is in one piece, and there are enough of those. */
#define APPEND_MAX	SZ_64K

static int append_to(struct block_device *bdev, struct ublk_append *args)
{
	struct bio_vec bv;
	struct bio bio;
	void *data;
	int ret;

	if (!args->bytes || args->bytes > APPEND_MAX)
		return -EINVAL;
	data = kzalloc(args->bytes, GFP_KERNEL);
	if (!data)
		return -ENOMEM;
	bio_init(&bio, bdev, &bv, 1, REQ_OP_ZONE_APPEND);
	bio.bi_iter.bi_sector = args->sector;
	bio_add_virt_nofail(&bio, data, args->bytes);
	ret = submit_bio_wait(&bio);
	args->sector = bio.bi_iter.bi_sector;
	bio_uninit(&bio);
	kfree(data);
	return ret;
}

static int append(struct ublk_append *args)
{
	struct inode *inode;

	CLASS(fd, f)(args->disk);
	if (fd_empty(f))
		return -EBADF;
	inode = fd_file(f)->f_mapping->host;
	if (!S_ISBLK(inode->i_mode) || !(fd_file(f)->f_mode & FMODE_WRITE))
		return -EBADF;
	return append_to(I_BDEV(inode), args);
}

static long append_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *user = (void __user *)arg;
	struct ublk_append args;
	int ret;

	if (cmd != UBLK_APPEND)
		return -ENOTTY;
	if (copy_from_user(&args, user, sizeof(args)))
		return -EFAULT;
	ret = append(&args);
	if (!ret && copy_to_user(user, &args, sizeof(args)))
		ret = -EFAULT;
	return ret;
}

static const struct file_operations append_fops = {
	.owner		= THIS_MODULE,
	.unlocked_ioctl	= append_ioctl,
};

static struct miscdevice append_misc = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "ublk-append",
	.mode	= 0600,
	.fops	= &append_fops,
};

module_misc_device(append_misc);

MODULE_DESCRIPTION("Sends ZONE_APPEND to a disk for tests of ublk");
MODULE_LICENSE("GPL");
