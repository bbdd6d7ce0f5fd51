// SPDX-License-Identifier: GPL-2.0
/*
 * The client of a device under test: see testclient.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <linux/blkdev.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "testclient.h"
#include "testhost.h"
#include "testserve.h"

static struct io_uring_sqe *client_sqe(struct testdev *td, int *client)
{
	struct io_uring_sqe *sqe = td_next_sqe(&td->client_ring);

	*client = td->nr_clients++ % TD_CLIENTS;
	td->clients[*client].done = false;
	return sqe;
}

static int client_send(struct testdev *td, struct io_uring_sqe *sqe, int client)
{
	sqe->user_data = client;
	io_uring_submit(&td->client_ring);
	return client;
}

void td_drain_clients(struct testdev *td)
{
	struct io_uring_cqe *cqe;

	if (!td->has_clients)
		return;
	while (!io_uring_peek_cqe(&td->client_ring, &cqe)) {
		struct td_client *c = &td->clients[cqe->user_data];

		c->done = true;
		c->res = cqe->res;
		io_uring_cqe_seen(&td->client_ring, cqe);
	}
}

/*
 * Whoever has the partition table read holds the disk's mutex meanwhile: what an
 * open waits for may have to be served by this very thread.
 */
static int open_served(struct testdev *td, const char *path, int flags)
{
	struct io_uring_sqe *sqe;
	int client;

	sqe = client_sqe(td, &client);
	io_uring_prep_openat(sqe, AT_FDCWD, path, flags | O_CLOEXEC, 0);
	sqe->flags = IOSQE_ASYNC;
	return td_wait(td, client_send(td, sqe, client));
}

/*
 * Keeps udev away, which respects such a lock. A read of its own that nobody
 * answers, with the disk's mutex held, would be in everybody's way.
 */
static int lock_disk(struct testdev *td, int fd)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;

	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK || td_now_ms() > deadline)
			return -errno;
		td_settle(td, 5);
	}
	return 0;
}

static void own_node(const struct testdev *td, char *path, size_t len)
{
	snprintf(path, len, "/dev/ublk-test.%d", td->id);
}

int td_make_node(const struct testdev *td, mode_t mode)
{
	char path[32], watched[32];
	struct stat st;

	own_node(td, path, sizeof(path));
	snprintf(watched, sizeof(watched), "/dev/ublkb%d", td->id);
	if (stat(watched, &st))
		return -errno;
	/* That of a test that was killed. */
	unlink(path);
	if (mknod(path, S_IFBLK | mode, st.st_rdev))
		return -errno;
	/* Whatever the umask is. */
	return chmod(path, mode) ? -errno : 0;
}

int td_open_node(const struct testdev *td, int flags)
{
	char path[32];
	int fd;

	own_node(td, path, sizeof(path));
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

void td_remove_node(const struct testdev *td)
{
	char path[32];

	own_node(td, path, sizeof(path));
	unlink(path);
}

/*
 * For I/O, by a node of our own: udev reads the partition table of a disk when a
 * writer closes the node that it watches, and that is too late for the lock. Should
 * the writer be the server, too, on its way out, then its close would wait for udev,
 * and udev for a server.
 */
static int open_unwatched(struct testdev *td, const char *watched)
{
	int ret = td_make_node(td, 0600);
	char path[32];

	if (ret == -EPERM)
		return open_served(td, watched, O_RDWR | O_DIRECT);
	if (ret)
		return ret;
	own_node(td, path, sizeof(path));
	ret = open_served(td, path, O_RDWR | O_DIRECT);
	td_remove_node(td);
	return ret;
}

static void close_clients(struct testdev *td)
{
	td->has_clients = false;
	io_uring_queue_exit(&td->client_ring);
}

static int open_and_lock(struct testdev *td)
{
	char path[32];
	int ret;

	snprintf(path, sizeof(path), "/dev/ublkb%d", td->id);
	td->bdev_lock = open_served(td, path, O_RDONLY);
	if (td->bdev_lock < 0)
		return td->bdev_lock;
	ret = lock_disk(td, td->bdev_lock);
	if (!ret)
		ret = open_unwatched(td, path);
	if (ret < 0) {
		close(td->bdev_lock);
		td->bdev_lock = -1;
		return ret;
	}
	td->bdev = ret;
	return 0;
}

int td_open_disk(struct testdev *td)
{
	int ret;

	ret = io_uring_queue_init(TD_CLIENTS, &td->client_ring, 0);
	if (ret < 0)
		return ret;
	io_uring_ring_dontfork(&td->client_ring);
	td->has_clients = true;

	ret = open_and_lock(td);
	if (ret)
		close_clients(td);
	return ret;
}

int td_close_disk(struct testdev *td)
{
	close_clients(td);
	close(td->bdev);
	close(td->bdev_lock);
	td->bdev = -1;
	td->bdev_lock = -1;
	return 0;
}

char *td_map_disk(struct testdev *td, __u64 offset, __u32 len)
{
	char *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE, td->bdev, offset);

	if (map == MAP_FAILED)
		return NULL;
	/* Not also the pages around it. */
	madvise(map, len, MADV_RANDOM);
	return map;
}

int td_read(struct testdev *td, void *buf, __u32 len, __u64 offset)
{
	struct io_uring_sqe *sqe;
	int client;

	sqe = client_sqe(td, &client);
	io_uring_prep_read(sqe, td->bdev, buf, len, offset);
	return client_send(td, sqe, client);
}

int td_write(struct testdev *td, const void *buf, __u32 len, __u64 offset,
	     int rw_flags)
{
	struct io_uring_sqe *sqe;
	int client;

	sqe = client_sqe(td, &client);
	io_uring_prep_write(sqe, td->bdev, buf, len, offset);
	sqe->rw_flags = rw_flags;
	return client_send(td, sqe, client);
}

int td_rw_attr(struct testdev *td, int op, void *buf, __u32 len, __u64 offset,
	       const void *attr, __u64 type)
{
	struct io_uring_sqe *sqe;
	int client;

	sqe = client_sqe(td, &client);
	io_uring_prep_rw(op, sqe, td->bdev, buf, len, offset);
	/* From a worker, which waits for a tag; without one this would fail. */
	sqe->flags = IOSQE_ASYNC;
	/* What later headers call attr_ptr and attr_type_mask. */
	sqe->addr3 = (unsigned long)attr;
	sqe->__pad2[0] = type;
	return client_send(td, sqe, client);
}

void td_rw_all(struct testdev *td, int op, const struct iovec *bufs, unsigned int nr,
	       __u64 offset, int *clients)
{
	struct io_uring_sqe *sqe;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		sqe = client_sqe(td, &clients[i]);
		io_uring_prep_rw(op, sqe, td->bdev, bufs[i].iov_base, bufs[i].iov_len,
				 offset);
		sqe->user_data = clients[i];
		offset += bufs[i].iov_len;
	}
	io_uring_submit(&td->client_ring);
}

int td_fsync(struct testdev *td)
{
	struct io_uring_sqe *sqe;
	int client;

	sqe = client_sqe(td, &client);
	io_uring_prep_fsync(sqe, td->bdev, 0);
	return client_send(td, sqe, client);
}

int td_fallocate(struct testdev *td, int mode, __u64 offset, __u64 len)
{
	struct io_uring_sqe *sqe;
	int client;

	sqe = client_sqe(td, &client);
	io_uring_prep_fallocate(sqe, td->bdev, mode, offset, len);
	return client_send(td, sqe, client);
}

int td_writev(struct testdev *td, const struct iovec *iov, unsigned int nr,
	      __u64 offset)
{
	struct io_uring_sqe *sqe;
	int client;

	sqe = client_sqe(td, &client);
	io_uring_prep_writev(sqe, td->bdev, iov, nr, offset);
	return client_send(td, sqe, client);
}

/*
 * In a worker of the kernel: with write-back throttling the second half of a
 * discard that is split waits for the first, and this task may have to serve that.
 */
int td_discard(struct testdev *td, __u64 offset, __u64 len)
{
	struct io_uring_sqe *sqe;
	int client;

	sqe = client_sqe(td, &client);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->flags = IOSQE_ASYNC;
	sqe->fd = td->bdev;
	sqe->cmd_op = BLOCK_URING_CMD_DISCARD;
	sqe->addr = offset;
	sqe->addr3 = len;
	return client_send(td, sqe, client);
}

int td_wait(struct testdev *td, int client)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;

	td_drain_clients(td);
	while (!td->clients[client].done)
		if (!td_pump(td, deadline))
			return -ETIME;
	return td->clients[client].res;
}

bool td_done(struct testdev *td, int client)
{
	td_drain_clients(td);
	return td->clients[client].done;
}
