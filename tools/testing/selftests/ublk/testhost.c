// SPDX-License-Identifier: GPL-2.0
/*
 * What a test asks of its own machine: see testhost.h.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "testdev.h"
#include "testhost.h"

__u64 td_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

/* For what has no event, such as a file of sysfs: look again after a moment. */
bool td_poll_until(bool (*cond)(void *arg), void *arg)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;

	while (!cond(arg)) {
		if (td_now_ms() > deadline)
			return false;
		poll(NULL, 0, 5);
	}
	return true;
}

void *td_page_buf(__u32 len, unsigned int seed)
{
	__u32 i, *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	for (i = 0; seed && i < len / sizeof(*p); i++)
		p[i] = (seed << 20) + i;
	return p;
}

bool td_is_zero(const void *buf, __u32 len)
{
	const char *p = buf;

	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

struct call {
	int (*fn)(void *arg);
	void *arg;
	int ret;
};

static void *call_thread(void *arg)
{
	struct call *c = arg;

	c->ret = c->fn(c->arg);
	return NULL;
}

int td_in_thread(int (*fn)(void *arg), void *arg)
{
	struct call c = { .fn = fn, .arg = arg };
	pthread_t thread;

	if (pthread_create(&thread, NULL, call_thread, &c))
		return -EAGAIN;
	pthread_join(thread, NULL);
	return c.ret;
}

int td_in_child(int (*fn)(void *arg), void *arg)
{
	int status;
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(fn(arg));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

pid_t td_keep_child(int (*fn)(void *arg), void *arg)
{
	int fds[2];
	pid_t pid;
	char c;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (fn(arg) || write(fds[1], "x", 1) != 1)
			_exit(1);
		pause();
		_exit(1);
	}
	close(fds[1]);
	if (pid < 0 || read(fds[0], &c, 1) != 1)
		pid = -ECHILD;
	close(fds[0]);
	return pid;
}

int td_wait_exit(pid_t pid, int timeout_ms)
{
	struct pollfd fd = {
		.fd = syscall(SYS_pidfd_open, pid, 0), .events = POLLIN,
	};
	int ret, status;

	if (fd.fd < 0)
		return -errno;
	do {
		ret = poll(&fd, 1, timeout_ms);
	} while (ret < 0 && errno == EINTR);
	close(fd.fd);
	if (ret <= 0)
		return -ETIME;
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

static void exec_quietly(const char *const argv[], int log)
{
	dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
	dup2(log, STDOUT_FILENO);
	dup2(log, STDERR_FILENO);
	execvp(argv[0], (char *const *)argv);
	_exit(errno == ENOENT ? 127 : 126);
}

/* Each line as a comment, which is what diagnostics are in KTAP. */
static void show_log(int log)
{
	FILE *f = fdopen(log, "r");
	char line[256];

	if (!f)
		return;
	rewind(f);
	while (fgets(line, sizeof(line), f))
		fprintf(stderr, "# | %s", line);
	fclose(f);
}

int td_run(const char *const argv[])
{
	int log = memfd_create("log", MFD_CLOEXEC);
	pid_t pid = fork();
	int ret;

	if (!pid)
		exec_quietly(argv, log);
	ret = td_wait_exit(pid, 10 * TD_DEADLINE_MS);
	if (ret == 127)
		ret = -ENOENT;
	else if (ret)
		show_log(log);
	close(log);
	return ret;
}

int td_fio(const char *dev, const char *rw, const char *extra)
{
	char file[48], mode[24];
	const char *const argv[] = {
		"fio", "--name=verify", "--thread", "--direct=1", "--minimal",
		"--ioengine=io_uring", "--iodepth=16", "--bsrange=512-64k",
		"--bs_unaligned=0", "--size=4M", "--verify=crc32c",
		"--verify_fatal=1", "--verify_state_save=0", "--randseed=7",
		file, mode, extra, NULL,
	};

	snprintf(file, sizeof(file), "--filename=%s", dev);
	snprintf(mode, sizeof(mode), "--rw=%s", rw);
	return td_run(argv);
}

int td_read_text(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, len - 1);
	close(fd);
	if (n < 0)
		return -errno;
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return 0;
}

char td_task_state(const char *dir, char *line, size_t len)
{
	char path[320], *p;

	snprintf(path, sizeof(path), "%s/stat", dir);
	p = td_read_text(path, line, len) ? NULL : strrchr(line, ')');
	if (!p || !p[1])
		return 0;
	p[1] = '\0';
	return p[2];
}

bool td_stack_has(const char *dir, const char *what)
{
	char path[320], line[200];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "%s/stack", dir);
	f = fopen(path, "re");
	while (f && !found && fgets(line, sizeof(line), f))
		found = strstr(line, what);
	if (f)
		fclose(f);
	return found;
}

static bool task_sleeps_in(const char *dir, const char *what)
{
	char line[200], state = td_task_state(dir, line, sizeof(line));

	return (state == 'S' || state == 'D') && td_stack_has(dir, what);
}

bool td_sleeps_in(pid_t pid, const char *what)
{
	char path[64], line[200];
	bool found = false;
	struct dirent *d;
	DIR *dir;

	if (td_read_text("/proc/self/stack", line, sizeof(line)))
		return true;
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && !found && (d = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%.20s", pid, d->d_name);
		found = atoi(d->d_name) && task_sleeps_in(path, what);
	}
	if (dir)
		closedir(dir);
	return found;
}

int td_write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

/* @attr is below /sys/block/ublkbN. */
int td_sysfs_string(const struct testdev *td, const char *attr, char *buf,
		    size_t len)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/block/ublkb%d/%s", td->id, attr);
	return td_read_text(path, buf, len);
}

static int write_attr(const struct testdev *td, const char *attr, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/block/ublkb%d/%s", td->id, attr);
	return td_write_text(path, text);
}

int td_sysfs_set(const struct testdev *td, const char *attr, unsigned int value)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", value);
	return write_attr(td, attr, text);
}

int td_set_io_timeout(const struct testdev *td, unsigned int ms)
{
	return td_sysfs_set(td, "queue/io_timeout", ms);
}

struct setting {
	const struct testdev *td;
	const char *attr;
	const char *text;
	int ret;
	bool done;
};

static void *set_attr(void *arg)
{
	struct setting *s = arg;

	s->ret = write_attr(s->td, s->attr, s->text);
	__atomic_store_n(&s->done, true, __ATOMIC_RELEASE);
	return NULL;
}

int td_sysfs_write(struct testdev *td, const char *attr, const char *text)
{
	struct setting *s = calloc(1, sizeof(*s));
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;
	pthread_t thread;

	*s = (struct setting) { .td = td, .attr = attr, .text = text };
	if (pthread_create(&thread, NULL, set_attr, s))
		return -EAGAIN;
	while (!__atomic_load_n(&s->done, __ATOMIC_ACQUIRE)) {
		if (td_now_ms() > deadline)
			return -ETIME;
		td_settle(td, 5);
	}
	pthread_join(thread, NULL);
	return s->ret;
}

long td_sysfs_number(const struct testdev *td, const char *attr)
{
	char text[64];
	int ret = td_sysfs_string(td, attr, text, sizeof(text));

	return ret ? ret : strtol(text, NULL, 0);
}

void td_load_schedulers(void)
{
	static const char *const modules[] = {
		"modprobe", "-a", "-q", "mq-deadline", "kyber-iosched", "bfq", NULL,
	};

	td_run(modules);
}

static int load_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	close(fd);
	return ret;
}

static bool has_node(void *node)
{
	return access(node, R_OK | W_OK) == 0;
}

/* Not by modprobe, which takes its time. */
int td_module_load(const char *name, const char *node)
{
	char installed[300], built[64];
	struct utsname uts;

	if (has_node((void *)node))
		return 0;
	uname(&uts);
	snprintf(installed, sizeof(installed), "/lib/modules/%s/updates/%s.ko",
		 uts.release, name);
	snprintf(built, sizeof(built), "test_modules/%s.ko", name);
	if (load_file(installed) && load_file(built))
		return -ENOENT;
	return td_poll_until(has_node, (void *)node) ? 0 : -ENOENT;
}

struct unloading {
	const char *name;
	int ret;
};

static bool is_unloaded(void *arg)
{
	struct unloading *u = arg;

	u->ret = syscall(SYS_delete_module, u->name, O_NONBLOCK) ? -errno : 0;
	return u->ret != -EWOULDBLOCK && u->ret != -EBUSY;
}

int td_module_unload(const char *name)
{
	struct unloading u = { .name = name };

	td_poll_until(is_unloaded, &u);
	return u.ret == -ENOENT ? 0 : u.ret;
}

/* -ENOENT if the driver is built in. */
int td_module_refs(void)
{
	char text[32];
	int ret = td_read_text("/sys/module/ublk_drv/refcnt", text, sizeof(text));

	return ret ? ret : atoi(text);
}
