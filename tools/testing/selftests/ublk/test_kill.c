// SPDX-License-Identifier: GPL-2.0
/*
 * A short kill campaign. KILL_ROUNDS and KILL_SEED make it another one, and
 * the program itself takes more.
 */
#include <libgen.h>
#include <time.h>

#include "fixture.h"

TD_FIXTURE(driver, td_no_device);

TEST_F_TIMEOUT(driver, killed_servers_leave_nothing_behind, 120)
{
	char self_path[256] = "", program[300], seed[16];
	const char *rounds = getenv("KILL_ROUNDS");
	const char *wanted = getenv("KILL_SEED");
	const char *const argv[] = {
		program, "-n", rounds ? rounds : "30", "-s", seed, NULL,
	};

	ASSERT_LT(0, readlink("/proc/self/exe", self_path, 255));
	snprintf(program, sizeof(program), "%s/kill_campaign",
		 dirname(self_path));
	snprintf(seed, sizeof(seed), "%.15s", wanted ? wanted : "");
	if (!wanted)
		snprintf(seed, sizeof(seed), "%u", (unsigned int)time(NULL));
	TH_LOG("seed %s", seed);
	EXPECT_EQ(0, td_run(argv));
}

TEST_HARNESS_MAIN
