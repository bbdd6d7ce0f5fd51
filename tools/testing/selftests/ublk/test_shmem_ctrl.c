// SPDX-License-Identifier: GPL-2.0
/*
 * REG_BUF and UNREG_BUF: which memory is taken, how much of it, and who pays.
 */
#include <sys/resource.h>

#include "testshmem.h"
#include "user.h"

#define LIMIT	8U	/* pages, where RLIMIT_MEMLOCK is tested */

static int add_with_shmem(struct testdev *td)
{
	td->info.flags |= UBLK_F_SHMEM_ZC;
	return td_add(td);
}

TD_FIXTURE_WITH(device, UBLK_F_SHMEM_ZC, add_with_shmem);
TD_FIXTURE(plain, td_add);

static int reg_pages(struct testdev *td, const char *addr, unsigned int nr)
{
	return reg_memory(td, addr, nr * (__u64)PAGE, 0);
}

/* -- indexes --------------------------------------------------------------- */

TEST_F(device, register_returns_the_lowest_free_index)
{
	struct testdev *td = &self->td;
	char *mem = td_page_buf(4 * PAGE, 1);

	EXPECT_EQ(0, reg_pages(td, mem, 1));
	EXPECT_EQ(1, reg_pages(td, mem + PAGE, 1));
	EXPECT_EQ(2, reg_pages(td, mem + 2 * PAGE, 1));
	ASSERT_EQ(0, unreg(td, 1));
	EXPECT_EQ(1, reg_pages(td, mem + 3 * PAGE, 1));
	EXPECT_EQ(3, reg_pages(td, mem + PAGE, 1));
}

TEST_F(device, unregister_of_nothing_is_refused)
{
	struct testdev *td = &self->td;

	EXPECT_EQ(-EINVAL, unreg(td, -1));
	EXPECT_EQ(-EINVAL, unreg(td, 65536));
	EXPECT_EQ(-ENOENT, unreg(td, 65535));
	EXPECT_EQ(-ENOENT, unreg(td, 0));
}

TEST_F(device, unregister_works_once)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, reg_pages(td, td_page_buf(PAGE, 1), 1));
	EXPECT_EQ(0, unreg(td, 0));
	EXPECT_EQ(-ENOENT, unreg(td, 0));
}

/* The index is a number of 32 bits. */
TEST_F(device, unregister_ignores_the_upper_half_of_the_index)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, reg_pages(td, td_page_buf(PAGE, 1), 1));
	EXPECT_EQ(0, unreg(td, 1ULL << 32));
}

/* -- what is refused, in order --------------------------------------------- */

/* Before anything is looked at: the payload is not there. */
TEST_F(plain, commands_are_refused_without_the_feature)
{
	struct testdev *td = &self->td;

	EXPECT_EQ(-EOPNOTSUPP, td_ctl_buf(td, UBLK_U_CMD_REG_BUF, (void *)1, 24, 0));
	EXPECT_EQ(-EOPNOTSUPP, unreg(td, -1));
}

TEST_F(device, payload_has_to_be_there)
{
	struct testdev *td = &self->td;

	EXPECT_EQ(-EFAULT, td_ctl_buf(td, UBLK_U_CMD_REG_BUF, (void *)1, 24, 0));
}

TEST_F(device, payload_may_be_short_or_long)
{
	struct testdev *td = &self->td;
	char *mem = td_page_buf(2 * PAGE, 1);
	struct {
		struct ublk_shmem_buf_reg reg;
		char more[40];
	} payload = {
		.reg = { .addr = (unsigned long)mem, .len = PAGE, .flags = ~0U },
		.more = "not looked at",
	};

	/* No length, then no flags. */
	EXPECT_EQ(-EINVAL, td_ctl_buf(td, UBLK_U_CMD_REG_BUF, NULL, 0, 0));
	EXPECT_EQ(-EINVAL, td_ctl_buf(td, UBLK_U_CMD_REG_BUF, &payload, 8, 0));
	EXPECT_EQ(0, td_ctl_buf(td, UBLK_U_CMD_REG_BUF, &payload, 16, 0));
	payload.reg.addr += PAGE;
	payload.reg.flags = 0;
	EXPECT_EQ(1, td_ctl_buf(td, UBLK_U_CMD_REG_BUF, &payload,
				sizeof(payload), 0));
}

FIXTURE(odd)
{
	struct testdev td;
};

FIXTURE_VARIANT(odd)
{
	struct ublk_shmem_buf_reg reg;
};

TD_FIXTURE_OPS_WITH(odd, UBLK_F_SHMEM_ZC, add_with_shmem);

/* There is no memory at any of these addresses: that is found out later. */
FIXTURE_VARIANT_ADD(odd, flag) { .reg = { .addr = PAGE, .len = PAGE, .flags = 2 } };
FIXTURE_VARIANT_ADD(odd, high_flag) {
	.reg = { .addr = PAGE, .len = PAGE, .flags = 1U << 31 } };
FIXTURE_VARIANT_ADD(odd, reserved_bit) {
	.reg = { .addr = PAGE, .len = PAGE, .reserved = 1 } };
FIXTURE_VARIANT_ADD(odd, length_of_nothing) { .reg = { .addr = PAGE } };
FIXTURE_VARIANT_ADD(odd, length_above_4_gib) {
	.reg = { .addr = PAGE, .len = (4ULL << 30) + PAGE } };
FIXTURE_VARIANT_ADD(odd, length_of_everything) {
	.reg = { .addr = PAGE, .len = -(__u64)PAGE } };
FIXTURE_VARIANT_ADD(odd, part_of_a_page) { .reg = { .addr = PAGE, .len = PAGE + 512 } };
FIXTURE_VARIANT_ADD(odd, address) { .reg = { .addr = PAGE + 512, .len = PAGE } };

TEST_F(odd, registration_is_refused)
{
	struct testdev *td = &self->td;

	EXPECT_EQ(-EINVAL, ublk_reg_buf(&td->ctrl, td->id, &variant->reg));
}

TEST_F(device, length_of_4_gib_is_in_order)
{
	struct testdev *td = &self->td;

	/* But there is no memory. */
	EXPECT_EQ(-EFAULT, reg_memory(td, (void *)(uintptr_t)PAGE, 4ULL << 30, 0));
}

TEST_F(device, memory_has_to_be_there)
{
	struct testdev *td = &self->td;
	char *mem = td_page_buf(3 * PAGE, 1);

	ASSERT_EQ(0, munmap(mem + 2 * PAGE, PAGE));
	EXPECT_EQ(-EFAULT, reg_pages(td, mem + 2 * PAGE, 1));
	EXPECT_EQ(-EFAULT, reg_pages(td, mem, 3));
	/* Nothing is left of that. */
	EXPECT_EQ(0, reg_pages(td, mem, 2));
}

TEST_F(device, read_only_memory_can_be_registered_as_such_alone)
{
	struct testdev *td = &self->td;
	char *mem = td_page_buf(PAGE, 1);

	ASSERT_EQ(0, mprotect(mem, PAGE, PROT_READ));
	EXPECT_EQ(-EFAULT, reg_pages(td, mem, 1));
	EXPECT_EQ(0, reg_memory(td, mem, PAGE, UBLK_SHMEM_BUF_READ_ONLY));
}

TEST_F(device, page_is_registered_once)
{
	struct testdev *td = &self->td;
	char *mem = td_page_buf(4 * PAGE, 1);

	ASSERT_EQ(0, reg_pages(td, mem + 2 * PAGE, 1));
	EXPECT_EQ(-EEXIST, reg_pages(td, mem + 2 * PAGE, 1));
	/* Some of it can be had, and is not kept. */
	EXPECT_EQ(-EEXIST, reg_pages(td, mem, 4));
	EXPECT_EQ(1, reg_pages(td, mem, 2));
	EXPECT_EQ(2, reg_pages(td, mem + 3 * PAGE, 1));
	ASSERT_EQ(0, unreg(td, 0));
	EXPECT_EQ(0, reg_pages(td, mem + 2 * PAGE, 1));
}

TEST_F(device, page_appears_once_in_a_buffer)
{
	struct testdev *td = &self->td;
	char *mem = td_page_buf(3 * PAGE, 0);
	struct shared sh;

	ASSERT_EQ(0, share(&sh, PAGE));
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(mem + i * PAGE,
			  mmap(mem + i * PAGE, PAGE, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_FIXED, sh.fd, 0));
	EXPECT_EQ(-EEXIST, reg_pages(td, mem, 3));
	EXPECT_EQ(-EEXIST, reg_pages(td, mem, 2));
	EXPECT_EQ(0, reg_pages(td, mem + PAGE, 1));
}

/* Private memory that nobody has touched is one page of zeroes for all. */
TEST_F(device, untouched_memory_is_registered_page_by_page)
{
	struct testdev *td = &self->td;
	char *mem = td_page_buf(4 * PAGE, 0);

	EXPECT_EQ(0, reg_memory(td, mem, 2 * PAGE, UBLK_SHMEM_BUF_READ_ONLY));
	EXPECT_EQ(1, reg_memory(td, mem + 2 * PAGE, 2 * PAGE,
				UBLK_SHMEM_BUF_READ_ONLY));
}

#define MANY	2048U

/* Enough for trees to grow and to shrink. */
TEST_F(device, many_buffers_come_and_go)
{
	struct testdev *td = &self->td;
	char *mem = td_page_buf(MANY * PAGE, 0);
	unsigned int i;

	for (i = 0; i < MANY; i++)
		ASSERT_EQ(i, reg_pages(td, mem + i * PAGE, 1));
	for (i = 0; i < MANY; i += 5)
		ASSERT_EQ(0, unreg(td, i));
	EXPECT_EQ(-EEXIST, reg_pages(td, mem + PAGE, 1));
	for (i = 0; i < MANY; i += 5)
		ASSERT_EQ(i, reg_pages(td, mem + i * PAGE, 1));
	/* Then the device goes, with all of them. */
	EXPECT_EQ(0, unreg(td, MANY - 1));
}

#define MOST	65536U

TEST_F_TIMEOUT(device, register_ends_at_65536_buffers, 300)
{
	struct testdev *td = &self->td;
	char *mem = td_page_buf((MOST + 1) * PAGE, 0);
	unsigned int i;

	for (i = 0; i < MOST; i++)
		ASSERT_EQ(i, reg_pages(td, mem + i * PAGE, 1));
	EXPECT_EQ(-ENOSPC, reg_pages(td, mem + MOST * PAGE, 1));
	ASSERT_EQ(0, unreg(td, MOST / 2));
	EXPECT_EQ(MOST / 2, reg_pages(td, mem + MOST * PAGE, 1));
}

/* -- pins ------------------------------------------------------------------ */

static long read_counter(const char *name)
{
	FILE *f = fopen("/proc/vmstat", "r");
	char key[64];
	long value;

	while (f && fscanf(f, "%63s %ld", key, &value) == 2) {
		if (!strcmp(key, name)) {
			fclose(f);
			return value;
		}
	}
	if (f)
		fclose(f);
	return -1;
}

/* Pages that somebody has pinned, now that the CPUs have added up what they know. */
static long count_pins(void)
{
	int ret = td_write_text("/proc/sys/vm/stat_refresh", "1");

	/* The sum is right even if this finds fault with another one. */
	if (ret && ret != -EINVAL)
		return -1;
	return read_counter("nr_foll_pin_acquired") -
		read_counter("nr_foll_pin_released");
}

#define PINS	1024L	/* far more than others have for a moment */

static bool are_unpinned(void *before)
{
	return count_pins() < *(long *)before + PINS / 2;
}

TEST_F(device, pages_are_pinned_while_they_are_registered)
{
	struct testdev *td = &self->td;
	char *mem = td_page_buf(PINS * PAGE, 1);
	long before = count_pins();

	if (before < 0)
		SKIP(return, "kernel that does not count pins");
	ASSERT_EQ(0, reg_pages(td, mem, PINS));
	EXPECT_LE(before + PINS / 2, count_pins());
	ASSERT_EQ(0, unreg(td, 0));
	EXPECT_TRUE(td_poll_until(are_unpinned, &before));
}

TEST_F(device, pages_are_unpinned_when_registration_fails)
{
	struct testdev *td = &self->td;
	char *mem = td_page_buf(PINS * PAGE, 1);
	long before;

	ASSERT_EQ(0, reg_pages(td, mem + (PINS - 2) * PAGE, 1));
	ASSERT_EQ(0, munmap(mem + (PINS - 1) * PAGE, PAGE));
	before = count_pins();
	if (before < 0)
		SKIP(return, "kernel that does not count pins");
	EXPECT_EQ(-EEXIST, reg_pages(td, mem, PINS - 1));
	EXPECT_TRUE(td_poll_until(are_unpinned, &before));
	EXPECT_EQ(-EFAULT, reg_pages(td, mem, PINS));
	EXPECT_TRUE(td_poll_until(are_unpinned, &before));
}

TEST_F(device, pages_are_unpinned_when_the_device_goes)
{
	struct testdev *td = &self->td;
	char *mem = td_page_buf(PINS * PAGE, 1);
	long before = count_pins();

	if (before < 0)
		SKIP(return, "kernel that does not count pins");
	ASSERT_EQ(0, reg_pages(td, mem, PINS));
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_DEL_DEV, 0));
	EXPECT_TRUE(td_poll_until(are_unpinned, &before));
}

/* -- who pays -------------------------------------------------------------- */

/*
 * To be a user who may command the device, but not lock memory beyond the limit.
 * Root may already have locked some; this user has not.
 */
static void become_limited(void)
{
	struct rlimit limit = { LIMIT * PAGE, LIMIT * PAGE };

	if (setrlimit(RLIMIT_MEMLOCK, &limit))
		abort();
	become(USER, USER);
	set_admin(true);
}

TEST_F(device, pages_count_against_the_limit)
{
	struct testdev *td = &self->td;
	char *mem = td_page_buf(2 * LIMIT * PAGE, 1);

	become_limited();
	EXPECT_EQ(-ENOMEM, reg_pages(td, mem, LIMIT + 1));
	EXPECT_EQ(0, reg_pages(td, mem, LIMIT - 1));
	EXPECT_EQ(-ENOMEM, reg_pages(td, mem + LIMIT * PAGE, 2));
	EXPECT_EQ(1, reg_pages(td, mem + LIMIT * PAGE, 1));
	EXPECT_EQ(-ENOMEM, reg_pages(td, mem + (LIMIT + 1) * PAGE, 1));
	EXPECT_EQ(0, unreg(td, 0));
	EXPECT_EQ(0, reg_pages(td, mem, LIMIT - 1));
	become_root();
}

TEST_F(device, limit_comes_before_the_memory)
{
	struct testdev *td = &self->td;

	become_limited();
	EXPECT_EQ(-ENOMEM, reg_pages(td, (char *)(uintptr_t)PAGE, LIMIT + 1));
	EXPECT_EQ(-EFAULT, reg_pages(td, (char *)(uintptr_t)PAGE, LIMIT));
	become_root();
}

TEST_F(device, failure_costs_nothing)
{
	struct testdev *td = &self->td;
	char *mem = td_page_buf(LIMIT * PAGE, 1);

	ASSERT_EQ(0, reg_pages(td, mem, 1));
	become_limited();
	EXPECT_EQ(-EFAULT, reg_pages(td, (char *)(uintptr_t)PAGE, LIMIT));
	EXPECT_EQ(-EEXIST, reg_pages(td, mem, LIMIT));
	EXPECT_EQ(1, reg_pages(td, mem + PAGE, LIMIT - 1));
	become_root();
}

TEST_F(device, limit_is_not_for_who_may_lock_memory)
{
	struct testdev *td = &self->td;
	struct rlimit limit = { LIMIT * PAGE, LIMIT * PAGE };

	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
	EXPECT_EQ(0, reg_pages(td, td_page_buf(2 * LIMIT * PAGE, 1), 2 * LIMIT));
}

static int reg_to_the_limit(void *arg)
{
	struct testdev mine = *(struct testdev *)arg;
	int ret;

	/* The parent's ring is its own. */
	if (ublk_ctrl_open(&mine.ctrl))
		return 255;
	become_limited();
	ret = reg_pages(&mine, td_page_buf(LIMIT * PAGE, 1), LIMIT);
	return ret < 0 ? 254 : ret;
}

/* A buffer outlives the process that registered it, and so does its price. */
TEST_F(device, pages_of_a_process_that_is_gone_count)
{
	struct testdev *td = &self->td;
	char *mem = td_page_buf(PAGE, 1);

	ASSERT_EQ(0, td_in_child(reg_to_the_limit, td));
	become_limited();
	EXPECT_EQ(-ENOMEM, reg_pages(td, mem, 1));
	EXPECT_EQ(0, unreg(td, 0));
	EXPECT_EQ(0, reg_pages(td, mem, 1));
	become_root();
}

struct second_try {
	struct testdev *td;
	char *mem;
};

static bool has_room_again(void *arg)
{
	struct second_try *t = arg;

	return reg_pages(t->td, t->mem, LIMIT) == 0;
}

TEST_F(device, pages_of_a_device_that_is_gone_do_not_count)
{
	struct testdev *td = &self->td;
	struct second_try t = { td, td_page_buf(LIMIT * PAGE, 1) };

	become_limited();
	ASSERT_EQ(0, reg_pages(td, t.mem, LIMIT));
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_DEL_DEV, 0));
	td->info.dev_id = UBLK_AUTO_ID;
	ASSERT_EQ(0, td_add(td));
	EXPECT_TRUE(td_poll_until(has_room_again, &t));
	become_root();
}

/* -- ordinary users -------------------------------------------------------- */

static int add_for_user(struct testdev *td)
{
	int ret;

	td->info.flags |= UBLK_F_SHMEM_ZC;
	ret = add_unprivileged(td);
	return ret ? ret : hand_over(td, USER, 0600);
}

TD_FIXTURE_WITH(user, UBLK_F_SHMEM_ZC, add_for_user);

TEST_F(user, may_share_memory)
{
	struct testdev *td = &self->td;

	EXPECT_TRUE(td->info.flags & UBLK_F_SHMEM_ZC);
	become(USER, USER);
	EXPECT_EQ(0, reg_pages(td, td_page_buf(PAGE, 1), 1));
	EXPECT_EQ(0, unreg(td, 0));
	become_root();
}

TEST_F(user, shares_no_more_than_its_limit)
{
	struct testdev *td = &self->td;

	become_limited();
	set_admin(false);
	EXPECT_EQ(-ENOMEM, reg_pages(td, td_page_buf(PAGE, 1), LIMIT + 1));
	become_root();
}

TEST_F(user, shares_no_memory_with_the_device_of_another)
{
	struct testdev *td = &self->td;

	become(OTHER_USER, OTHER_USER);
	EXPECT_EQ(-EACCES, reg_pages(td, td_page_buf(PAGE, 1), 1));
	EXPECT_EQ(-EACCES, unreg(td, 0));
	become_root();
}

TEST_F(user, has_to_name_the_device)
{
	struct testdev *td = &self->td;
	struct ublk_shmem_buf_reg reg = { };

	EXPECT_EQ(-EINVAL, td_ctl_buf(td, UBLK_U_CMD_REG_BUF, &reg, sizeof(reg), 0));
}

TEST_HARNESS_MAIN
