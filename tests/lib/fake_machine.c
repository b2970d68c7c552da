// SPDX-License-Identifier: MIT
/*
 * fake_machine.c - see fake_machine.h.
 */
#include "tests/lib/fake_machine.h"
#include "vmm/kvm_stats.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>

void fake_machine_init(struct fake_machine *f)
{
	*f = (struct fake_machine){ .link = true };
	f->device[0] = (struct device_config){ .kind = DEVICE_DISK, .id = "disk0" };
	f->device[0].disk.file = "disk\xff.img"; /* no UTF-8 */
	f->device[1] = (struct device_config){ .kind = DEVICE_NET, .id = "net0" };
}

static bool fake_running(void *m)
{
	return !((struct fake_machine *)m)->paused;
}

static bool fake_stop(void *m)
{
	struct fake_machine *f = m;

	f->stops++;
	f->paused = true;
	return !f->slow;
}

static void fake_cont(void *m)
{
	struct fake_machine *f = m;

	f->conts++;
	f->paused = false;
}

static void fake_powerdown(void *m)
{
	((struct fake_machine *)m)->powerdowns++;
}

static void fake_reset(void *m)
{
	((struct fake_machine *)m)->resets++;
}

static void fake_quit(void *m)
{
	((struct fake_machine *)m)->quits++;
}

static u32 fake_two(void *m)
{
	(void)m;
	return 2;
}

static void fake_cpu(void *m, u32 i, struct control_cpu *c)
{
	static const char *const names[] = { "mmio-read" };

	(void)m;
	*c = (struct control_cpu){
		.tid = 100 + i, .nexits = 1, .exit_name = names, .exits = { 7 + i }
	};
}

/* A counter and a histogram; the second CPU has none. */
static int fake_kvm_stats(void *m, int i, void (*each)(void *ctx, const struct kvm_stat *s),
			  void *ctx)
{
	static const u64 value[3] = { 41, 42, 43 };
	struct kvm_stat exits = { .name = "halt_exits", .n = 1, .value = value };
	struct kvm_stat hist = { .name = "halt_wait_hist",
				 .flags = KVM_STATS_TYPE_LOG_HIST | KVM_STATS_UNIT_SECONDS,
				 .exponent = -9,
				 .n = 3,
				 .value = value };

	(void)m;
	if (i == 1)
		return -ENOTTY;
	each(ctx, &exits);
	each(ctx, &hist);
	return 0;
}

static void fake_device(void *m, u32 i, struct control_device *d)
{
	struct fake_machine *f = m;

	*d = (struct control_device){
		.cfg = &f->device[i],
		.type = i ? "virtio-net" : "virtio-blk",
		.datapath = "inproc",
		.offered = 0x130000000,
		.negotiated = 0x100000000,
		.nqueues = 1 + i,
		.sectors = 8,
		.capacity_known = !i,
		.net = i,
		.link = f->link,
		.switches = i ? 2 : 0,
		.last_gap = { 2000, 600, 19800 },
		.longest_gap = 41499,
	};
}

static void fake_queue(void *m, u32 i, u32 q, struct control_queue *queue)
{
	(void)m;
	*queue = (struct control_queue){ .size = 256, .inproc = q == 0, .net = i };
	snprintf(queue->name, sizeof(queue->name), "q%u", q);
	queue->ring.chains = 10;
	queue->ring.kicks = 4;
	queue->ring.batch[1] = 5;
	queue->frames = 9;
}

static void fake_rx_filter(void *m, u32 i, struct control_rx_filter *f)
{
	(void)m;
	(void)i;
	*f = (struct control_rx_filter){ .mac = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 },
					 .broadcast = true,
					 .unicast = RX_NORMAL,
					 .multicast = RX_NONE,
					 .vlan = RX_NORMAL,
					 .nunicast = 1 };
	f->vlan_bits[1] = 1;
}

static void fake_set_link(void *m, u32 i, bool up)
{
	(void)i;
	((struct fake_machine *)m)->link = up;
}

static int fake_switch_datapath(void *m, u32 i, const char *to, const char *socket,
				struct control_switch *s, char *why, size_t size)
{
	if (i != 1 || socket || strcmp(to, "vhost-net") != 0) {
		snprintf(why, size, "not to %s", to);
		return -EINVAL;
	}
	((struct fake_machine *)m)->kernel = true;
	*s = (struct control_switch){ 1500, 500, 20000 };
	return 0;
}

static int fake_trace_start(void *m, const char *path, char *why, size_t size)
{
	struct fake_machine *f = m;

	snprintf(f->trace, sizeof(f->trace), "%s", path);
	if (strncmp(path, "/no/", 4) == 0) {
		snprintf(why, size, "not there");
		return -ENOENT;
	}
	f->traces = true;
	return 0;
}

static int fake_trace_stop(void *m, char *why, size_t size)
{
	struct fake_machine *f = m;

	snprintf(why, size, "nothing is being traced");
	if (!f->traces)
		return -ENOENT;
	f->traces = false;
	return 0;
}

const struct control_ops fake_machine_ops = {
	.running = fake_running,
	.stop = fake_stop,
	.cont = fake_cont,
	.powerdown = fake_powerdown,
	.reset = fake_reset,
	.quit = fake_quit,
	.ncpus = fake_two,
	.cpu = fake_cpu,
	.kvm_stats = fake_kvm_stats,
	.ndevices = fake_two,
	.device = fake_device,
	.queue = fake_queue,
	.rx_filter = fake_rx_filter,
	.set_link = fake_set_link,
	.switch_datapath = fake_switch_datapath,
	.trace_start = fake_trace_start,
	.trace_stop = fake_trace_stop,
};
