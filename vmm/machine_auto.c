// SPDX-License-Identifier: MIT
/*
 * machine_auto.c - network devices that change their data path without being told to: by the rate of their frames
 * (auto=on), and when their vhost-user back end has gone.
 *
 *	every 100 ms	used indices of the rings ──> frames ──> auto_path_step() ──> machine_switch()
 *	a back end goes ──> link_changed() ──> as soon as the main loop is back ──> machine_switch() to inproc
 *
 * How it works: the kernel does not tell what it does with a ring, but the ring does: its used index counts the chains
 * that are done, whoever serves it. A guest that writes something else there only deceives itself. The index has 16
 * bits, so more than 65535 chains in 100 ms look like fewer; for that to be taken as idleness it would have to happen in
 * fifty samples one after the other. A sample that comes late, because the main loop was away, counts for nothing.
 *
 * The hook that says that a back end has gone is called from within the data path, which the switch is going to free:
 * so it only sets the timer.
 *
 * Threads: the main loop's.
 */
#include "vmm/machine_auto.h"
#include "minivmm/datapath.h"
#include "minivmm/devices.h"
#include "minivmm/log.h"
#include "minivmm/now.h"
#include "minivmm/peer.h"
#include "minivmm/virtio.h"
#include "vmm/control.h"
#include "vmm/machine.h"
#include "vmm/machine_switch.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SAMPLE_MS   100
#define SAMPLE_LATE 300
#define RETRY_MS    1000

/* Soon, or after a sample's time. */
static void set_timer(struct machine *m, bool soon)
{
	const struct itimerspec t = { .it_value.tv_nsec = soon ? 1 : SAMPLE_MS * 1000000L };

	timerfd_settime(m->auto_timer.fd, 0, &t, NULL);
}

/* Returns 0, -EAGAIN (later, perhaps) or -errno, of which it tells if `tell`. */
static int change(struct machine *m, u32 i, const char *to, const char *reason, bool tell)
{
	const char *id = m->cfg->device[i].id, *from = virtio_path_name(m->virtio[i]);
	struct control_switch s;
	struct virtio_switch v;
	char why[200];
	int err = machine_switch(m, i, to, NULL, &v, why, sizeof(why));

	if (err == -EBUSY)
		return -EAGAIN;
	if (err && tell)
		log_warn("%s: %s: %s", id, reason, why);
	if (err)
		return err;
	s = (struct control_switch){ v.quiesce_ns, v.hand_over_ns, v.restart_ns };
	control_event_switch(m->control, id, from, to, reason, &s);
	return 0;
}

/* ---- a back end that has gone ---- */

static void back_end_changed(struct peer *peer, bool up)
{
	struct machine_auto *a = peer->owner;

	a->gone = !up;
	if (!up)
		set_timer(a->m, true);
}

void machine_watch_back_end(struct machine *m, u32 i, struct peer *peer)
{
	peer->owner = &m->automatic[i];
	peer->link_changed = back_end_changed;
}

/* In-process the guest has its network again. What prevents that may pass: a driver that has to reset the device
 * does so. */
static void fall_back(struct machine *m, u32 i)
{
	struct machine_auto *a = &m->automatic[i];
	struct datapath *path = m->virtio[i]->path;
	int err = 0;

	if (now_ms() < a->retry_ms)
		return;
	if (path && path->ops->served && !path->ops->served(path))
		err = change(m, i, "inproc", "back-end-gone", !a->retry_ms);
	if (err == -EAGAIN)
		return;
	a->gone = err;
	a->retry_ms = err ? now_ms() + RETRY_MS : 0;
}

/* ---- the rate of frames ---- */

/* How many chains are done since the last sample, and in how many ms. False: there was none of the same rings (a driver
 * need not use them all), or it can't be told. */
static bool sample(struct machine *m, u32 i, u64 *frames, u32 *ms)
{
	struct machine_auto *a = &m->automatic[i];
	u32 n = virtio_net_rings(m->virtio[i]);
	u64 last = a->sampled_ms;
	u32 running = 0;

	*frames = 0;
	a->sampled_ms = now_ms();
	for (u32 q = 0; q < n; q++) {
		u16 used = a->used[q];
		int err = virtio_queue_used(m->virtio[i], q, &a->used[q]);

		if (!err) {
			running |= 1U << q;
			*frames += (u16)(a->used[q] - used);
		} else if (err != -ENOENT) {
			last = a->sampled_ms = 0;
		}
	}
	if (!running || running != a->running)
		last = 0;
	a->running = running;
	*ms = a->sampled_ms - last;
	return last && *ms && *ms < SAMPLE_LATE;
}

static void follow_rate(struct machine *m, u32 i)
{
	const struct net_config *cfg = &m->cfg->device[i].net;
	const struct auto_limits limits = { .up = cfg->auto_up, .down = cfg->auto_down };
	struct machine_auto *a = &m->automatic[i];
	const char *path = virtio_path_name(m->virtio[i]);
	bool offloaded = strcmp(path, "vhost-net") == 0;
	enum auto_advice advice;
	u64 frames;
	u32 ms;

	if ((!offloaded && strcmp(path, "inproc") != 0) || !sample(m, i, &frames, &ms))
		return;
	advice = auto_path_step(&a->state, &limits, offloaded, frames, ms);
	if (advice == AUTO_STAY)
		return;
	if (change(m, i, advice == AUTO_OFFLOAD ? "vhost-net" : "inproc", "auto", true))
		auto_path_failed(&a->state);
	else
		a->state = (struct auto_state){ 0 };
}

/* ---- the timer ---- */

static bool is_automatic(const struct device_config *d)
{
	return d->kind == DEVICE_NET && d->net.automatic;
}

static void timer_ready(struct loop_fd *lf, u32 events)
{
	struct machine *m = container_of(lf, struct machine, auto_timer);
	bool again = false;
	u64 n;

	(void)events;
	if (read(lf->fd, &n, sizeof(n)) != sizeof(n))
		return;
	for (u32 i = 0; i < m->cfg->ndevices; i++) {
		struct machine_auto *a = &m->automatic[i];

		if (a->gone)
			fall_back(m, i);
		if (m->pause != MACHINE_RUNS)
			a->sampled_ms = 0;
		else if (is_automatic(&m->cfg->device[i]))
			follow_rate(m, i);
		again |= a->gone || is_automatic(&m->cfg->device[i]);
	}
	if (again)
		set_timer(m, false);
}

int machine_begin_auto(struct machine *m)
{
	bool any = false;

	for (u32 i = 0; i < m->cfg->ndevices; i++) {
		m->automatic[i].m = m;
		any |= is_automatic(&m->cfg->device[i]);
	}
	m->auto_timer = (struct loop_fd){
		.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
		.ready = timer_ready,
	};
	if (m->auto_timer.fd < 0)
		return -errno;
	if (any)
		set_timer(m, false);
	return loop_add(m->loop, &m->auto_timer, EPOLLIN);
}

void machine_end_auto(struct machine *m)
{
	if (m->auto_timer.fd < 0)
		return;
	loop_del(m->loop, &m->auto_timer);
	close(m->auto_timer.fd);
	m->auto_timer.fd = -1;
}
