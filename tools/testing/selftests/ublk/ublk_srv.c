// SPDX-License-Identifier: GPL-2.0
/*
 * ublk_srv: add, delete and list ublk devices from the command line.
 *
 * "add" is a server: it stays, in the foreground or in the background, for as
 * long as its device lives. "recover" is the next server of a disk that has lost
 * the one before.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdnoreturn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "ublk.h"

static const char usage[] =
"Usage: ublk_srv COMMAND [OPTION]...\n"
"Serve block devices from user space.\n"
"\n"
"Commands:\n"
"  add        make a device, print its path once it is live, and serve it\n"
"             until it is deleted or this program is told to end\n"
"  recover    serve a device whose server has gone; takes --number, the target\n"
"             that the device had, and --background\n"
"  quiesce    make a server end that \"recover\" can follow; takes --number\n"
"  del        delete a device, its server ends\n"
"  list       show devices\n"
"  owner      print the ids of the user and group whose unprivileged device this\n"
"             is; fails without a word for any other device. For udev rules\n"
"  features   show what the driver offers\n"
"\n"
"Options of add:\n"
"  -t, --type TYPE           null (forgets all data), loop, stripe, zoned or fault;\n"
"                            default null\n"
"  -f, --file FILE           file or block device behind a loop disk; file behind a\n"
"                            zoned or faulty one, which else loses its data with its\n"
"                            server;"
" a striped disk has it twice or more often\n"
"  -n, --number N            device number; default: the first free one\n"
"  -q, --queues N            number of queues; default 1\n"
"  -d, --depth N             requests in flight for each queue; default 128\n"
"  -s, --size BYTES          size of the disk, K, M, G and T are understood;\n"
"                            a file is made and grown as needed\n"
"  -b, --background          return when the device is live\n"
"  -m, --mode MODE           the way of the data: copy (default), user-copy,\n"
"                            zero-copy or auto-buf; user-copy if zoned\n"
"      --direct              bypass the page cache for FILE\n"
"      --integrity FILE      protect each block of a loop disk by a checksum, which\n"
"                            the kernel checks and FILE keeps; implies user-copy\n"
"      --threads-per-queue N threads that share the tags of a queue; default 1\n"
"      --batch               many tags per command\n"
"      --get-data            take the data of a write in a step of its own\n"
"      --no-partscan         do not look for partitions\n"
"      --recovery[=MODE]     the disk outlives its server, and I/O waits for the\n"
"                            next one. With MODE reissue the next one is also sent\n"
"                            what the last one had not answered; with MODE fail-io\n"
"                            I/O fails until then\n"
"      --quiesce             allow \"quiesce\"; needs --recovery\n"
"      --fault LIST          what a faulty disk does, in percent of its requests:\n"
"                            error=, drop=, delay=, reorder=, short=; also ms= of\n"
"                            delay, default 10, and seed=\n"
"      --chunk BYTES         of a striped disk that lie in one file before the next\n"
"                            one's turn comes, a power of 2; default 64K\n"
"      --zone-size BYTES     default 4M; a file that has zones keeps them\n"
"      --conventional N      zones at the start that can be written anywhere\n"
"      --max-open N          zones that may be open, 0 for any number; default 14\n"
"      --max-active N        zones that may be open or closed; default 0\n"
"      --unprivileged        a device that its user need not be root for; see\n"
"                            60-ublk.rules\n"
"\n"
"Options of del and list:\n"
"  -n, --number N            this device\n"
"  -a, --all                 every device that the caller may command; what list\n"
"                            does without options\n"
"      --async               del: do not wait until the device is gone\n"
"\n"
"  -h, --help                show this text\n";

enum {
	OPT_DIRECT = 256, OPT_INTEGRITY, OPT_THREADS, OPT_BATCH, OPT_GET_DATA,
	OPT_NO_PARTSCAN, OPT_RECOVERY, OPT_QUIESCE, OPT_UNPRIVILEGED, OPT_ASYNC,
	OPT_ZONE_SIZE, OPT_CONVENTIONAL, OPT_MAX_OPEN, OPT_MAX_ACTIVE, OPT_CHUNK,
	OPT_FAULT
};

/* How long "quiesce" waits for the server to have a moment. */
#define QUIESCE_MS	10000

static const struct option long_options[] = {
	{ "type", required_argument, NULL, 't' },
	{ "file", required_argument, NULL, 'f' },
	{ "number", required_argument, NULL, 'n' },
	{ "queues", required_argument, NULL, 'q' },
	{ "depth", required_argument, NULL, 'd' },
	{ "size", required_argument, NULL, 's' },
	{ "mode", required_argument, NULL, 'm' },
	{ "background", no_argument, NULL, 'b' },
	{ "direct", no_argument, NULL, OPT_DIRECT },
	{ "integrity", required_argument, NULL, OPT_INTEGRITY },
	{ "threads-per-queue", required_argument, NULL, OPT_THREADS },
	{ "batch", no_argument, NULL, OPT_BATCH },
	{ "get-data", no_argument, NULL, OPT_GET_DATA },
	{ "no-partscan", no_argument, NULL, OPT_NO_PARTSCAN },
	{ "recovery", optional_argument, NULL, OPT_RECOVERY },
	{ "quiesce", no_argument, NULL, OPT_QUIESCE },
	{ "chunk", required_argument, NULL, OPT_CHUNK },
	{ "fault", required_argument, NULL, OPT_FAULT },
	{ "unprivileged", no_argument, NULL, OPT_UNPRIVILEGED },
	{ "zone-size", required_argument, NULL, OPT_ZONE_SIZE },
	{ "conventional", required_argument, NULL, OPT_CONVENTIONAL },
	{ "max-open", required_argument, NULL, OPT_MAX_OPEN },
	{ "max-active", required_argument, NULL, OPT_MAX_ACTIVE },
	{ "all", no_argument, NULL, 'a' },
	{ "async", no_argument, NULL, OPT_ASYNC },
	{ "help", no_argument, NULL, 'h' },
	{ }
};

static const struct ublk_target *const targets[] = {
	&ublk_null_target,
	&ublk_loop_target,
	&ublk_stripe_target,
	&ublk_zoned_target,
	&ublk_fault_target,
};

static const char *const mode_names[] = {
	[UBLK_MODE_COPY] = "copy",
	[UBLK_MODE_USER_COPY] = "user-copy",
	[UBLK_MODE_ZERO_COPY] = "zero-copy",
	[UBLK_MODE_AUTO_BUF] = "auto-buf",
};

static const char *const feature_names[] = {
	"SUPPORT_ZERO_COPY", "URING_CMD_COMP_IN_TASK", "NEED_GET_DATA",
	"USER_RECOVERY", "USER_RECOVERY_REISSUE", "UNPRIVILEGED_DEV",
	"CMD_IOCTL_ENCODE", "USER_COPY", "ZONED", "USER_RECOVERY_FAIL_IO",
	"UPDATE_SIZE", "AUTO_BUF_REG", "QUIESCE", "PER_IO_DAEMON",
	"BUF_REG_OFF_DAEMON", "BATCH_IO", "INTEGRITY", "SAFE_STOP_DEV",
	"NO_AUTO_PART_SCAN", "SHMEM_ZC", "IO_DESC_SIZE",
};

static const char *const state_names[] = {
	"dead", "live", "quiesced", "fail-io",
};

/* The command line, understood. */
struct request {
	struct ublk_options add;
	bool background;
	bool all;
	bool async;
};

#define N_ELEMS(a)	(sizeof(a) / sizeof((a)[0]))

static noreturn void die(const char *fmt, ...)
{
	va_list ap;

	fputs("ublk_srv: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static __u64 parse_number(const char *what, const char *s, __u64 max)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(s, &end, 0);
	if (errno || end == s || *end || *s == '-' || n > max)
		die("%s: \"%s\" is not a number up to %llu", what, s,
		    (unsigned long long)max);
	return n;
}

static __u64 parse_size(const char *what, const char *s)
{
	static const char units[] = "KMGT";
	unsigned long long n;
	const char *unit;
	char *end;

	errno = 0;
	n = strtoull(s, &end, 0);
	if (!errno && end != s && *s != '-' && *end) {
		unit = strchr(units, *end & ~0x20);
		if (unit) {
			n <<= 10 * (unit - units + 1);
			end++;
		}
	}
	if (errno || end == s || *s == '-' || *end || !n)
		die("%s: \"%s\" is not a size", what, s);
	return n;
}

static const struct ublk_target *parse_target(const char *name)
{
	unsigned int i;

	for (i = 0; i < N_ELEMS(targets); i++)
		if (!strcmp(name, targets[i]->name))
			return targets[i];
	die("--type: \"%s\" is none of null, loop, stripe, zoned, fault", name);
}

static enum ublk_mode parse_mode(const char *name)
{
	unsigned int i;

	for (i = 0; i < N_ELEMS(mode_names); i++)
		if (!strcmp(name, mode_names[i]))
			return i;
	die("--mode: \"%s\" is none of copy, user-copy, zero-copy, auto-buf", name);
}

static __u64 parse_recovery(const char *mode)
{
	if (!mode)
		return UBLK_F_USER_RECOVERY;
	if (!strcmp(mode, "reissue"))
		return UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE;
	if (!strcmp(mode, "fail-io"))
		return UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_FAIL_IO;
	die("--recovery: \"%s\" is neither reissue nor fail-io", mode);
}

/* "error=5,seed=7" */
static void parse_faults(struct ublk_faults *f, char *list)
{
	static char *const names[] = {
		"error", "drop", "delay", "reorder", "short", "ms", "seed", NULL
	};
	unsigned int *const values[] = {
		&f->error, &f->drop, &f->delay, &f->reorder, &f->shorten,
		&f->delay_ms, &f->seed,
	};
	char *value;
	int i;

	while (*list) {
		i = getsubopt(&list, names, &value);
		if (i < 0 || !value)
			die("--fault: \"%s\" is not understood", value ? value : names[i]);
		*values[i] = parse_number(names[i], value,
					  values[i] < &f->delay_ms ? 100 : ~0U);
	}
}

/* Options that are about what lies behind the disk; false for any other. */
static bool parse_target_option(struct ublk_options *o, int opt)
{
	switch (opt) {
	case OPT_DIRECT:
		o->direct = true;
		return true;
	case OPT_INTEGRITY:
		o->integrity = optarg;
		return true;
	case OPT_ZONE_SIZE:
		o->zoned.zone_bytes = parse_size("--zone-size", optarg);
		return true;
	case OPT_CONVENTIONAL:
		o->zoned.conventional = parse_number("--conventional", optarg, ~0U);
		return true;
	case OPT_MAX_OPEN:
		o->zoned.max_open = parse_number("--max-open", optarg, ~0U);
		return true;
	case OPT_MAX_ACTIVE:
		o->zoned.max_active = parse_number("--max-active", optarg, ~0U);
		return true;
	}
	return false;
}

/* The last one is what counts for a disk that has only one. */
static void add_file(struct ublk_options *o, const char *name)
{
	if (o->stripe.nr == UBLK_STRIPE_FILES)
		die("--file: no more than %d of them", UBLK_STRIPE_FILES);
	o->stripe.files[o->stripe.nr++] = name;
	o->file = name;
}

static void parse_options(struct request *r, int argc, char **argv)
{
	int opt;

	ublk_options_init(&r->add);
	while ((opt = getopt_long(argc, argv, "t:f:n:q:d:s:m:bah", long_options,
				  NULL)) != -1) {
		switch (opt) {
		case 't':
			r->add.target = parse_target(optarg);
			break;
		case 'f':
			add_file(&r->add, optarg);
			break;
		case 'n':
			r->add.id = parse_number("--number", optarg, 1U << 20);
			break;
		case 'q':
			r->add.queues = parse_number("--queues", optarg,
						     UBLK_MAX_NR_QUEUES);
			break;
		case 'd':
			r->add.depth = parse_number("--depth", optarg,
						    UBLK_MAX_QUEUE_DEPTH);
			break;
		case 's':
			r->add.size = parse_size("--size", optarg);
			break;
		case 'm':
			r->add.mode = parse_mode(optarg);
			break;
		case 'b':
			r->background = true;
			break;
		case 'a':
			r->all = true;
			break;
		case OPT_THREADS:
			r->add.threads = parse_number("--threads-per-queue",
						      optarg,
						      UBLK_MAX_QUEUE_DEPTH);
			break;
		case OPT_BATCH:
			r->add.flags |= UBLK_F_BATCH_IO;
			break;
		case OPT_GET_DATA:
			r->add.flags |= UBLK_F_NEED_GET_DATA;
			break;
		case OPT_NO_PARTSCAN:
			r->add.flags |= UBLK_F_NO_AUTO_PART_SCAN;
			break;
		case OPT_RECOVERY:
			r->add.flags |= parse_recovery(optarg);
			break;
		case OPT_QUIESCE:
			r->add.flags |= UBLK_F_QUIESCE;
			break;
		case OPT_UNPRIVILEGED:
			r->add.flags |= UBLK_F_UNPRIVILEGED_DEV;
			break;
		case OPT_FAULT:
			parse_faults(&r->add.fault, optarg);
			break;
		case OPT_CHUNK:
			r->add.stripe.chunk = parse_size("--chunk", optarg);
			break;
		case OPT_ASYNC:
			r->async = true;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		default:
			if (!parse_target_option(&r->add, opt))
				die("see --help");
		}
	}
	if (optind < argc)
		die("\"%s\" is not expected, see --help", argv[optind]);
}

static void check_server(const struct ublk_options *o)
{
	if (o->target == &ublk_loop_target && !o->file)
		die("a loop disk needs --file");
	if (o->target == &ublk_null_target && o->file)
		die("--file is for loop, striped and zoned disks");
	if (o->target == &ublk_stripe_target && o->stripe.nr < 2)
		die("a striped disk needs two --file or more");
	if (o->target != &ublk_loop_target && o->integrity)
		die("--integrity is for loop disks");
	if (o->mode > UBLK_MODE_USER_COPY && o->integrity)
		die("--integrity is for the user-copy mode");
	if ((o->mode != UBLK_MODE_COPY || o->integrity) &&
	    o->flags & UBLK_F_NEED_GET_DATA)
		die("--get-data is for the copy mode");
	if (!o->queues || !o->depth || !o->threads)
		die("queues, depth and threads start at 1");
}

static void open_ctrl(struct ublk_ctrl *ctrl)
{
	int ret = ublk_ctrl_open(ctrl);

	if (ret == -ENOENT)
		die("no /dev/ublk-control: is the driver loaded?");
	if (ret)
		die("/dev/ublk-control: %s", strerror(-ret));
}

/* -- add ----------------------------------------------------------------- */

/* Until the workers end, or a signal asks; true for a signal. */
static bool wait_for_end(struct ublk_server *srv, int signals)
{
	struct pollfd fds[] = {
		{ .fd = srv->ended, .events = POLLIN },
		{ .fd = signals, .events = POLLIN },
	};

	while (poll(fds, N_ELEMS(fds), -1) < 0 && errno == EINTR)
		;
	return fds[1].revents;
}

static int block_end_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	/* Before any thread exists, so that all of them inherit the mask. */
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

/* Says to the user, or to the waiting parent, what became of the start. */
static void report(int parent, int number)
{
	if (parent >= 0) {
		if (write(parent, &number, sizeof(number)) < 0)
			exit(1);
		close(parent);
	} else if (number < 0) {
		die("cannot serve the device: %s", strerror(-number));
	} else {
		printf("/dev/ublkb%d\n", number);
		fflush(stdout);
	}
}

static void leave_terminal(void)
{
	int null = open("/dev/null", O_RDWR);

	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	close(null);
}

typedef int (*start_fn)(struct ublk_server *srv, const struct ublk_options *o);

/* Serves a device to the end. @parent is a pipe, -1 if none waits. */
static int serve(const struct ublk_options *o, start_fn start, int parent)
{
	int signals = block_end_signals();
	struct ublk_server srv;
	int ret;

	ret = start(&srv, o);
	if (parent >= 0)
		leave_terminal();
	report(parent, ret ? ret : (int)srv.info.dev_id);
	if (ret)
		return 1;

	if (!wait_for_end(&srv, signals) && ublk_server_is_quiesced(&srv)) {
		ublk_server_leave(&srv);
		return 0;
	}
	return ublk_server_delete(&srv) ? 1 : 0;
}

/* Returns when the device is live; its server may go on in the background. */
static int become_server(struct request *r, start_fn start)
{
	struct ublk_ctrl ctrl;
	int fds[2], number;
	pid_t pid;

	check_server(&r->add);
	/* Only to tell the plainest of all mistakes from the others. */
	open_ctrl(&ctrl);
	ublk_ctrl_close(&ctrl);
	if (!r->background)
		return serve(&r->add, start, -1);

	if (pipe2(fds, O_CLOEXEC))
		die("pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid) {
		close(fds[0]);
		setsid();
		return serve(&r->add, start, fds[1]);
	}
	close(fds[1]);
	if (read(fds[0], &number, sizeof(number)) != sizeof(number))
		die("the server died before the device was live");
	report(-1, number);
	return 0;
}

static int cmd_add(struct request *r)
{
	return become_server(r, ublk_server_start);
}

static int cmd_recover(struct request *r)
{
	if (r->add.id == UBLK_AUTO_ID)
		die("recover needs --number");
	return become_server(r, ublk_server_recover);
}

/* -- del, list, features ------------------------------------------------- */

static int show_device(struct ublk_ctrl *ctrl, __u32 id, bool unused)
{
	struct ublksrv_ctrl_dev_info info = { };
	struct ublk_params params = { };
	int ret = ublk_get_info(ctrl, id, &info);

	(void)unused;
	if (!ret)
		ret = ublk_get_params(ctrl, id, &params);
	if (ret)
		return ret;
	printf("%-4u %-9s queues %u depth %u size %llu pid %d flags 0x%llx\n",
	       id,
	       info.state < N_ELEMS(state_names) ? state_names[info.state] : "?",
	       info.nr_hw_queues, info.queue_depth,
	       (unsigned long long)params.basic.dev_sectors << UBLK_SECTOR_SHIFT,
	       info.ublksrv_pid, (unsigned long long)info.flags);
	return 0;
}

static int delete_device(struct ublk_ctrl *ctrl, __u32 id, bool async)
{
	return async ? ublk_del_dev_async(ctrl, id) : ublk_del_dev(ctrl, id);
}

typedef int (*device_fn)(struct ublk_ctrl *ctrl, __u32 id, bool arg);

/* Finds out first how commands on this device have to name it. */
static int run_on(struct ublk_ctrl *ctrl, __u32 id, bool arg, device_fn fn)
{
	struct ublksrv_ctrl_dev_info info;
	int ret = ublk_get_info2(ctrl, id, &info);

	/* One that was deleted and is still in use has no node. */
	return ret && ret != -ENOENT ? ret : fn(ctrl, id, arg);
}

/* Calls @fn for each device there is: sysfs knows the numbers. */
static int run_for_each(struct ublk_ctrl *ctrl, bool arg, device_fn fn)
{
	DIR *dir = opendir("/sys/class/ublk-char");
	struct dirent *entry;
	unsigned int id;
	int ret = 0, err;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		if (sscanf(entry->d_name, "ublkc%u", &id) != 1)
			continue;
		err = run_on(ctrl, id, arg, fn);
		/* One that went in the meantime, or is not ours, is no mistake. */
		if (err && err != -ENODEV && err != -EPERM && err != -EACCES)
			ret = err;
	}
	closedir(dir);
	return ret;
}

static int run_on_devices(const struct request *r, bool arg, device_fn fn)
{
	struct ublk_ctrl ctrl;
	int ret;

	open_ctrl(&ctrl);
	if (r->add.id != UBLK_AUTO_ID)
		ret = run_on(&ctrl, r->add.id, arg, fn);
	else
		ret = run_for_each(&ctrl, arg, fn);
	if (ret && r->add.id != UBLK_AUTO_ID)
		die("device %u: %s", r->add.id, strerror(-ret));
	if (ret)
		die("%s", strerror(-ret));
	ublk_ctrl_close(&ctrl);
	return 0;
}

static int cmd_list(struct request *r)
{
	return run_on_devices(r, false, show_device);
}

static int cmd_del(struct request *r)
{
	if (r->add.id == UBLK_AUTO_ID && !r->all)
		die("del needs --number or --all");
	return run_on_devices(r, r->async, delete_device);
}

static int quiesce_device(struct ublk_ctrl *ctrl, __u32 id, bool unused)
{
	(void)unused;
	return ublk_quiesce_dev(ctrl, id, QUIESCE_MS);
}

static int cmd_quiesce(struct request *r)
{
	if (r->add.id == UBLK_AUTO_ID)
		die("quiesce needs --number");
	return run_on_devices(r, false, quiesce_device);
}

static int cmd_owner(struct request *r)
{
	struct ublksrv_ctrl_dev_info info;
	struct ublk_ctrl ctrl;

	if (r->add.id == UBLK_AUTO_ID)
		die("owner needs --number");
	open_ctrl(&ctrl);
	if (ublk_get_info2(&ctrl, r->add.id, &info) ||
	    !(info.flags & UBLK_F_UNPRIVILEGED_DEV))
		return 1;
	printf("%u %u\n", info.owner_uid, info.owner_gid);
	ublk_ctrl_close(&ctrl);
	return 0;
}

static int cmd_features(struct request *r)
{
	struct ublk_ctrl ctrl;
	__u64 features;
	unsigned int bit;
	int ret;

	(void)r;
	open_ctrl(&ctrl);
	ret = ublk_get_features(&ctrl, &features);
	if (ret)
		die("cannot read the features: %s", strerror(-ret));
	for (bit = 0; bit < 64; bit++) {
		if (!(features >> bit & 1))
			continue;
		printf("%-2u %s\n", bit, bit < N_ELEMS(feature_names) ?
		       feature_names[bit] : "(unknown)");
	}
	ublk_ctrl_close(&ctrl);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(struct request *r);
} commands[] = {
	{ "add", cmd_add },
	{ "recover", cmd_recover },
	{ "quiesce", cmd_quiesce },
	{ "del", cmd_del },
	{ "list", cmd_list },
	{ "owner", cmd_owner },
	{ "features", cmd_features },
};

int main(int argc, char **argv)
{
	struct request r = { };
	unsigned int i;

	if (argc < 2)
		die("no command, see --help");
	if (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help")) {
		fputs(usage, stdout);
		return 0;
	}
	for (i = 0; i < N_ELEMS(commands); i++) {
		if (strcmp(argv[1], commands[i].name))
			continue;
		parse_options(&r, argc - 1, argv + 1);
		return commands[i].run(&r);
	}
	die("\"%s\" is not a command, see --help", argv[1]);
}
