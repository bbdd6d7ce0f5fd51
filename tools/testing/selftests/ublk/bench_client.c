// SPDX-License-Identifier: GPL-2.0
/*
 * bench_client: reads or writes a disk at random places and says what that cost.
 *
 * It does as little as a client can: registered file and buffers, one system call
 * for as many I/Os as have completed. What is left is the work of the kernel, and
 * of the server behind the disk.
 *
 * The cost is the time for which CPUs have run any task, so waiting is not work.
 * In a guest whose clock counts instructions, a nanosecond of it is one of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

static const char usage[] =
"Usage: bench_client [OPTION]... DISK\n"
"Do I/O at random places of DISK, past the page cache, and print what it cost.\n"
"\n"
"  -n N      I/Os that count, for each thread; default 20000\n"
"  -u N      I/Os before that, to warm up; default 2000\n"
"  -d N      I/Os in flight; default 64\n"
"  -c N      completions to wait for at a time; default 1\n"
"  -b BYTES  size of an I/O; default 4096\n"
"  -w        write instead of read\n"
"  -t N      threads, each with a ring of its own; default 1\n"
"  -s SEED   of the places; default 1\n"
"  -l        take the time of each I/O, for p50 and p99\n"
"\n"
"For each I/O: ns that passed, ns of all CPUs that were work (busy), context\n"
"switches (cs). Then I/Os per second, and p50 and p99 in ns.\n";

static struct options {
	const char *disk;
	uint64_t count;
	uint64_t warm_up;
	uint64_t seed;
	uint64_t blocks;
	uint64_t depth;
	uint64_t wait;
	uint64_t bytes;
	uint64_t threads;
	bool write;
	bool times;
} opt = {
	.count = 20000, .warm_up = 2000, .seed = 1, .depth = 64, .wait = 1,
	.bytes = 4096, .threads = 1,
};

/**
 * struct client - a thread
 * @thread: the thread
 * @ring: its I/O; the file is number 0, each slot has a buffer of its number
 * @random: where the next I/O goes
 * @buf: memory of the buffers
 * @slots: those that are free
 * @nr_free: so many
 * @since: when the I/O of a slot was sent
 * @times: of I/Os that are done
 */
struct client {
	pthread_t thread;
	struct io_uring ring;
	uint64_t random;
	char *buf;
	unsigned int *slots;
	unsigned int nr_free;
	uint64_t *since;
	uint64_t *times;
};

/* What the system has done since it was booted. */
struct usage {
	uint64_t busy;
	uint64_t switches;
};

static pthread_barrier_t barrier;

static void *array(size_t nr, size_t size)
{
	void *p = calloc(nr, size);

	if (!p)
		bench_check(-ENOMEM, "memory");
	return p;
}

/* Xorshift: spreads I/O well enough, and costs next to nothing. */
static uint64_t next_random(struct client *c)
{
	c->random ^= c->random << 13;
	c->random ^= c->random >> 7;
	c->random ^= c->random << 17;
	return c->random;
}

static void queue_one(struct client *c)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&c->ring);
	unsigned int slot = c->slots[--c->nr_free];

	io_uring_prep_rw(opt.write ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED,
			 sqe, 0, c->buf + (size_t)slot * opt.bytes, opt.bytes,
			 next_random(c) % opt.blocks * opt.bytes);
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->buf_index = slot;
	sqe->user_data = slot;
	if (opt.times)
		c->since[slot] = bench_now();
}

/* Returns how many are done; @nr were before. */
static unsigned int take_done(struct client *c, uint64_t nr)
{
	struct io_uring_cqe *cqe;
	unsigned int head, n = 0;

	io_uring_for_each_cqe(&c->ring, head, cqe) {
		unsigned int slot = cqe->user_data;

		if (cqe->res != (int)opt.bytes)
			bench_check(cqe->res < 0 ? cqe->res : -EIO, opt.disk);
		if (opt.times)
			c->times[(nr + n) % opt.count] = bench_now() - c->since[slot];
		c->slots[c->nr_free++] = slot;
		n++;
	}
	io_uring_cq_advance(&c->ring, n);
	return n;
}

static void run(struct client *c, uint64_t count)
{
	uint64_t sent = 0, done = 0;

	while (done < count) {
		uint64_t in_flight;

		for (; c->nr_free && sent < count; sent++)
			queue_one(c);
		in_flight = sent - done;
		bench_check(io_uring_submit_and_wait(&c->ring, in_flight < opt.wait ?
					       in_flight : opt.wait), "ring");
		done += take_done(c, done);
	}
}

static void set_up(struct client *c, int fd)
{
	struct iovec *iov = array(opt.depth, sizeof(*iov));
	unsigned int i;

	bench_check(io_uring_queue_init(opt.depth, &c->ring, IORING_SETUP_SINGLE_ISSUER |
				  IORING_SETUP_DEFER_TASKRUN), "ring");
	bench_check(io_uring_register_ring_fd(&c->ring), "ring");
	bench_check(io_uring_register_files(&c->ring, &fd, 1), "file");

	c->buf = mmap(NULL, (size_t)opt.depth * opt.bytes, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (c->buf == MAP_FAILED)
		bench_check(-errno, "memory");
	c->slots = array(opt.depth, sizeof(*c->slots));
	for (i = 0; i < opt.depth; i++) {
		iov[i].iov_base = c->buf + (size_t)i * opt.bytes;
		iov[i].iov_len = opt.bytes;
		c->slots[c->nr_free++] = i;
	}
	bench_check(io_uring_register_buffers(&c->ring, iov, opt.depth), "buffers");
	free(iov);
	if (opt.times) {
		c->since = array(opt.depth, sizeof(*c->since));
		c->times = array(opt.count, sizeof(*c->times));
	}
}

static int open_disk(void)
{
	int fd = open(opt.disk, (opt.write ? O_WRONLY : O_RDONLY) | O_DIRECT);
	uint64_t size;

	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size))
		bench_check(-errno, opt.disk);
	opt.blocks = size / opt.bytes;
	if (!opt.blocks)
		bench_check(-ENOSPC, opt.disk);
	return fd;
}

static void *client_run(void *arg)
{
	struct client *c = arg;

	set_up(c, open_disk());
	run(c, opt.warm_up);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	run(c, opt.count);
	pthread_barrier_wait(&barrier);
	return NULL;
}

static struct usage look(void)
{
	return (struct usage) {
		.busy = bench_busy(),
		.switches = bench_sum_field("/proc/stat", "ctxt ", 1),
	};
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void print_times(const struct client *clients)
{
	uint64_t nr = opt.count * opt.threads, *all = array(nr, sizeof(*all));
	unsigned int i;

	for (i = 0; i < opt.threads; i++)
		memcpy(all + i * opt.count, clients[i].times,
		       opt.count * sizeof(*all));
	qsort(all, nr, sizeof(*all), compare);
	printf(" p50=%llu p99=%llu", (unsigned long long)all[nr / 2],
	       (unsigned long long)all[nr / 100 * 99]);
}

static void measure(struct client *clients)
{
	double nr = (double)opt.count * opt.threads;
	struct usage before, begin, end;
	uint64_t ns, busy;

	pthread_barrier_wait(&barrier);
	before = look();
	begin = look();
	ns = bench_now();
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	ns = bench_now() - ns;
	end = look();
	/* To look is work, too. */
	busy = end.busy - begin.busy - (begin.busy - before.busy);

	printf("ns=%.1f busy=%.1f cs=%.4f iops=%.0f", ns / nr, busy / nr,
	       (end.switches - begin.switches) / nr,
	       nr / (ns / 1e9));
	if (opt.times)
		print_times(clients);
	printf("\n");
}

static const struct {
	char letter;
	uint64_t *value;
} numbers[] = {
	{ 'n', &opt.count }, { 'u', &opt.warm_up }, { 'd', &opt.depth },
	{ 'c', &opt.wait }, { 'b', &opt.bytes }, { 't', &opt.threads },
	{ 's', &opt.seed },
};

#define NR_NUMBERS	(sizeof(numbers) / sizeof(*numbers))

static void parse(int argc, char **argv)
{
	unsigned int i;
	int c;

	while ((c = getopt(argc, argv, "n:u:d:c:b:wt:s:lh")) >= 0) {
		if (c == 'h' || c == '?') {
			fputs(usage, c == 'h' ? stdout : stderr);
			exit(c != 'h');
		}
		opt.write |= c == 'w';
		opt.times |= c == 'l';
		for (i = 0; i < NR_NUMBERS; i++)
			if (c == numbers[i].letter)
				*numbers[i].value = bench_number(optarg);
	}
	opt.disk = argv[optind];
	if (!opt.disk || !opt.count || !opt.depth || !opt.wait || !opt.bytes ||
	    !opt.threads || !opt.seed) {
		fputs(usage, stderr);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	struct client *clients;
	unsigned int i;

	parse(argc, argv);
	clients = array(opt.threads, sizeof(*clients));
	pthread_barrier_init(&barrier, NULL, opt.threads + 1);
	for (i = 0; i < opt.threads; i++) {
		clients[i].random = opt.seed * 0x9e3779b97f4a7c15ULL + i;
		bench_check(-pthread_create(&clients[i].thread, NULL, client_run,
				      &clients[i]), "thread");
	}
	measure(clients);
	for (i = 0; i < opt.threads; i++)
		pthread_join(clients[i].thread, NULL);
	return 0;
}
