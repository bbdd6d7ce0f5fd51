// SPDX-License-Identifier: GPL-2.0
/*
 * Clients that know what must be on the disk. Each thread owns some blocks and
 * has one I/O at a time, so it can tell for each of its blocks which write was
 * acknowledged last, and that one must be read. Only after a failed write
 * anything may be there, up to the next write.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "campaign.h"

#define MAX_RUN		8	/* blocks in one I/O */

struct client {
	struct camp_io *io;
	pthread_t thread;
	unsigned int number;
	unsigned int seed;
	bool cached;		/* through the page cache, with fsync */
	unsigned int synced;	/* epoch in which the last fsync() began */
	int fd;
	char *buf;
};

static bool flag(const bool *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static unsigned int epoch_of(const struct camp_io *io)
{
	return __atomic_load_n(&io->epoch, __ATOMIC_ACQUIRE);
}

/* The first of all complaints is kept. */
static void complain(struct camp_io *io, const char *fmt, ...)
{
	va_list ap;

	if (__atomic_fetch_add(&io->complaints, 1, __ATOMIC_RELAXED))
		return;
	va_start(ap, fmt);
	vsnprintf(io->what, sizeof(io->what), fmt, ap);
	va_end(ap);
}

static __u32 block_number(const struct client *c, unsigned int index)
{
	return CAMP_IO_FIRST + c->number * CAMP_IO_BLOCKS + index;
}

static struct camp_fate *fate_of(const struct client *c, unsigned int index)
{
	return &c->io->fates[c->number * CAMP_IO_BLOCKS + index];
}

/* Was it right that an I/O that was sent in epoch @then has failed? */
static bool may_fail(const struct camp_io *io, unsigned int then)
{
	if (flag(&io->ending))
		return true;
	if (io->patient)
		return false;
	return (then & 1) || epoch_of(io) != then;
}

/* Success and failure of the verifying threads' reads and writes. */
static bool judge(struct client *c, const char *op, unsigned int then,
		  unsigned int index, ssize_t ret, ssize_t wanted)
{
	int err = ret < 0 ? errno : 0;

	if (ret == wanted)
		return true;
	if (!may_fail(c->io, then))
		complain(c->io, "%s%s of block %u: %s (%zd), in epoch %u",
			 c->cached ? "cached " : "", op, block_number(c, index),
			 strerror(err), ret, then);
	__atomic_add_fetch(&c->io->failed, 1, __ATOMIC_RELAXED);
	/* Until the next server comes there may be nothing but errors. */
	camp_nap(1000);
	return false;
}

/*
 * An fsync() also fails for what went wrong since the last one on the same
 * file: somebody else's pages may have been written back in between.
 */
static bool sync_disk(struct client *c)
{
	unsigned int then = c->synced;

	c->synced = epoch_of(c->io);
	if (!fsync(c->fd))
		return true;
	if (!may_fail(c->io, then))
		complain(c->io, "fsync: %s, in epoch %u after %u",
			 strerror(errno), c->synced, then);
	camp_nap(1000);
	return false;
}

static void write_run(struct client *c, unsigned int first, unsigned int nr)
{
	unsigned int then = epoch_of(c->io), i;
	bool good;

	for (i = 0; i < nr; i++) {
		struct camp_fate *f = fate_of(c, first + i);

		f->unsure = true;
		f->gen++;
		camp_fill(c->buf + i * CAMP_BLOCK, block_number(c, first + i),
			  f->gen);
	}
	good = judge(c, "write", then, first,
		     pwrite(c->fd, c->buf, nr * CAMP_BLOCK,
			    (__u64)block_number(c, first) * CAMP_BLOCK),
		     nr * CAMP_BLOCK);
	/* In the page cache it is not on the disk. */
	if (c->cached && !sync_disk(c))
		good = false;
	for (i = 0; i < nr && good; i++)
		fate_of(c, first + i)->unsure = false;
}

static void verify_block(struct camp_io *io, const struct camp_fate *f,
			 __u32 block, const char *data, const char *where)
{
	char what[100];

	if (f->unsure)
		return;
	if (f->gen ? camp_check(data, block, f->gen, what, sizeof(what)) :
		     td_is_zero(data, CAMP_BLOCK))
		__atomic_add_fetch(&io->verified, 1, __ATOMIC_RELAXED);
	else
		complain(io, "wrong data %s: %s", where,
			 f->gen ? what : "block that nobody wrote");
}

static void read_run(struct client *c, unsigned int first, unsigned int nr)
{
	unsigned int then = epoch_of(c->io), i;

	if (!judge(c, "read", then, first,
		   pread(c->fd, c->buf, nr * CAMP_BLOCK,
			 (__u64)block_number(c, first) * CAMP_BLOCK),
		   nr * CAMP_BLOCK))
		return;
	for (i = 0; i < nr; i++)
		verify_block(c->io, fate_of(c, first + i),
			     block_number(c, first + i),
			     c->buf + i * CAMP_BLOCK, "on the disk");
}

/* With a cache of its own, the disk is not what such a thread reads. */
static void verify_all(struct client *c)
{
	unsigned int i;

	if (c->cached)
		posix_fadvise(c->fd, 0, 0, POSIX_FADV_DONTNEED);
	for (i = 0; i < CAMP_IO_BLOCKS; i += MAX_RUN)
		read_run(c, i, MAX_RUN);
}

static void *run_client(void *arg)
{
	struct client *c = arg;

	while (!flag(&c->io->stop)) {
		unsigned int first = camp_pick(&c->seed, CAMP_IO_BLOCKS);
		unsigned int nr = 1 + camp_pick(&c->seed, MAX_RUN);

		if (first + nr > CAMP_IO_BLOCKS)
			nr = CAMP_IO_BLOCKS - first;
		switch (camp_pick(&c->seed, 10)) {
		case 0:
			sync_disk(c);
			break;
		case 1 ... 6:
			write_run(c, first, nr);
			break;
		default:
			read_run(c, first, nr);
		}
	}
	if (!flag(&c->io->ending))
		verify_all(c);
	return NULL;
}

/* Everything else that a disk is asked for, away from the others' blocks. */
static void *run_noise(void *arg)
{
	struct client *c = arg;

	while (!flag(&c->io->stop)) {
		__u64 room = (CAMP_DISK - CAMP_IO_NOISE) / CAMP_BLOCK;
		__u64 range[2] = {
			CAMP_IO_NOISE + camp_pick(&c->seed, room - MAX_RUN) *
			CAMP_BLOCK,
			(1 + camp_pick(&c->seed, MAX_RUN)) * CAMP_BLOCK,
		};
		int ret;

		switch (camp_pick(&c->seed, 12)) {
		case 0:
			ret = fsync(c->fd);
			break;
		case 1:
			ret = ioctl(c->fd, BLKDISCARD, range);
			break;
		case 2:
			ret = ioctl(c->fd, BLKZEROOUT, range);
			break;
		case 3:
			ret = ioctl(c->fd, BLKRRPART);
			/* Gone: another try would have modprobe look for it. */
			if (ret && errno == ENXIO)
				return NULL;
			break;
		case 4 ... 7:
			ret = pwrite(c->fd, c->buf, range[1], range[0]);
			break;
		default:
			ret = pread(c->fd, c->buf, range[1], range[0]);
		}
		if (ret < 0)
			camp_nap(1000);
	}
	return NULL;
}

static bool open_client(struct client *c, struct camp_io *io, unsigned int n,
			bool cached)
{
	char path[32];

	*c = (struct client){
		.io = io, .number = n, .seed = io->seed + n, .cached = cached,
	};
	c->buf = td_page_buf(MAX_RUN * CAMP_BLOCK, 0);
	snprintf(path, sizeof(path), "/dev/ublkb%u", io->id);
	c->fd = open(path, O_RDWR | O_CLOEXEC | (c->cached ? 0 : O_DIRECT));
	if (c->fd < 0 && may_fail(io, 0))
		return false;
	if (c->fd < 0)
		complain(io, "open of %s: %s", path, strerror(errno));
	return c->fd >= 0;
}

/*
 * Runs until io->stop. For a process of its own, which may hang.
 *
 * All clients of a disk go through the page cache, or none: what could not be
 * written back from there is told, once, to the next direct I/O of anybody,
 * which may be well after the disk has recovered.
 */
void camp_io_run(struct camp_io *io)
{
	unsigned int i, n = io->threads + io->noise, seed = io->seed;
	struct client clients[2 * CAMP_IO_THREADS];
	bool open[2 * CAMP_IO_THREADS], cached = camp_pick(&seed, 4) == 0;

	for (i = 0; i < n; i++)
		open[i] = open_client(&clients[i], io, i, cached);
	for (i = 0; i < n; i++)
		if (open[i])
			pthread_create(&clients[i].thread, NULL,
				       i < io->threads ? run_client : run_noise,
				       &clients[i]);
	for (i = 0; i < n; i++)
		if (open[i])
			pthread_join(clients[i].thread, NULL);
}

/* No write that was acknowledged may be missing in the server's memory. */
void camp_io_check_memory(struct camp_io *io, const char *mem)
{
	unsigned int i;

	for (i = 0; i < io->threads * CAMP_IO_BLOCKS; i++) {
		__u32 block = CAMP_IO_FIRST + i;

		verify_block(io, &io->fates[i], block,
			     mem + (size_t)block * CAMP_BLOCK, "at the server");
	}
}
