/* SPDX-License-Identifier: MIT */
/*
 * stub_path.h - a data path for tests: the in-process one, seen to be another, that can be told to fail.
 */
#ifndef TESTS_UNIT_STUB_PATH_H
#define TESTS_UNIT_STUB_PATH_H

#include "minivmm/datapath.h"

struct stub_path {
	struct datapath path;
	u64 cannot;	 /* features */
	int prepare_err; /* -errno that prepare() gives */
	int start_err;	 /* and start() of queue fail_at */
	u32 fail_at;
	int log_err;		   /* and log_dirty() */
	const struct mem_log *log; /* as last told */
	bool busy;		   /* stop() gives a position with something in flight */
	bool dead;		   /* nobody serves */
	bool takes_one;		   /* a chain, and does not give it back */
	bool lost_at_start, lost_at_rouse,
		lost_at_stop; /* the host fails then, and nobody says so */
	bool destroyed;
	struct virtio_dev *v;		     /* whose queues were started */
	u32 prepares, starts, rouses, stops; /* calls that came, atomically */
	u32 running;			     /* queues that it serves now */
	u32 pairs;			     /* as last told */
	bool link;
};

/* One that does not fail, for all queues. It is the caller's memory: destroying it only notes that. */
void stub_path_init(struct stub_path *s);

#endif
