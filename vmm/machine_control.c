// SPDX-License-Identifier: MIT
/*
 * machine_control.c - what the control socket's commands find out about the machine, and do with it.
 *
 * How it works: nothing here may wait for a vCPU, since that may wait for the main loop, on which all of
 * this runs. So a device's own lock is never taken: what is read is fixed after creation, or atomic, or
 * under a lock behind which nobody waits (a network device's, a config_lock).
 */
#include "minivmm/datapath.h"
#include "minivmm/devices.h"
#include "minivmm/peer.h"
#include "minivmm/virtio.h"
#include "vmm/control.h"
#include "vmm/kvm_stats.h"
#include "vmm/machine.h"
#include "vmm/machine_switch.h"
#include "vmm/vcpu.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- the machine ---- */

static bool ctl_running(void *arg)
{
	struct machine *m = arg;

	return m->pause == MACHINE_RUNS;
}

static bool ctl_stop(void *arg)
{
	struct machine *m = arg;

	machine_pause(m);
	return m->pause == MACHINE_PAUSED;
}

static void ctl_cont(void *arg)
{
	machine_resume(arg);
}

static void ctl_powerdown(void *arg)
{
	machine_press_button(arg);
}

static void ask_for(struct machine *m, enum machine_end why)
{
	m->asked = why;
	machine_end(m, why);
}

static void ctl_reset(void *arg)
{
	ask_for(arg, END_RESET);
}

static void ctl_quit(void *arg)
{
	ask_for(arg, END_QUIT);
}

void machine_tell_end(struct machine *m)
{
	enum machine_end why = atomic_load(&m->end);
	bool asked = m->asked == why;
	const char *name = why == END_RESET && !m->cfg->no_reboot ? "RESET" : "SHUTDOWN";

	switch (why) {
	case END_RESET:
		control_event_end(m->control, name, !asked,
				  asked ? "host-qmp-system-reset" : "guest-reset");
		break;
	case END_OFF:
		control_event_end(m->control, name, true, "guest-shutdown");
		break;
	case END_CRASHED:
		control_event_end(m->control, name, true, "guest-panic");
		break;
	case END_KILLED:
		control_event_end(m->control, name, false, "host-signal");
		break;
	case END_QUIT:
		control_event_end(m->control, name, false, asked ? "host-qmp-quit" : "host-ui");
		break;
	case END_NONE:
		break;
	}
	m->asked = END_NONE;
}

/* ---- CPUs ---- */

static u32 ctl_ncpus(void *arg)
{
	struct machine *m = arg;

	return m->cfg->cpus;
}

static void ctl_cpu(void *arg, u32 i, struct control_cpu *c)
{
	static const char *const names[] = {
		[VCPU_EXIT_PIO_READ] = "pio-read",   [VCPU_EXIT_PIO_WRITE] = "pio-write",
		[VCPU_EXIT_MMIO_READ] = "mmio-read", [VCPU_EXIT_MMIO_WRITE] = "mmio-write",
		[VCPU_EXIT_SIGNAL] = "signal",	     [VCPU_EXIT_OTHER] = "other",
	};
	struct machine *m = arg;
	struct vcpu_stats s;

	_Static_assert(ARRAY_SIZE(names) == VCPU_EXITS, "a name for each");
	_Static_assert(ARRAY_SIZE(names) <= ARRAY_SIZE(c->exits), "room for each");
	vcpus_stats(m->vcpus, i, &s);
	c->tid = s.tid;
	c->nexits = VCPU_EXITS;
	c->exit_name = names;
	memcpy(c->exits, s.exits, sizeof(s.exits));
}

static int ctl_kvm_stats(void *arg, int i, void (*each)(void *ctx, const struct kvm_stat *s),
			 void *ctx)
{
	struct machine *m = arg;

	int fd, err;

	if (i >= 0)
		return kvm_stats_each(vcpus_stats_fd(m->vcpus, i), each, ctx);
	fd = kvm_stats_open(m->vm.vm_fd);
	err = kvm_stats_each(fd, each, ctx);
	if (fd >= 0)
		close(fd);
	return err;
}

/* ---- devices ---- */

static u32 ctl_ndevices(void *arg)
{
	struct machine *m = arg;

	return m->cfg->ndevices;
}

static struct datapath *path_of(const struct virtio_dev *v, u32 queue)
{
	/* A vCPU may be changing it: prepare(). */
	return v->path && __atomic_load_n(&v->path->queues, __ATOMIC_RELAXED) >> queue & 1 ? v->path
											   : NULL;
}

/* A disk says in its configuration space how large it is (5.2.4). */
static void find_capacity(struct virtio_dev *v, struct control_device *d)
{
	if (v->ops->id != VIRTIO_ID_BLOCK)
		return;
	pthread_mutex_lock(&v->config_lock);
	memcpy(&d->sectors, v->config + offsetof(struct virtio_blk_config, capacity),
	       sizeof(d->sectors));
	pthread_mutex_unlock(&v->config_lock);
	d->capacity_known = true;
}

static struct control_switch gap_of(const struct virtio_switch *s)
{
	return (struct control_switch){ s->quiesce_ns, s->hand_over_ns, s->restart_ns };
}

static void ctl_device(void *arg, u32 i, struct control_device *d)
{
	struct machine *m = arg;
	struct virtio_dev *v = m->virtio[i];

	*d = (struct control_device){
		.cfg = &m->cfg->device[i],
		.type = v->ops->name,
		.datapath = virtio_path_name(v),
		.offered = v->offered,
		.negotiated = __atomic_load_n(&v->features, __ATOMIC_RELAXED),
		.status = virtio_status_read(v),
		.nqueues = v->nqueues,
		.net = virtio_is_net(v),
		.switches = m->moves[i].n,
		.last_gap = gap_of(&m->moves[i].last),
		.longest_gap = m->moves[i].longest_ns,
	};
	find_capacity(v, d);
	if (d->net)
		d->link = virtio_net_plugged(v);
}

static void ctl_queue(void *arg, u32 i, u32 q, struct control_queue *queue)
{
	struct machine *m = arg;
	struct virtio_dev *v = m->virtio[i];

	*queue = (struct control_queue){ .size = v->queue[q].size_max, .inproc = !path_of(v, q) };
	machine_name_queue(m, i, q, queue->name);
	vq_stats_read(&v->queue[q].vq.stats, &queue->ring);
	if (virtio_is_net(v) && q < virtio_net_rings(v)) {
		struct virtio_net_stats s;

		virtio_net_stats(v, q, &s);
		queue->net = true;
		queue->frames = s.frames;
		queue->bytes = s.bytes;
		queue->dropped = s.dropped;
		queue->filtered = s.filtered;
	}
}

static void ctl_rx_filter(void *arg, u32 i, struct control_rx_filter *f)
{
	struct machine *m = arg;
	struct net_filter n;

	_Static_assert(sizeof(n.uni) == sizeof(f->unicast_table), "as many");
	_Static_assert(sizeof(n.vlan) == sizeof(f->vlan_bits), "as many");
	virtio_net_filter(m->virtio[i], &n);
	*f = (struct control_rx_filter){
		.promiscuous = n.promisc,
		.broadcast = !n.nobcast,
		.unicast = n.nouni    ? RX_NONE
			   : n.alluni ? RX_ALL
				      : RX_NORMAL,
		.multicast = n.nomulti	  ? RX_NONE
			     : n.allmulti ? RX_ALL
					  : RX_NORMAL,
		.vlan = n.any_vlan ? RX_ALL : RX_NORMAL,
		.unicast_overflow = n.nuni > NET_MACS_MAX,
		.multicast_overflow = n.nmulti > NET_MACS_MAX,
		.nunicast = n.nuni > NET_MACS_MAX ? 0 : n.nuni,
		.nmulticast = n.nmulti > NET_MACS_MAX ? 0 : n.nmulti,
	};
	memcpy(f->mac, n.mac, sizeof(f->mac));
	memcpy(f->unicast_table, n.uni, sizeof(n.uni));
	memcpy(f->multicast_table, n.multi, sizeof(n.multi));
	memcpy(f->vlan_bits, n.vlan, sizeof(n.vlan));
}

static void ctl_set_link(void *arg, u32 i, bool up)
{
	struct machine *m = arg;
	struct virtio_dev *v = m->virtio[i];
	bool came = up && !virtio_net_plugged(v);

	virtio_net_set_link(v, up);
	if (came) /* whoever is at the other end of the new cable has to learn where the guest is */
		virtio_net_announce(v);
}

static int ctl_switch_datapath(void *arg, u32 i, const char *to, const char *socket,
			       struct control_switch *s, char *why, size_t size)
{
	struct virtio_switch v;
	int err = machine_switch(arg, i, to, socket, &v, why, size);

	*s = gap_of(&v);
	return err;
}

static int ctl_trace_start(void *arg, const char *path, char *why, size_t size)
{
	return machine_trace_start(arg, path, why, size);
}

static int ctl_trace_stop(void *arg, char *why, size_t size)
{
	return machine_trace_stop(arg, why, size);
}

static const struct control_ops ops = {
	.running = ctl_running,
	.stop = ctl_stop,
	.cont = ctl_cont,
	.powerdown = ctl_powerdown,
	.reset = ctl_reset,
	.quit = ctl_quit,
	.ncpus = ctl_ncpus,
	.cpu = ctl_cpu,
	.kvm_stats = ctl_kvm_stats,
	.ndevices = ctl_ndevices,
	.device = ctl_device,
	.queue = ctl_queue,
	.rx_filter = ctl_rx_filter,
	.set_link = ctl_set_link,
	.switch_datapath = ctl_switch_datapath,
	.trace_start = ctl_trace_start,
	.trace_stop = ctl_trace_stop,
};

int machine_open_control(struct machine *m)
{
	if (!m->cfg->control)
		return 0;
	return control_create(&m->control, m->loop, m->cfg->control, &ops, m);
}
