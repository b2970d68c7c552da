// SPDX-License-Identifier: MIT
/*
 * virtio_guest.c - a hostile guest for the virtio transports. See virtio_guest.h.
 *
 * What must hold: whatever the guest has done, a reset of the device lets nothing touch its memory any
 * more, no line is high and nothing pending, and a driver that then does everything right is served.
 */
#include "tests/fuzz/virtio_guest.h"
#include "minivmm/bus.h"
#include "minivmm/irq.h"
#include "minivmm/loop.h"
#include "minivmm/mem.h"
#include "tests/lib/echo.h"
#include "tests/lib/ring_driver.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define STEPS_MAX 64 /* an input longer than this would only be slow */
#define TURNS	  6  /* of the loop: a kick, its answer, the interrupt */
#define RUNNING                                                                               \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK | \
	 VIRTIO_CONFIG_S_DRIVER_OK)

/* What stands in for KVM. */
static bool level[IRQ_LINES];
static u32 nlisteners;

static int guest_line(void *ctx, u32 gsi, bool on)
{
	(void)ctx;
	must(gsi < IRQ_LINES && level[gsi] != on);
	level[gsi] = on;
	return 0;
}

static int guest_routes(void *ctx, const u32 *gsi, const struct msi_msg *msg, u32 n)
{
	(void)ctx;
	(void)gsi;
	(void)msg;
	must(n <= IRQ_MSI_MAX);
	return 0;
}

static int guest_irqfd(void *ctx, u32 gsi, int fd, bool on)
{
	eventfd_t n;

	(void)ctx;
	must(gsi >= IRQ_LINES && (on || nlisteners > 0));
	nlisteners += on ? 1 : -1;
	eventfd_read(fd, &n);
	return 0;
}

static const struct irqchip_ops guest_irqchip_ops = {
	.line = guest_line,
	.routes = guest_routes,
	.irqfd = guest_irqfd,
};

static const struct guest *told; /* tell()'s */

static void tell(void)
{
	fprintf(stderr,
		"fuzz_%s: %llu chains served; of %llu inputs %llu ended with a queue running, %llu "
		"had chains served\n",
		told->transport->name, (unsigned long long)told->chains,
		(unsigned long long)told->inputs, (unsigned long long)told->started,
		(unsigned long long)told->served);
}

void guest_init(struct guest *g, const struct guest_transport *transport)
{
	struct virtio_options o = { .packed = true };

	told = g;
	atexit(tell);
	g->transport = transport;
	mem_init(&g->mem);
	must(mem_add_ram(&g->mem, 0, GUEST_RAM, false) == 0);
	g->ram = mem_ptr(&g->mem, 0, GUEST_RAM);
	g->env.mem = &g->mem;
	must(bus_create(&g->env.pio, BUS_PIO) == 0);
	must(bus_create(&g->env.mmio, BUS_MMIO) == 0);
	must(irqchip_create(&g->env.irqchip) == 0);
	must(loop_create(&g->env.loop) == 0);
	g->env.io_loop = &g->env.loop;
	g->env.nio_loops = 1;
	irqchip_attach(g->env.irqchip, &guest_irqchip_ops, NULL);
	must(echo_create(&g->v[0], &g->env, &o) == 0);
	must(virtio_rng_create(&g->v[1], &g->env, &o) == 0);
	for (u32 i = 0; i < GUEST_DEVICES; i++) {
		g->offered[i] = g->v[i]->offered;
		must(transport->create(g, i) == 0);
	}
}

struct turns {
	struct loop_fd lf;
	struct loop *loop;
	u32 n;
};

static void turn(struct loop_fd *lf, u32 events)
{
	struct turns *t = container_of(lf, struct turns, lf);

	(void)events;
	if (++t->n == TURNS)
		loop_quit(t->loop);
}

static void run_loop(struct guest *g)
{
	struct turns t = { .lf = { .fd = eventfd(1, EFD_CLOEXEC), .ready = turn },
			   .loop = g->env.loop };

	must(loop_add(g->env.loop, &t.lf, EPOLLIN) == 0);
	loop_run(g->env.loop);
	loop_del(g->env.loop, &t.lf);
	close(t.lf.fd);
}

static void reg_set(struct guest *g, u32 i, u32 reg, u32 value)
{
	bus_write(g->env.mmio, g->transport->regs(g, i) + g->transport->reg[reg].off,
		  g->transport->reg[reg].len, value);
}

static u32 status(struct guest *g, u32 i)
{
	return bus_read(g->env.mmio, g->transport->regs(g, i) + g->transport->reg[GUEST_STATUS].off,
			g->transport->reg[GUEST_STATUS].len);
}

static void kick(struct guest *g, u32 i, u32 q)
{
	bus_write(g->env.mmio, g->transport->doorbell(g, i, q), 4, q);
}

/* From ACKNOWLEDGE to DRIVER_OK, with one queue. */
static void start(struct guest *g, u32 i, u32 q, const struct vq_cfg *cfg, u64 features)
{
	const u64 area[3] = { cfg->desc, cfg->driver, cfg->device };

	reg_set(g, i, GUEST_STATUS,
		RUNNING & ~VIRTIO_CONFIG_S_DRIVER_OK & ~VIRTIO_CONFIG_S_FEATURES_OK);
	for (u32 sel = 0; sel < 2; sel++) {
		reg_set(g, i, GUEST_DRIVER_SEL, sel);
		reg_set(g, i, GUEST_DRIVER_FEATURES, features >> (32 * sel));
	}
	reg_set(g, i, GUEST_STATUS, RUNNING & ~VIRTIO_CONFIG_S_DRIVER_OK);
	reg_set(g, i, GUEST_QUEUE_SEL, q);
	reg_set(g, i, GUEST_QUEUE_SIZE, cfg->size);
	for (u32 a = 0; a < 3; a++) {
		reg_set(g, i, GUEST_DESC + 2 * a, area[a]);
		reg_set(g, i, GUEST_DESC + 2 * a + 1, area[a] >> 32);
	}
	reg_set(g, i, GUEST_QUEUE_ENABLE, 1);
	reg_set(g, i, GUEST_STATUS, RUNNING);
}

static void machine_reset(struct guest *g)
{
	echo_hold(g->v[0], false);
	for (u32 i = 0; i < GUEST_DEVICES; i++) {
		g->dev[i]->ops->reset(g->dev[i]);
		g->v[i]->complaints = 0;
	}
	g->transport->begin(g);
}

static void event(struct guest *g, u32 which, u64 value)
{
	switch (which % VIRTIO_EVENTS) {
	case VIRTIO_EVENT_RUN:
		run_loop(g);
		break;
	case VIRTIO_EVENT_HOLD:
		echo_hold(g->v[0], value & 1);
		break;
	case VIRTIO_EVENT_RELEASE:
		echo_release(g->v[0]);
		break;
	case VIRTIO_EVENT_CONFIG:
		virtio_config_update(g->v[0], 0, &value, 8);
		break;
	case VIRTIO_EVENT_PAUSE:
		virtio_pause(g->v[value % GUEST_DEVICES]);
		run_loop(g);
		virtio_resume(g->v[value % GUEST_DEVICES]);
		break;
	case VIRTIO_EVENT_QUEUE_RESET:
		reg_set(g, value & 1, GUEST_QUEUE_SEL, value >> 1 & 7);
		reg_set(g, value & 1, GUEST_QUEUE_RESET, 1);
		break;
	case VIRTIO_EVENT_RESET:
		machine_reset(g);
		break;
	}
}

/* The value: features in bits 31:0 and the size in bits 47:32; areas 512 bytes apart. */
static void start_step(struct guest *g, u32 i, u32 q, u64 off, u64 value)
{
	struct vq_cfg cfg = {
		.size = value >> 32,
		.desc = off,
		.driver = off + 512,
		.device = off + 1024,
	};
	u64 features = VIRTIO_FEATURE(VIRTIO_F_VERSION_1);

	/* What we choose among those offered. */
	features |= (value & 0xff) | (value << 16 & VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC)) |
		    (value << 16 & VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX)) |
		    (value << 18 & VIRTIO_FEATURE(VIRTIO_F_RING_PACKED)) |
		    (value << 18 & VIRTIO_FEATURE(VIRTIO_F_IN_ORDER)) |
		    (value << 18 & VIRTIO_FEATURE(VIRTIO_F_RING_RESET));
	start(g, i, q, &cfg, features & g->v[i]->offered);
}

static void act(struct guest *g, const struct guest_step *s, u64 off)
{
	u32 i = s->which & 1, q = s->which >> 1 & 7, len = 1 << (s->head >> 4 & 3);
	u64 value = 0;

	switch (s->head & 15) {
	case VIRTIO_ACT_READ:
		value = bus_read(g->env.mmio, g->transport->regs(g, i) + off, len);
		break;
	case VIRTIO_ACT_WRITE:
		bus_write(g->env.mmio, g->transport->regs(g, i) + off, len, s->value);
		break;
	case VIRTIO_ACT_MEMORY:
		if (off <= GUEST_RAM - len)
			memcpy(g->ram + off, &s->value, len);
		break;
	case VIRTIO_ACT_START:
		start_step(g, i, q, off, s->value);
		break;
	case VIRTIO_ACT_KICK:
		kick(g, i, q);
		break;
	case VIRTIO_ACT_EVENT:
		event(g, s->which, s->value);
		break;
	case VIRTIO_ACT_OWN_READ:
	case VIRTIO_ACT_OWN_WRITE:
		if (g->transport->own)
			value = g->transport->own(g, (s->head & 15) == VIRTIO_ACT_OWN_WRITE,
						  s->which, off, len, s->value);
		break;
	}
	must((value & ~bytes_mask(len)) == 0);
}

/* A device that is reset leaves memory alone, and the machine quiet. */
static void check_reset(struct guest *g)
{
	static u8 before[GUEST_RAM];

	machine_reset(g);
	memcpy(before, g->ram, GUEST_RAM);
	for (u32 i = 0; i < GUEST_DEVICES; i++) {
		must(status(g, i) == 0);
		for (u32 q = 0; q < g->v[i]->nqueues; q++)
			kick(g, i, q);
	}
	run_loop(g);
	must(memcmp(before, g->ram, GUEST_RAM) == 0);
	must(nlisteners == 0);
	must(echo_held(g->v[0]) == 0);
	for (u32 i = 0; i < IRQ_LINES; i++)
		must(!level[i]);
}

/* A driver that does everything right is served. */
static void check_works(struct guest *g)
{
	const struct ring_buf buf[2] = { { 0x8000, 8 }, { 0x8100, 8 } };
	struct ring_driver r;
	struct vq_cfg cfg = { .size = 4, .packed = g->v[0]->offered >> VIRTIO_F_RING_PACKED & 1 };
	u32 written;
	int id;

	must(ring_driver_init(&r, &g->mem, 0x4000, &cfg) == 0);
	start(g, 0, 1, &r.cfg,
	      VIRTIO_FEATURE(VIRTIO_F_VERSION_1) | (u64)cfg.packed << VIRTIO_F_RING_PACKED);
	must(status(g, 0) == RUNNING);
	memset(g->ram + buf[0].gpa, 'a', 8);
	memset(g->ram + buf[1].gpa, 0, 8);
	id = ring_add(&r, buf, 1, 1, false);
	if (ring_publish(&r))
		kick(g, 0, 1);
	run_loop(g);
	must(ring_get(&r, &written) == id && written == 8);
	must(memcmp(g->ram + buf[1].gpa, "aaaaaaaa", 8) == 0);
	machine_reset(g);
	ring_driver_free(&r);
}

/* Chains of an input; a queue tells of those since its last start only, so echo counts its own. */
static u64 chains_served(struct guest *g)
{
	return echo_calls(g->v[0]).answers + g->v[1]->queue[0].vq.stats.chains;
}

static void count(struct guest *g, u64 chains)
{
	bool running = false;

	for (u32 i = 0; i < GUEST_DEVICES; i++) {
		for (u32 q = 0; q < g->v[i]->nqueues; q++)
			running |= g->v[i]->queue[q].running;
	}
	g->inputs++;
	g->started += running;
	g->served += chains > 0;
	g->chains += chains;
}

void guest_run(struct guest *g, const u8 *data, size_t size)
{
	static const u8 counts[4] = { 1, 1, 2, 8 };
	u64 before;
	u16 ram;

	if (size < 3)
		return;
	for (u32 i = 0; i < GUEST_DEVICES; i++)
		g->v[i]->offered = data[0] & 1
					   ? g->offered[i]
					   : g->offered[i] & ~VIRTIO_FEATURE(VIRTIO_F_RING_PACKED);
	memcpy(&ram, data + 1, 2);
	data += 3;
	size -= 3;
	if (ram > size)
		ram = size;
	memset(g->ram, 0, GUEST_RAM);
	memcpy(g->ram, data, ram);
	data += ram;
	size -= ram;

	g->transport->begin(g);
	g->v[1]->queue[0].vq.stats.chains = 0;
	before = chains_served(g);
	for (u32 n = 0; size && n < STEPS_MAX; n++) {
		struct guest_step s = { 0 };
		size_t len = size < sizeof(s) ? size : sizeof(s);

		memcpy(&s, data, len);
		data += len;
		size -= len;
		for (u32 i = 0; i < counts[s.head >> 6]; i++)
			act(g, &s, s.off + i);
	}
	count(g, chains_served(g) - before);
	check_reset(g);
	check_works(g);
}
