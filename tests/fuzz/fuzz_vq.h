/* SPDX-License-Identifier: MIT */
/*
 * fuzz_vq.h - what a guest can do to a virtqueue: what the targets vq_split and vq_packed share.
 *
 * Guest memory is two small regions: the ring's areas and one indirect table at fixed places, buffers
 * anywhere. The input is 2 bytes, the queue's size and features, and then a row of steps, of which
 * some write guest memory and the others are a device's calls.
 *
 * What must hold besides memory safety: a chain's segments lie inside of memory and add up; never are
 * more chains in flight than the queue has descriptors; the device's calls change guest memory only
 * where the device may write; a broken queue gives nothing more, and a new one works.
 */
#ifndef TESTS_FUZZ_VQ_H
#define TESTS_FUZZ_VQ_H

#include "minivmm/mem.h"
#include "minivmm/vq.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_vq_steps.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define RAM2	     0x20000
#define RAM2_SIZE    0x1000
#define SIZE_MAX_LOG 5
#define CHAINS_MAX   (1 << SIZE_MAX_LOG)
#define SEGMENTS_MAX 40
#define STEPS_MAX    256

#define AVAIL	     (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED	     (1u << VRING_PACKED_DESC_F_USED)

struct fuzz_chain {
	struct vq_chain c;
	struct iovec iov[SEGMENTS_MAX + 1];
	u32 number; /* in the order of gets */
};

static struct fuzz_vq {
	struct mem mem;
	u8 *ram, *ram2;
	u8 before[FUZZ_VQ_RAM + RAM2_SIZE]; /* guest memory, as it was before the device's call */

	struct vq q;
	struct vq_cfg cfg;
	u32 fill; /* packed: the driver's place, in two laps */

	struct fuzz_chain chain[CHAINS_MAX]; /* in flight, by their gets */
	u32 nchains;
	u32 gets;
} f;

static unsigned long fuzz_vq_chains;

static void fuzz_vq_init(void)
{
	mem_init(&f.mem);
	must(mem_add_ram(&f.mem, 0, FUZZ_VQ_RAM, false) == 0);
	must(mem_add_ram(&f.mem, RAM2, RAM2_SIZE, false) == 0);
	f.ram = mem_ptr(&f.mem, 0, FUZZ_VQ_RAM);
	f.ram2 = mem_ptr(&f.mem, RAM2, RAM2_SIZE);
}

/* ---- the oracle ---- */

static void remember(void)
{
	memcpy(f.before, f.ram, FUZZ_VQ_RAM);
	memcpy(f.before + FUZZ_VQ_RAM, f.ram2, RAM2_SIZE);
}

/* Only [at, at + len) has changed since remember(). */
static void must_have_changed_only(u32 at, u32 len)
{
	must(memcmp(f.before, f.ram, at) == 0);
	must(memcmp(f.before + at + len, f.ram + at + len, FUZZ_VQ_RAM - at - len) == 0);
	must(memcmp(f.before + FUZZ_VQ_RAM, f.ram2, RAM2_SIZE) == 0);
}

static void must_have_changed_only_used(void)
{
	if (f.cfg.packed)
		must_have_changed_only(FUZZ_VQ_DESC, 16 * f.cfg.size);
	else
		must_have_changed_only(FUZZ_VQ_DEVICE, 4 + 8 * f.cfg.size);
}

static bool inside(const struct iovec *iov)
{
	u8 *p = iov->iov_base;

	return range_inside((uintptr_t)p, iov->iov_len, (uintptr_t)f.ram, FUZZ_VQ_RAM) ||
	       range_inside((uintptr_t)p, iov->iov_len, (uintptr_t)f.ram2, RAM2_SIZE);
}

static void must_be_a_chain(const struct vq_chain *c)
{
	u64 out = 0, in = 0;

	must(c->nout + c->nin >= 1 && c->nout + c->nin <= c->max);
	must(f.cfg.packed || c->id < f.cfg.size);
	must(c->ndesc >= 1 && c->ndesc <= f.cfg.size);
	for (u32 i = 0; i < c->nout + c->nin; i++) {
		must(c->iov[i].iov_len > 0 && inside(&c->iov[i]));
		*(i < c->nout ? &out : &in) += c->iov[i].iov_len;
	}
	must(out == c->out_len && in == c->in_len && out + in <= UINT32_MAX);
}

/* ---- the device's calls ---- */

static void do_get(u32 max)
{
	struct fuzz_chain *n = &f.chain[f.nchains];
	struct fuzz_chain none;
	const char *broken = vq_broken(&f.q);
	int got;

	if (f.nchains == f.cfg.size)
		n = &none; /* must give none */
	n->c = (struct vq_chain){ .iov = n->iov, .max = max };
	memset(n->iov, 0x55, sizeof(n->iov));
	none.iov[max] = n->iov[max];
	got = vq_get(&f.q, &n->c);
	must_have_changed_only(0, 0);
	must(memcmp(&none.iov[max], &n->iov[max], sizeof(n->iov[0])) == 0);
	must(got == 0 || got == 1 || got == -EINVAL);
	must((got == -EINVAL) == (!broken && vq_broken(&f.q)));
	if (got <= 0)
		return;
	must(!broken && f.nchains < f.cfg.size);
	must_be_a_chain(&n->c);
	f.nchains++;
	n->number = f.gets++;
	fuzz_vq_chains++;
}

static void do_put(u32 which, u32 written)
{
	struct fuzz_chain *n = &f.chain[which];
	u32 len = n->c.in_len;

	vq_put(&f.q, &n->c, len == UINT32_MAX ? written : written % (len + 1));
	must_have_changed_only_used();
	f.nchains--;
	for (u32 i = which; i < f.nchains; i++) {
		f.chain[i] = f.chain[i + 1];
		f.chain[i].c.iov = f.chain[i].iov;
	}
}

static void do_unget(void)
{
	/* Only what was got last, and that has not been put. */
	if (!f.nchains || f.chain[f.nchains - 1].number != f.gets - 1)
		return;
	f.gets--;
	vq_unget(&f.q, &f.chain[--f.nchains].c);
	must_have_changed_only(0, 0);
}

/* Somebody else goes on. */
static void do_take_over(void)
{
	struct vq_pos pos;
	int err;

	while (f.nchains) {
		do_put(0, 1);
		remember();
	}
	pos = vq_stop(&f.q);
	must_have_changed_only_used();
	must(pos.avail == pos.used);
	err = vq_start(&f.q, &f.mem, &f.cfg, pos, -1);
	must(err == 0);
}

/* ---- the driver's steps ---- */

static void do_write(u32 at, u64 value)
{
	memcpy(f.ram + at % (FUZZ_VQ_RAM - 8), &value, 8);
}

static void do_desc(const struct fuzz_vq_step *s)
{
	bool table = s->arg & FUZZ_VQ_TABLE;
	u32 i = s->which % (table ? FUZZ_VQ_TABLE_SIZE : f.cfg.size);
	u8 *at = f.ram + (table ? FUZZ_VQ_TABLE_AT : FUZZ_VQ_DESC);
	u16 flags = s->arg & 7, link = s->arg >> 8;

	if (!f.cfg.packed) {
		((struct vring_desc *)at)[i] = (struct vring_desc){
			.addr = s->value, .len = s->len, .flags = flags, .next = link
		};
		return;
	}
	if (s->arg & FUZZ_VQ_IN_TURN && !table) { /* at the driver's place, available */
		i = f.fill % f.cfg.size;
		flags |= f.fill < f.cfg.size ? AVAIL : USED;
		f.fill = (f.fill + 1) % (2 * f.cfg.size);
	}
	((struct vring_packed_desc *)at)[i] = (struct vring_packed_desc){
		.addr = s->value, .len = s->len, .flags = flags, .id = link
	};
}

static void do_offer(u16 head)
{
	struct vring_avail *avail = (struct vring_avail *)(f.ram + FUZZ_VQ_DRIVER);

	if (!f.cfg.packed)
		avail->ring[avail->idx++ % f.cfg.size] = head;
}

static void do_step(const struct fuzz_vq_step *s)
{
	remember();
	switch (s->act % FUZZ_VQ_ACTS) {
	case FUZZ_VQ_WRITE:
		do_write(s->arg, s->value);
		break;
	case FUZZ_VQ_DESCRIPTOR:
		do_desc(s);
		break;
	case FUZZ_VQ_OFFER:
		do_offer(s->which);
		break;
	case FUZZ_VQ_GET:
		do_get(s->which % SEGMENTS_MAX + 1);
		break;
	case FUZZ_VQ_PUT:
		if (f.nchains)
			do_put(s->which % f.nchains, s->len);
		break;
	case FUZZ_VQ_UNGET:
		do_unget();
		break;
	case FUZZ_VQ_PUBLISH:
		vq_publish(&f.q);
		must_have_changed_only_used();
		break;
	case FUZZ_VQ_DISARM:
		vq_disarm(&f.q);
		must_have_changed_only(FUZZ_VQ_DEVICE, f.cfg.packed ? 4 : 6 + 8 * f.cfg.size);
		break;
	case FUZZ_VQ_REARM:
		must(!(vq_rearm(&f.q) && vq_broken(&f.q)));
		must_have_changed_only(FUZZ_VQ_DEVICE, f.cfg.packed ? 4 : 6 + 8 * f.cfg.size);
		break;
	case FUZZ_VQ_TAKE_OVER:
		do_take_over();
		break;
	}
}

static void start_new(void)
{
	memset(f.ram, 0, FUZZ_VQ_RAM);
	memset(f.ram2, 0, RAM2_SIZE);
	must(vq_start(&f.q, &f.mem, &f.cfg, vq_pos_initial(f.cfg.packed), -1) == 0);
	f.fill = 0;
	f.nchains = 0;
}

/* Reset: all chains come back, and a new queue gives one that is right. */
static void check_reset(void)
{
	struct fuzz_vq_step s = { .arg = FUZZ_VQ_IN_TURN, .len = 1 };

	remember();
	while (f.nchains) {
		do_put(f.nchains - 1, 0);
		remember();
	}
	vq_stop(&f.q);
	start_new();
	do_desc(&s);
	do_offer(0);
	remember();
	do_get(1);
	must(f.nchains == 1);
	do_put(0, 0);
	vq_stop(&f.q);
}

static void tell(void)
{
	fprintf(stderr, FUZZ_VQ_NAME ": %lu chains\n", fuzz_vq_chains);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_vq_init();
	atexit(tell);
	return 0;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	const bool packed = FUZZ_VQ_PACKED;

	if (size < 2)
		return 0;
	f.cfg = (struct vq_cfg){
		.size = packed ? data[0] % CHAINS_MAX + 1 : 1 << data[0] % (SIZE_MAX_LOG + 1),
		.packed = packed,
		.indirect = data[1] & 1,
		.event_idx = data[1] & 2,
		.in_order = data[1] & 4,
		.desc = FUZZ_VQ_DESC,
		.driver = FUZZ_VQ_DRIVER,
		.device = FUZZ_VQ_DEVICE,
	};
	start_new();
	data += 2;
	size -= 2;
	for (u32 n = 0; size && n < STEPS_MAX; n++) {
		struct fuzz_vq_step s = { 0 };
		size_t len = size < sizeof(s) ? size : sizeof(s);

		memcpy(&s, data, len);
		data += len;
		size -= len;
		do_step(&s);
	}
	check_reset();
	return 0;
}

#endif
