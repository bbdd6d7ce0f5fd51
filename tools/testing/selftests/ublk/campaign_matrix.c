// SPDX-License-Identifier: GPL-2.0
/*
 * Verified I/O in every way of the data, with one and two queues, one and two
 * threads for each, in each recovery mode. In each cell of this matrix clients
 * write and verify, then the server is killed under them, and if the mode allows
 * it the next one goes on with the same file; at last the file is looked into.
 *
 * A run of as many rounds as there are cells has been in all of them, if it is
 * given the time.
 */
#include "campaign.h"

/* Queues and threads are one or two. */
#define CELLS	(CAMP_WAYS * CAMP_RECOVERIES * 4)
/* Has no factor in common with it. */
#define STRIDE	53

static struct campaign campaign = {
	.name = "matrix", .unit = "cells", .rounds = CELLS, .seconds = 30,
};

static void plan(struct camp_cell *r, unsigned int number)
{
	/* A run that is cut off has been all over it, the next one elsewhere. */
	unsigned int cell = (number * STRIDE + campaign.seed) % CELLS;
	unsigned int shape = cell / CAMP_WAYS % 4;

	camp_cell_plan(r, number, cell % CAMP_WAYS, cell / CAMP_WAYS / 4);
	r->seed = camp_seed(&campaign, number);
	r->opts.queues = 1 + shape % 2;
	r->opts.threads = 1 + shape / 2;
}

int main(int argc, char **argv)
{
	bool good;

	camp_begin(&campaign, argc, argv);
	good = camp_cells_run(&campaign, plan);
	return camp_end(&campaign, !good,
			"%u cells of %u, %u recovered, %llu blocks verified, %llu failures as they had to be",
			camp_cells.cells, CELLS, camp_cells.recovered,
			(unsigned long long)camp_cells.verified,
			(unsigned long long)camp_cells.failed);
}
