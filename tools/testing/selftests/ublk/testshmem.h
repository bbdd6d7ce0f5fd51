/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory that the clients of a device share with its server.
 *
 * Both are this process, but each has a mapping of its own, so what one of them
 * finds has come through the pages and not by address.
 */
#ifndef UBLK_TESTSHMEM_H
#define UBLK_TESTSHMEM_H

#include "fixture.h"

#define PAGE		4096U
#define SHARED_BYTES	(256U << 10)

struct shared {
	int fd;
	__u32 len;
	char *client;
	char *server;
};

static inline char *map_shared(int fd, __u32 len)
{
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Adopts a memfd, or whatever else can be mapped. */
static inline int share_fd(struct shared *sh, int fd, __u32 len)
{
	*sh = (struct shared) { .fd = fd, .len = len };
	if (fd < 0 || ftruncate(fd, len))
		return -errno;
	sh->client = map_shared(fd, len);
	sh->server = map_shared(fd, len);
	return sh->client && sh->server ? 0 : -ENOMEM;
}

static inline int share(struct shared *sh, __u32 len)
{
	return share_fd(sh, memfd_create("shared", MFD_CLOEXEC), len);
}

static inline int reg_memory(struct testdev *td, const void *addr, __u64 len,
			     __u32 flags)
{
	struct ublk_shmem_buf_reg reg = {
		.addr = (unsigned long)addr, .len = len, .flags = flags,
	};

	return ublk_reg_buf(&td->ctrl, td->id, &reg);
}

/* The server's side of it; the index. */
static inline int reg_shared(struct testdev *td, const struct shared *sh)
{
	return reg_memory(td, sh->server, sh->len, 0);
}

/* Memory that is shared and registered: the index. */
static inline int share_buffer(struct testdev *td, struct shared *sh)
{
	int ret = share(sh, SHARED_BYTES);

	return ret ? ret : reg_shared(td, sh);
}

/* The server and the clients go on meanwhile. */
static inline int unreg(struct testdev *td, __u64 index)
{
	return td_ctl(td, UBLK_U_CMD_UNREG_BUF, index);
}

static inline bool is_shared(const struct td_req *req)
{
	return req->flags & UBLK_IO_F_SHMEM_ZC;
}

/* Was the server told buffer @index, from byte @offset on? */
static inline bool is_at(const struct td_req *req, int index, __u32 offset)
{
	return is_shared(req) && ublk_shmem_zc_index(req->addr) == index &&
		ublk_shmem_zc_offset(req->addr) == offset &&
		req->addr >> 48 == 0;
}

/* A pattern that depends on @seed, as in td_page_buf(). */
static inline void fill(void *buf, __u32 len, unsigned int seed)
{
	__u32 *p = buf;

	for (__u32 i = 0; i < len / sizeof(*p); i++)
		p[i] = (seed << 20) + i;
}

static inline bool is_filled(const void *buf, __u32 len, unsigned int seed)
{
	const __u32 *p = buf;

	for (__u32 i = 0; i < len / sizeof(*p); i++)
		if (p[i] != (seed << 20) + i)
			return false;
	return true;
}

static inline int go_live_shared(struct testdev *td, __u64 more)
{
	td->info.flags |= UBLK_F_SHMEM_ZC | more;
	return td_go_live(td);
}

/* Ends a request that the test has seen enough of: 0, or what is wrong. */
static inline int finish(struct testdev *td, const struct td_req *req, int client)
{
	int bytes = req->sectors << 9;

	if (td_answer(td, req, bytes) != TD_PENDING)
		return -EINVAL;
	return td_wait(td, client) == bytes ? 0 : -EIO;
}

/* Fills the server's own memory, so that a copy into it shows. */
static inline void poison(struct testdev *td, __u32 len)
{
	for (int tag = 0; tag < td->info.queue_depth; tag++)
		memset(td_buf(td, 0, tag), 0xee, len);
}

/* A WRITE from @data that the test has to answer; see poison(). */
static inline int write_arrived(struct testdev *td, struct td_req *req,
				const void *data, __u32 len)
{
	poison(td, len);
	return td_write_arrived(td, req, (void *)data, len);
}

static inline bool is_poisoned(const struct td_req *req)
{
	return !memcmp(req->buf, "\xee\xee\xee\xee", 4);
}

/* A WRITE that is not found, and is copied instead: 0, or what is wrong. */
static inline int write_is_copied(struct testdev *td, const void *data, __u32 len)
{
	struct td_req req;
	int client = write_arrived(td, &req, data, len);

	if (client < 0)
		return client;
	if (is_shared(&req) || req.addr != (unsigned long)req.buf)
		return -EMEDIUMTYPE;
	if (memcmp(req.buf, data, len))
		return -EBADMSG;
	return finish(td, &req, client);
}

/* A READ that is not found, and is copied instead, likewise. */
static inline int read_is_copied(struct testdev *td, void *data, __u32 len)
{
	struct td_req req;
	int client = td_read_arrived(td, &req, data, len), ret;

	if (client < 0)
		return client;
	if (is_shared(&req) || req.addr != (unsigned long)req.buf)
		return -EMEDIUMTYPE;
	fill(req.buf, len, 77);
	ret = finish(td, &req, client);
	return ret || is_filled(data, len, 77) ? ret : -EBADMSG;
}

/* A WRITE that is found at @offset of buffer @index, likewise. */
static inline int write_is_found(struct testdev *td, const void *data, __u32 len,
				 int index, __u32 offset)
{
	struct td_req req;
	int client = write_arrived(td, &req, data, len);

	if (client < 0)
		return client;
	if (!is_at(&req, index, offset))
		return -EMEDIUMTYPE;
	if (!is_poisoned(&req))
		return -EBADMSG;
	return finish(td, &req, client);
}

/* Is the result of the control command in flight there? */
static inline bool ctl_is_answered(struct testdev *td)
{
	struct io_uring_cqe *cqe;

	return io_uring_peek_cqe(&td->ctrl.ring, &cqe) == 0;
}

/*
 * UNREG_BUF of a buffer that is in use: sees to it that the command has come to
 * wait, then interrupts it. -EINTR, or what else it returned.
 */
static inline int unreg_and_interrupt(struct testdev *td, int index)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;
	int ret;

	do {
		ret = td_ctl_send(td, UBLK_U_CMD_UNREG_BUF, index);
		if (ret)
			return ret;
		td_settle(td, 20);
		td_ctl_cancel(td);
		ret = td_ctl_wait(td);
		/* Not even begun: again. */
	} while (ret == -ECANCELED && td_now_ms() < deadline);
	return ret;
}

#endif
