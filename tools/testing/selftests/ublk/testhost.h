/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a test asks of its own machine: time, memory, threads, processes, sysfs.
 */
#ifndef UBLK_TESTHOST_H
#define UBLK_TESTHOST_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct testdev;

/* Polls a condition whose event cannot be waited for; false at the deadline. */
bool td_poll_until(bool (*cond)(void *arg), void *arg);
__u64 td_now_ms(void);

/* Memory fit for direct I/O, filled with a pattern that depends on @seed. */
void *td_page_buf(__u32 len, unsigned int seed);
bool td_is_zero(const void *buf, __u32 len);

/* Runs @fn in another thread of this process. */
int td_in_thread(int (*fn)(void *arg), void *arg);
/* Runs @fn in a child process; its return value must be 0..255. */
int td_in_child(int (*fn)(void *arg), void *arg);
/*
 * The same for a child that sleeps afterwards, for a signal to end it, and dies with
 * this process: its pid, or -ECHILD if @fn did not return 0.
 */
pid_t td_keep_child(int (*fn)(void *arg), void *arg);

/* Reaps a process: its exit status, or -ETIME if it does not end. */
int td_wait_exit(pid_t pid, int timeout_ms);

/*
 * Runs a program; its output goes to the log only if it fails. Returns the
 * exit status, or -ENOENT if the program is not installed.
 */
int td_run(const char *const argv[]);
/* fio: writes the first 4 MiB of a disk, or does what @extra says, and verifies. */
int td_fio(const char *dev, const char *rw, const char *extra);

/*
 * The state of the task with this folder below /proc, 0 if it is gone; @line has its
 * pid and name.
 */
char td_task_state(const char *dir, char *line, size_t len);
/* Is there such a word in its stack in the kernel? No, if that cannot be read. */
bool td_stack_has(const char *dir, const char *what);
/*
 * Is a thread of this process, or a worker of its rings, asleep with such a word in its
 * stack? Yes, if that cannot be told.
 */
bool td_sleeps_in(pid_t pid, const char *what);
#define TD_IN_DRIVER	" ublk_"

/* The first line of a small file, without its end; 0 or a negative errno. */
int td_read_text(const char *path, char *buf, size_t len);
int td_write_text(const char *path, const char *text);
long td_sysfs_number(const struct testdev *td, const char *attr);
int td_sysfs_string(const struct testdev *td, const char *attr, char *buf,
		    size_t len);
int td_sysfs_set(const struct testdev *td, const char *attr, unsigned int value);
/* How old a request may get, which is 30 seconds unless root says otherwise. */
int td_set_io_timeout(const struct testdev *td, unsigned int ms);
/* What waits for the I/O under way, which may be somebody else's: it is served. */
int td_sysfs_write(struct testdev *td, const char *attr, const char *text);
/* Those I/O schedulers that the kernel has as modules. */
void td_load_schedulers(void);
/*
 * A module of test_modules/ with a device node, from where modules are installed, or
 * built: 0, or -ENOENT if there is none that fits the kernel.
 */
int td_module_load(const char *name, const char *node);
/* For the parent of a test: 0 if it is gone. */
int td_module_unload(const char *name);
int td_module_refs(void);

#endif
