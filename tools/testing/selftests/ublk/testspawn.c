// SPDX-License-Identifier: GPL-2.0
/*
 * A server to kill: see testspawn.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "testclient.h"
#include "testspawn.h"

static int held_requests;

/* Sits on everything that goes into the area and on flushes, and counts it. */
static void hold_queue_io(struct ublk_worker *w, struct ublk_io *io)
{
	__u64 offset = ublk_io_offset(io);

	if ((offset >= TD_AREA && offset < TD_AREA_END) ||
	    ublksrv_get_op(io->desc) == UBLK_IO_OP_FLUSH)
		eventfd_write(held_requests, 1);
	else
		ublk_complete_io(w, io, ublk_io_bytes(io));
}

static int hold_init(struct ublk_server *srv)
{
	int ret = ublk_null_target.init(srv);

	srv->params.basic.dev_sectors = TD_SIZE >> UBLK_SECTOR_SHIFT;
	srv->params.basic.attrs = UBLK_ATTR_VOLATILE_CACHE;
	return ret;
}

const struct ublk_target td_hold_target = {
	.name = "hold",
	.init = hold_init,
	.queue_io = hold_queue_io,
};

/* A process that does nothing but hold the server's files, /dev/ublkcN too. */
static pid_t spawn_heir(void)
{
	pid_t pid = fork();

	if (!pid) {
		pause();
		_exit(0);
	}
	return pid;
}

typedef int (*server_fn)(struct ublk_server *srv,
			 const struct ublk_options *opts);

static void server_main(const struct ublk_options *opts, server_fn begin,
			int report, pid_t *heir)
{
	struct ublk_server srv;
	int number;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	number = begin(&srv, opts);
	if (!number)
		number = srv.info.dev_id;
	if (heir && number >= 0)
		*heir = spawn_heir();
	if (write(report, &number, sizeof(number)) < 0 || number < 0)
		_exit(1);
	close(report);
	ublk_server_join(&srv);
	_exit(0);
}

/* Returns the number of the device that the new process serves. */
static int spawn_server(struct testdev *td, const struct ublk_options *opts,
			server_fn begin)
{
	int fds[2], number;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	/* The child must leave *td alone: it may be shared with this process. */
	pid = fork();
	if (!pid) {
		close(fds[0]);
		/* Or its end might wait for the disk, and the disk for its end. */
		close(td->bdev);
		close(td->bdev_lock);
		server_main(opts, begin, fds[1], td->heir);
	}
	td->server = pid;
	close(fds[1]);
	if (read(fds[0], &number, sizeof(number)) != sizeof(number))
		return -ESRCH;
	close(fds[0]);
	if (td->heir)
		td->heir_pid = *td->heir;
	return number;
}

/* Also opens the disk, for the client. */
int td_spawn(struct testdev *td, const struct ublk_options *opts)
{
	struct ublksrv_ctrl_dev_info info;
	int number, ret;

	td->held = eventfd(0, EFD_NONBLOCK | EFD_SEMAPHORE);
	held_requests = td->held;
	number = spawn_server(td, opts, ublk_server_start);
	if (number < 0)
		return number;
	td->id = number;
	td->info.dev_id = number;
	ret = ublk_get_info2(&td->ctrl, number, &info);
	return ret ? ret : td_open_disk(td);
}

/* The next server of a device; the disk is open already. */
int td_spawn_recovery(struct testdev *td, const struct ublk_options *opts)
{
	struct ublk_options mine = *opts;
	int number;

	mine.id = td->id;
	number = spawn_server(td, &mine, ublk_server_recover);
	return number < 0 ? number : 0;
}

int td_kill_server(struct testdev *td)
{
	int status;

	if (kill(td->server, SIGKILL))
		return -errno;
	if (waitpid(td->server, &status, 0) != td->server)
		return -errno;
	td->server = 0;
	return WIFSIGNALED(status) ? 0 : -EINVAL;
}

int td_freeze_server(struct testdev *td)
{
	int status;

	if (kill(td->server, SIGSTOP))
		return -errno;
	if (waitpid(td->server, &status, WUNTRACED) != td->server)
		return -errno;
	return WIFSTOPPED(status) ? 0 : -EINVAL;
}

/* Waits until @count more requests are in the hands of the holding server. */
int td_wait_held(struct testdev *td, unsigned int count)
{
	struct pollfd fd = { .fd = td->held, .events = POLLIN };
	eventfd_t one;

	while (count) {
		if (poll(&fd, 1, TD_DEADLINE_MS) == 0)
			return -ETIME;
		if (!eventfd_read(td->held, &one))
			count--;
	}
	return 0;
}
