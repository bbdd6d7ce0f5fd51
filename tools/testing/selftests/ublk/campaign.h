/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the campaigns share: long runs of random rounds that end in numbers.
 *
 * A campaign is one process that judges and never touches a device's files
 * for long, and others that do the work: they may hang with the driver, it may
 * not. All that is random follows from the seed and the number of the round,
 * so that a failure can be tried again. Each campaign is a test program with
 * one test; its own words stand behind "# campaign:".
 */
#ifndef UBLK_CAMPAIGN_H
#define UBLK_CAMPAIGN_H

#include <sys/mman.h>

#include "kselftest.h"
#include "testdev.h"
#include "testhost.h"

/* The longest that anything may take that does not wait for a stuck server. */
#define CAMP_LIMIT_MS	10000

/**
 * struct campaign - what the user asks for
 * @name: of the campaign
 * @unit: what is counted: "cycles"
 * @rounds: how many of them
 * @seconds: begin none after that time; 0 for no limit
 * @seed: of all that is random
 * @first: number of the first round
 */
struct campaign {
	const char *name;
	const char *unit;
	unsigned int rounds;
	unsigned int seconds;
	unsigned int seed;
	unsigned int first;
};

void camp_begin(struct campaign *c, int argc, char **argv);
bool camp_goes_on(const struct campaign *c, unsigned int round);
int __printf(3, 4) camp_end(const struct campaign *c, bool failed,
			    const char *fmt, ...);
void __printf(1, 2) camp_say(const char *fmt, ...);

unsigned int camp_seed(const struct campaign *c, unsigned int round);
unsigned int camp_pick(unsigned int *seed, unsigned int below);
void camp_nap(unsigned int us);
void *camp_share(size_t len);

/* -- time and processes ---------------------------------------------------- */

__u64 camp_ms(void);
pid_t camp_fork(void);
int camp_wait_exit(pid_t pid, unsigned int ms);
bool camp_wait_input(int fd, unsigned int ms);
int camp_ctrl_wait(struct ublk_ctrl *ctrl, unsigned int ms, int *res);
void camp_show_sleepers(void);
__u64 camp_status(const char *dir, const char *field, int base, __u64 none);

/**
 * struct camp_lane - what a thread does at this moment, for those who watch
 * @step: of the operation
 * @round: number of the operation
 * @since: campaign's clock at the begin of the operation; 0 between two
 * @begin: real time of the same
 * @ops: that have ended
 * @longest: of these, in milliseconds
 * @longest_real: the same in real time
 * @idle: there will be no more, or not until others have got as far
 * @what: why it gave up
 */
struct camp_lane {
	const char *step;
	unsigned int round;
	__u64 since;
	__u64 begin;
	unsigned int ops;
	unsigned int longest;
	unsigned int longest_real;
	bool idle;
	char what[160];
};

void camp_lane_begin(struct camp_lane *l, unsigned int round);
void camp_lane_end(struct camp_lane *l);
int camp_lane_refused(struct camp_lane *l, int ret);
bool camp_watch(const pid_t *pids, unsigned int nr_pids,
		struct camp_lane *lanes, unsigned int nr_lanes,
		unsigned int limit_ms, bool sleepers);
void camp_sum_lanes(struct camp_lane *sum, const struct camp_lane *lanes,
		    unsigned int nr);

/* -- a disk that knows what belongs into it -------------------------------- */

#define CAMP_BLOCK	4096

void camp_fill(void *buf, __u32 block, __u32 gen);
bool camp_check(const void *buf, __u32 block, __u32 gen, char *what,
		size_t len);

/**
 * struct camp_server - a server of a disk in memory
 * @srv: the server; first, so that a target finds the rest
 * @mem: contents of the disk
 * @size: of the disk in bytes
 * @late: one of so many requests is answered late; 0 for none
 */
struct camp_server {
	struct ublk_server srv;
	char *mem;
	__u64 size;
	unsigned int late;
};

extern const struct ublk_target camp_mem_target;
void camp_write_partition(char *mem);

/* -- campaign_io.c: clients that check what they read ---------------------- */

#define CAMP_DISK	(16ULL << 20)
#define CAMP_IO_FIRST	256		/* number of the first block in use */
#define CAMP_IO_BLOCKS	64		/* for each thread */
#define CAMP_IO_THREADS	8
#define CAMP_IO_NOISE	((__u64)(CAMP_IO_FIRST + CAMP_IO_THREADS * \
				 CAMP_IO_BLOCKS) * CAMP_BLOCK)

/**
 * struct camp_fate - what became of a block
 * @gen: generation that was written last
 * @unsure: that write has failed, anything may be there
 */
struct camp_fate {
	__u32 gen;
	bool unsure;
};

/**
 * struct camp_io - shared by a campaign and its clients
 * @id: number of the device
 * @seed: of the clients' choices
 * @threads: that write and verify, at least one
 * @noise: that do anything else to the rest of the disk
 * @epoch: odd while the disk may fail I/O
 * @patient: I/O is never to fail, whatever the epoch
 * @ending: the disk goes, nothing is expected any more
 * @stop: verify everything and come to an end
 * @verified: blocks that were compared
 * @failed: reads and writes of @threads that failed
 * @what: first complaint
 * @fates: of all blocks, @threads times CAMP_IO_BLOCKS
 */
struct camp_io {
	__u32 id;
	unsigned int seed;
	unsigned int threads;
	unsigned int noise;
	unsigned int epoch;
	bool patient;
	bool ending;
	bool stop;
	__u64 verified;
	__u64 failed;
	int complaints;
	char what[160];
	struct camp_fate fates[CAMP_IO_THREADS * CAMP_IO_BLOCKS];
};

void camp_io_run(struct camp_io *io);
void camp_io_check_memory(struct camp_io *io, const char *mem);

/* -- campaign_cell.c: such clients, and a server that is killed under them -- */

#define CAMP_WAYS	9
#define CAMP_RECOVERIES	4

struct camp_way {
	const char *name;
	enum ublk_mode mode;
	__u64 flags;
};

extern const struct camp_way camp_ways[CAMP_WAYS];
extern const __u64 camp_recoveries[CAMP_RECOVERIES];

/**
 * struct camp_cell - one disk, from its begin to its end
 * @number: of the round
 * @seed: of the clients' choices
 * @way: of the data
 * @opts: of the server, and of the one that comes after it
 * @beside: what the first server does besides serving until
 *	camp_cell_is_quiet(); I/O may fail meanwhile
 * @noise_ms: for how long
 * @lossy: of what it did, something may be left that only the server's death ends
 * @server: its process
 * @client: the clients'
 */
struct camp_cell {
	unsigned int number;
	unsigned int seed;
	const struct camp_way *way;
	struct ublk_options opts;
	void (*beside)(const struct camp_cell *r, struct ublk_server *srv);
	unsigned int noise_ms;
	bool lossy;
	pid_t server;
	pid_t client;
};

/* The numbers of all cells. */
struct camp_cells {
	unsigned int cells, recovered;
	__u64 verified, failed, noises, heard;
};

extern struct camp_cells camp_cells;

bool camp_cells_run(const struct campaign *c,
		    void (*plan)(struct camp_cell *r, unsigned int number));
void camp_cell_plan(struct camp_cell *r, unsigned int number, unsigned int way,
		    unsigned int recovery);
bool camp_cell_is_quiet(void);
void camp_cell_noise(bool heard);

#endif
