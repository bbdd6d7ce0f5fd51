// SPDX-License-Identifier: GPL-2.0
/*
 * Namespaces: root of a user namespace is an ordinary user, and a pid means
 * what it means to who names or reads it.
 */
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "fixture.h"
#include "user.h"

/* Exit statuses of those who act for a test; an errno is below them. */
#define NO_NAMESPACE	200
#define NO_SETUP	201
#define KILLED		202

TD_FIXTURE(driver, td_no_device);

/* A device that was added in a namespace is for the test to delete. */
static void pass_on(const struct testdev *mine, struct testdev *td)
{
	if (td->id >= 0)
		return;
	td->id = mine->id;
	td->ctrl.by_path = mine->ctrl.by_path;
}

/* -- user namespaces ------------------------------------------------------- */

/* USER turns into root, of a namespace of its own. */
static int enter_user_ns(void)
{
	if (setresgid(USER, USER, USER) || setresuid(USER, USER, USER) ||
	    prctl(PR_SET_DUMPABLE, 1) || unshare(CLONE_NEWUSER))
		return -errno;
	if (td_write_text("/proc/self/setgroups", "deny") ||
	    td_write_text("/proc/self/uid_map", "0 65534 1") ||
	    td_write_text("/proc/self/gid_map", "0 65534 1"))
		return -errno;
	return getuid() ? -EINVAL : 0;
}

/* What a container's root does, who was given the nodes from outside. */
struct container {
	struct testdev *td;
	int (*act)(struct testdev *mine);
};

static int run_in_user_ns(void *arg)
{
	static struct testdev mine;
	struct container *c = arg;
	int ret;

	/* Opened by who may; what it is used for is asked each time. */
	if (!td_init(&mine))
		return NO_SETUP;
	mine.id = c->td->id;
	mine.info.flags = c->td->info.flags;
	if (enter_user_ns())
		return NO_NAMESPACE;
	ret = c->act(&mine);
	pass_on(&mine, c->td);
	return -ret;
}

/* The negated errno of @act. */
static int in_user_ns(struct testdev *td, int (*act)(struct testdev *mine))
{
	struct container c = { td, act };

	return td_in_child(run_in_user_ns, &c);
}

#define EXPECT_IN_USER_NS(errno, act) do {				\
	int ret = in_user_ns(&self->td, act);				\
									\
	if (ret == NO_NAMESPACE)					\
		SKIP(return, "no user namespaces");			\
	EXPECT_EQ(errno, ret);						\
} while (0)

TEST_F(driver, root_of_a_user_namespace_adds_no_privileged_device)
{
	self->td.info.flags = 0;
	EXPECT_IN_USER_NS(EPERM, td_add);
}

static int add_and_look(struct testdev *mine)
{
	int ret = td_add(mine);

	if (ret)
		return ret;
	return mine->info.flags & UBLK_F_UNPRIVILEGED_DEV ? 0 : -EINVAL;
}

TEST_F(driver, root_of_a_user_namespace_adds_an_unprivileged_device)
{
	self->td.info.flags = UBLK_F_UNPRIVILEGED_DEV;
	EXPECT_IN_USER_NS(0, add_and_look);
}

static int add_and_look_who_owns_it(struct testdev *mine)
{
	int ret = td_add(mine);

	if (ret)
		return ret;
	return mine->info.owner_uid == USER && mine->info.owner_gid == USER ?
		0 : -EINVAL;
}

/* As all of the system knows that user. */
TEST_F(driver, owner_is_named_as_outside_of_the_user_namespace)
{
	self->td.info.flags = UBLK_F_UNPRIVILEGED_DEV;
	EXPECT_IN_USER_NS(0, add_and_look_who_owns_it);
}

static int get_info(struct testdev *mine)
{
	return ublk_get_info(&mine->ctrl, mine->id, &mine->info);
}

TEST_F(driver, root_of_a_user_namespace_commands_no_privileged_device)
{
	ASSERT_EQ(0, td_add(&self->td));
	EXPECT_IN_USER_NS(EPERM, get_info);
}

static int get_info_by_path(struct testdev *mine)
{
	return ublk_get_info2(&mine->ctrl, mine->id, &mine->info);
}

/* Root there passes no modes here. */
TEST_F(driver, root_of_a_user_namespace_needs_the_node)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, add_unprivileged(td));
	ASSERT_EQ(0, hand_over(td, OTHER_USER, 0600));
	EXPECT_IN_USER_NS(EACCES, get_info_by_path);
}

TEST_F(driver, root_of_a_user_namespace_commands_what_it_has_the_node_of)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, add_unprivileged(td));
	ASSERT_EQ(0, hand_over(td, USER, 0600));
	EXPECT_IN_USER_NS(0, get_info_by_path);
}

static int go_live_as(struct testdev *td, uid_t id)
{
	int ret = add_as(td, id, UBLK_F_UNPRIVILEGED_DEV |
				 UBLK_F_NO_AUTO_PART_SCAN);

	if (!ret)
		ret = td_set_params(td);
	if (!ret)
		ret = td_attach(td);
	if (!ret)
		ret = td_fetch_all(td);
	if (!ret)
		ret = td_start(td);
	return ret ? ret : td_make_node(td, 0666);
}

TEST_F(driver, root_of_a_user_namespace_opens_its_own_disk)
{
	ASSERT_EQ(0, go_live_as(&self->td, USER));
	EXPECT_IN_USER_NS(0, open_disk);
	td_remove_node(&self->td);
}

TEST_F(driver, root_of_a_user_namespace_opens_no_disk_of_others)
{
	ASSERT_EQ(0, go_live_as(&self->td, OTHER_USER));
	EXPECT_IN_USER_NS(EPERM, open_disk);
	td_remove_node(&self->td);
}

/* -- pid namespaces -------------------------------------------------------- */

/*
 * A process that acts in a pid namespace of its own, where it is process 1.
 * What it and the test tell each other is in memory that both have.
 */
struct inmate {
	struct testdev *td;
	int (*act)(struct inmate *in, struct testdev *mine);
	pid_t pid;		/* as the test knows it */
	int seen;
	int ready;		/* eventfd: it is as far as the test wants it */
};

/* The pid that the test has for the calling process: /proc is not ours. */
static pid_t outer_pid(void)
{
	char text[32] = "";
	ssize_t n = readlink("/proc/self", text, sizeof(text) - 1);

	return n > 0 ? atoi(text) : 0;
}

static int run_inmate(struct inmate *in)
{
	static struct testdev mine;
	int ret;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getpid() != 1 || !td_init(&mine))
		return NO_SETUP;
	in->pid = outer_pid();
	mine.id = in->td->id;
	mine.info.flags = in->td->info.flags;
	ret = in->act(in, &mine);
	pass_on(&mine, in->td);
	return -ret;
}

/* Waits for the inmate, and passes on how it ended. */
static int run_gaoler(struct inmate *in)
{
	int status;
	pid_t pid;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (unshare(CLONE_NEWPID))
		return NO_NAMESPACE;
	pid = fork();
	if (!pid)
		_exit(run_inmate(in));
	if (waitpid(pid, &status, 0) != pid)
		return NO_SETUP;
	return WIFEXITED(status) ? WEXITSTATUS(status) : KILLED;
}

static pid_t spawn_gaoler(struct inmate *in)
{
	pid_t pid = fork();

	if (!pid)
		_exit(run_gaoler(in));
	return pid;
}

/* In memory shared with the inmate, NULL if there is none. */
static struct inmate *make_inmate(struct testdev *td,
				  int (*act)(struct inmate *in,
					     struct testdev *mine))
{
	struct inmate *in = mmap(NULL, sizeof(*in), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (in == MAP_FAILED)
		return NULL;
	in->td = td;
	in->act = act;
	in->ready = eventfd(0, EFD_CLOEXEC);
	return in;
}

#define EXPECT_IN_PID_NS(errno, act) do {				\
	struct inmate *in = make_inmate(&self->td, act);		\
	int ret;							\
									\
	ASSERT_NE(NULL, in);						\
	ret = td_wait_exit(spawn_gaoler(in), 2 * TD_DEADLINE_MS);	\
	if (ret == NO_NAMESPACE)					\
		SKIP(return, "no pid namespaces");			\
	EXPECT_EQ(errno, ret);						\
} while (0)

FIXTURE(kind)
{
	struct testdev td;
};

FIXTURE_VARIANT(kind)
{
	__u64 flags;
};

FIXTURE_SETUP(kind)
{
	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	self->td.info.flags = variant->flags | UBLK_F_NO_AUTO_PART_SCAN;
}

FIXTURE_TEARDOWN_PARENT(kind)
{
	EXPECT_EQ(0, td_reap(&self->td));
}

FIXTURE_VARIANT_ADD(kind, privileged) { };
FIXTURE_VARIANT_ADD(kind, unprivileged) { .flags = UBLK_F_UNPRIVILEGED_DEV };

static int add_either(struct testdev *td)
{
	int ret;

	set_admin(!(td->info.flags & UBLK_F_UNPRIVILEGED_DEV));
	ret = td_add(td);
	set_admin(true);
	return ret;
}

static int prepare_start(struct testdev *td)
{
	int ret = add_either(td);

	if (!ret)
		ret = td_set_params(td);
	if (!ret)
		ret = td_attach(td);
	return ret ? ret : td_fetch_all(td);
}

static int start_as_process_1(struct inmate *in, struct testdev *mine)
{
	int ret = prepare_start(mine);

	return ret ? -NO_SETUP : td_ctl(mine, UBLK_U_CMD_START_DEV, 1);
}

TEST_F(kind, start_takes_the_pid_that_the_server_has_for_itself)
{
	EXPECT_IN_PID_NS(0, start_as_process_1);
}

static int start_as_outer_pid(struct inmate *in, struct testdev *mine)
{
	int ret = prepare_start(mine);

	return ret ? -NO_SETUP :
		     td_ctl(mine, UBLK_U_CMD_START_DEV, outer_pid());
}

TEST_F(kind, start_refuses_the_pid_that_others_have_for_the_server)
{
	EXPECT_IN_PID_NS(EINVAL, start_as_outer_pid);
}

static int lose_server(struct testdev *td)
{
	int ret;

	td->info.flags |= UBLK_F_USER_RECOVERY;
	ret = td_go_live(td);
	if (ret)
		return ret;
	td_close_disk(td);
	td_detach(td);
	return td_wait_state(td, UBLK_S_DEV_QUIESCED) ? 0 : -ETIME;
}

static int end_recovery(struct testdev *mine, pid_t pid)
{
	if (td_reattach(mine) || td_fetch_all(mine))
		return -NO_SETUP;
	return td_ctl(mine, UBLK_U_CMD_END_USER_RECOVERY, pid);
}

static int recover_as_process_1(struct inmate *in, struct testdev *mine)
{
	return end_recovery(mine, 1);
}

TEST_F(driver, end_recovery_takes_the_pid_that_the_server_has_for_itself)
{
	REQUIRE_FEATURE(&self->td, UBLK_F_USER_RECOVERY);
	ASSERT_EQ(0, lose_server(&self->td));
	EXPECT_IN_PID_NS(0, recover_as_process_1);
}

static int recover_as_outer_pid(struct inmate *in, struct testdev *mine)
{
	return end_recovery(mine, outer_pid());
}

TEST_F(driver, end_recovery_refuses_the_pid_that_others_have_for_the_server)
{
	REQUIRE_FEATURE(&self->td, UBLK_F_USER_RECOVERY);
	ASSERT_EQ(0, lose_server(&self->td));
	EXPECT_IN_PID_NS(EINVAL, recover_as_outer_pid);
}

static int serve_and_look(struct inmate *in, struct testdev *mine)
{
	if (prepare_start(mine) || td_ctl(mine, UBLK_U_CMD_START_DEV, 1) ||
	    ublk_get_info(&mine->ctrl, mine->id, &mine->info))
		return -NO_SETUP;
	pass_on(mine, in->td);
	in->seen = mine->info.ublksrv_pid;
	eventfd_write(in->ready, 1);
	while (!td_settle(mine, TD_DEADLINE_MS))
		;
	return 0;
}

/* Makes @in the server of a live device, or says how it ended. */
static int serve_inside(struct inmate *in, pid_t *gaoler)
{
	struct pollfd fd = { .fd = in->ready, .events = POLLIN };
	__u64 deadline = td_now_ms() + 2 * TD_DEADLINE_MS;
	int ret;

	*gaoler = spawn_gaoler(in);
	while (td_now_ms() < deadline) {
		if (poll(&fd, 1, 100) == 1)
			return 0;
		ret = td_wait_exit(*gaoler, 0);
		if (ret != -ETIME)
			return ret;
	}
	return -ETIME;
}

#define SERVE_INSIDE(in, gaoler) do {					\
	int ret = serve_inside(in, gaoler);				\
									\
	if (ret == NO_NAMESPACE)					\
		SKIP(return, "no pid namespaces");			\
	ASSERT_EQ(0, ret);						\
} while (0)

static void end_inside(struct inmate *in, pid_t gaoler)
{
	kill(in->pid, SIGKILL);
	waitpid(gaoler, NULL, 0);
}

TEST_F(kind, info_shows_the_server_its_own_pid)
{
	struct inmate *in = make_inmate(&self->td, serve_and_look);
	pid_t gaoler;

	SERVE_INSIDE(in, &gaoler);
	EXPECT_EQ(1, in->seen);
	end_inside(in, gaoler);
}

TEST_F(kind, info_shows_others_the_pid_that_they_have_for_the_server)
{
	struct inmate *in = make_inmate(&self->td, serve_and_look);
	struct testdev *td = &self->td;
	pid_t gaoler;

	SERVE_INSIDE(in, &gaoler);
	ASSERT_EQ(0, ublk_get_info(&td->ctrl, td->id, &td->info));
	EXPECT_EQ(in->pid, td->info.ublksrv_pid);
	end_inside(in, gaoler);
}

/* Process 1 is deaf to signals, but not to those from outside. */
TEST_F_TIMEOUT(driver, server_that_is_process_1_is_killed_for_an_old_request, 60)
{
	struct inmate *in = make_inmate(&self->td, serve_and_look);
	struct testdev *td = &self->td;
	pid_t gaoler;

	td->info.flags |= UBLK_F_UNPRIVILEGED_DEV;
	SERVE_INSIDE(in, &gaoler);
	ASSERT_EQ(0, td_open_disk(td));
	ASSERT_EQ(0, td_set_io_timeout(td, 1000));
	td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
	EXPECT_EQ(KILLED, td_wait_exit(gaoler, 2 * TD_DEADLINE_MS));
}

static int look(struct inmate *in, struct testdev *mine)
{
	if (ublk_get_info2(&mine->ctrl, mine->id, &mine->info))
		return -NO_SETUP;
	in->seen = mine->info.ublksrv_pid;
	return 0;
}

TEST_F(driver, info_shows_no_server_to_who_cannot_see_it)
{
	struct testdev *td = &self->td;
	struct inmate *in = make_inmate(td, look);
	int ret;

	ASSERT_EQ(0, td_go_live(td));
	ret = td_wait_exit(spawn_gaoler(in), 2 * TD_DEADLINE_MS);
	if (ret == NO_NAMESPACE)
		SKIP(return, "no pid namespaces");
	ASSERT_EQ(0, ret);
	EXPECT_EQ(-1, in->seen);
}

TEST_HARNESS_MAIN
