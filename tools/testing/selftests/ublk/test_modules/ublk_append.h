/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a test tells /dev/ublk-append, and its module (ublk_append.c).
 */
#ifndef UBLK_APPEND_H
#define UBLK_APPEND_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * struct ublk_append - a ZONE_APPEND of zeroes
 * @disk:	file descriptor of the disk
 * @bytes:	how much, not 0
 * @sector:	where the zone starts; then, where the disk says that the data went
 */
struct ublk_append {
	__s32	disk;
	__u32	bytes;
	__u64	sector;
};

/* 0 once it is done, or the error of the block layer. */
#define UBLK_APPEND	_IOWR('A', 0xb0, struct ublk_append)

#endif
