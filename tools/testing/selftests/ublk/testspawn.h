/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A server to kill: made with the library, in a process of its own.
 */
#ifndef UBLK_TESTSPAWN_H
#define UBLK_TESTSPAWN_H

#include "testdev.h"

int td_spawn(struct testdev *td, const struct ublk_options *opts);
int td_spawn_recovery(struct testdev *td, const struct ublk_options *opts);
int td_kill_server(struct testdev *td);
/* Stops it like ^Z: from then on requests are on their way to it. */
int td_freeze_server(struct testdev *td);
int td_wait_held(struct testdev *td, unsigned int count);
extern const struct ublk_target td_hold_target;

#endif
