// SPDX-License-Identifier: MIT
/*
 * machine_trace.c - what of a machine a trace tells of, its start and its stop (trace.h).
 *
 *	group		track
 *	CPUs		vcpu0, vcpu1, ...	exits to this process
 *	threads		main, iothread0, ...	handlers and calls that an event loop runs
 *	net0, disk0	rx0, tx0, request0	a queue: kicks, service, batches, interrupts, while it is served in-process
 *			data path		the device: its live switch
 *
 * Threads: main loop's, but for the notice that a file is complete.
 */
#include "minivmm/log.h"
#include "minivmm/loop.h"
#include "minivmm/trace.h"
#include "minivmm/virtio.h"
#include "vmm/control.h"
#include "vmm/machine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What the specification calls the queue, if the device is our own (5.1.2, 5.2.2, 5.3.2, 5.4.2). */
void machine_name_queue(const struct machine *m, u32 i, u32 q, char name[16])
{
	static const char *const console[4] = { "rx0", "tx0", "control-rx", "control-tx" };
	const struct virtio_dev *v = m->virtio[i];
	const char *word = "queue";
	u32 n = q;

	switch (m->cfg->device[i].kind) {
	case DEVICE_NET:
		if (q == v->nqueues - 1 && v->nqueues % 2) {
			snprintf(name, 16, "control");
			return;
		}
		word = q % 2 ? "tx" : "rx";
		n = q / 2;
		break;
	case DEVICE_CONSOLE:
		if (q < ARRAY_SIZE(console)) {
			snprintf(name, 16, "%s", console[q]);
			return;
		}
		word = q % 2 ? "tx" : "rx";
		n = q / 2 - 1;
		break;
	case DEVICE_DISK:
	case DEVICE_RNG:
		word = "request";
		break;
	case DEVICE_VHOST_USER:
		break;
	}
	snprintf(name, 16, "%s%u", word, n);
}

static int add_cpus(struct machine *m)
{
	char name[16];
	int err = 0;

	for (u32 i = 0; i < m->cfg->cpus && !err; i++) {
		snprintf(name, sizeof(name), "vcpu%u", i);
		err = trace_add(m->trace, &m->cpu_track[i], "CPUs", name);
	}
	return err;
}

static int add_loops(struct machine *m)
{
	char name[24];
	int err = trace_add(m->trace, loop_track(m->loop), "threads", "main");

	for (u32 i = 0; i < m->niothreads && !err; i++) {
		snprintf(name, sizeof(name), "iothread%u", i);
		err = trace_add(m->trace, loop_track(m->iothread[i]), "threads", name);
	}
	return err;
}

static int add_device(struct machine *m, u32 i)
{
	struct virtio_dev *v = m->virtio[i];
	const char *id = m->cfg->device[i].id;
	int err = 0;

	for (u32 q = 0; q < v->nqueues && !err; q++) {
		char name[16];

		machine_name_queue(m, i, q, name);
		err = trace_add(m->trace, &v->queue[q].vq.track, id, name);
	}
	return err ? err : trace_add(m->trace, &v->track, id, "data path");
}

static void written(void *arg)
{
	machine_notice_trace(arg);
}

static int refuse(struct machine *m, int err, const char *why)
{
	const char *path = m->cfg->trace;

	log_err("--trace%s%s: %s", path ? " " : "", path ? path : "", why);
	return err;
}

int machine_open_trace(struct machine *m)
{
	char why[160];
	int err = trace_create(&m->trace, written, m);

	if (err)
		return refuse(m, err, strerror(-err));
	if (!m->cfg->trace)
		return 0;
	err = trace_open(m->trace, m->cfg->trace, why, sizeof(why));
	return err ? refuse(m, err, why) : 0;
}

int machine_begin_trace(struct machine *m)
{
	char why[160];
	int err = add_cpus(m);

	if (!err)
		err = add_loops(m);
	for (u32 i = 0; i < m->cfg->ndevices && !err; i++)
		err = add_device(m, i);
	if (err)
		return refuse(m, err, strerror(-err));
	if (!m->cfg->trace)
		return 0;
	err = trace_start(m->trace, why, sizeof(why));
	return err ? refuse(m, err, why) : 0;
}

int machine_trace_start(struct machine *m, const char *path, char *why, size_t size)
{
	int err = trace_open(m->trace, path, why, size);

	return err ? err : trace_start(m->trace, why, size);
}

int machine_trace_stop(struct machine *m, char *why, size_t size)
{
	int err = trace_stop(m->trace);

	if (err)
		snprintf(why, size, "nothing is being traced");
	return err;
}

void machine_trace_written(struct machine *m)
{
	struct trace_result r;

	if (!m->trace || !trace_wait(m->trace, &r))
		return;
	if (r.err)
		log_err("trace: %s: %s", r.path, strerror(-r.err));
	else
		log_info("trace: %s has %" PRIu64 " events; %" PRIu64 " had to make room for them",
			 r.path, r.events, r.dropped);
	control_traced(m->control, &r);
}

void machine_end_trace(struct machine *m)
{
	if (!m->trace)
		return;
	trace_stop(m->trace); /* or it is not there */
	machine_trace_written(m);
}
