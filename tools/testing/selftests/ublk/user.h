/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Being somebody else than root for a while, in a test that runs as root.
 */
#ifndef UBLK_USER_H
#define UBLK_USER_H

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "testclient.h"

#define USER		65534
#define OTHER_USER	65533

/* Root stays the saved id, to come back to. */
static inline void become(uid_t uid, gid_t gid)
{
	if (setresgid(gid, gid, 0) || setresuid(uid, uid, 0))
		abort();
}

static inline void become_root(void)
{
	if (setresuid(0, 0, 0) || setresgid(0, 0, 0))
		abort();
}

/*
 * Take up or put down CAP_SYS_ADMIN. Root without it still passes every file
 * mode, but is an ordinary user to the driver.
 */
static inline void set_admin(bool on)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct caps[2];

	if (syscall(SYS_capget, &header, caps))
		abort();
	if (on)
		caps[0].effective |= 1U << CAP_SYS_ADMIN;
	else
		caps[0].effective &= ~(1U << CAP_SYS_ADMIN);
	if (syscall(SYS_capset, &header, caps))
		abort();
}

/* Does what udev does: gives /dev/ublkcN to a user. */
static inline int hand_over(const struct testdev *td, uid_t id, mode_t mode)
{
	char path[32];

	snprintf(path, sizeof(path), "/dev/ublkc%d", td->id);
	return chown(path, id, id) || chmod(path, mode) ? -errno : 0;
}

/* Whether the caller may read the disk by td_make_node(): 0 or a negative errno. */
static inline int open_disk(struct testdev *td)
{
	int fd = td_open_node(td, O_RDONLY);

	return fd < 0 ? fd : close(fd);
}

static inline int add_as(struct testdev *td, uid_t id, __u64 flags)
{
	int ret;

	td->info.flags = flags;
	become(id, id);
	ret = td_add(td);
	become_root();
	return ret;
}

/* A device that is no administrator's, for the tests of what it may do. */
static inline int add_unprivileged(struct testdev *td)
{
	return add_as(td, USER, td->info.flags | UBLK_F_UNPRIVILEGED_DEV);
}

#endif
