// SPDX-License-Identifier: MIT
/*
 * vhost_user_front.c - see vhost_user_front.h.
 */
#include "tests/unit/vhost_user_front.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <unistd.h>

struct front_end fe;

int fe_create(struct virtio_dev **v, const struct machine_env *env, const struct virtio_options *o)
{
	return virtio_vhost_user_create(v, env, o, &fe.o);
}

void fe_begin(int mode)
{
	vdrv_init(&fe.d, mode % VDRV_BUSES, mode >= VDRV_BUSES);
	fe.d.options.queues = 2;
	fe.d.options.queue_size = FE_SIZE;
	be_begin(&fe.be);
	fe.o = (struct virtio_vhost_user_options){ .option = "vhost-user",
						   .id = ECHO_ID,
						   .path = fe.be.path,
						   .config_len = FE_CONFIG_LEN };
}

void fe_begin_disk(int mode)
{
	fe_begin(mode);
	fe.be.features |= VIRTIO_FEATURE(VIRTIO_BLK_F_MQ);
	fe.be.config_len = 60;
	fe.o = (struct virtio_vhost_user_options){ .option = "disk",
						   .id = VIRTIO_ID_BLOCK,
						   .path = fe.be.path };
}

void fe_plug(void)
{
	be_listen(&fe.be);
	vdrv_plug(&fe.d, fe_create);
}

void fe_start(void)
{
	fe_plug();
	vdrv_start(&fe.d, ~0ULL);
}

void fe_start_with(int mode, u64 protocol)
{
	fe_begin(mode);
	fe.be.protocol |= protocol;
	fe_start();
}

void fe_start_disk(int bus)
{
	fe_begin_disk(bus);
	fe_plug();
	expect_said("the back end keeps no record");
	said_forget();
	vdrv_start(&fe.d, ~0ULL);
}

void fe_end(void)
{
	vdrv_unplug(&fe.d);
	be_end(&fe.be);
	unlink(fe.be.path);
	vdrv_free(&fe.d);
}

void fe_refused(const char *why)
{
	struct virtio_dev *v = NULL;

	ck_assert_int_lt(fe_create(&v, &fe.d.rig->r.env, &fe.d.options), 0);
	expect_said(why);
	fe_end();
}

void fe_lose(void)
{
	be_end(&fe.be);
	vdrv_settle(&fe.d);
}

/* ---- requests ---- */

static struct fe_req make(u8 byte)
{
	struct fe_req r = { .byte = byte, .id = -1 };

	for (u32 i = 0; i < 2; i++)
		r.buf[i] = (struct ring_buf){ vdrv_alloc(&fe.d, FE_LEN), FE_LEN };
	memset(vdrv_ptr(&fe.d, r.buf[0].gpa, FE_LEN), byte, FE_LEN);
	return r;
}

static void expect_echo(const struct fe_req *r)
{
	const u8 *in = vdrv_ptr(&fe.d, r->buf[1].gpa, FE_LEN);

	for (u32 i = 0; i < FE_LEN; i++)
		ck_assert_uint_eq(in[i], r->byte);
}

struct fe_req fe_submit(u32 q, u8 byte)
{
	struct fe_req r = make(byte);

	r.id = vdrv_submit(&fe.d, q, r.buf, 1, 1);
	vdrv_settle(&fe.d);
	return r;
}

void fe_wait_one(u32 q, struct fe_req *r, u32 n)
{
	u32 written, i = 0;
	int id = vdrv_wait(&fe.d, q, &written);

	while (i < n && r[i].id != id)
		i++;
	ck_assert_uint_lt(i, n);
	ck_assert_uint_eq(written, FE_LEN);
	expect_echo(&r[i]);
	r[i].id = -1;
}

void fe_wait_all(u32 q, struct fe_req *r, u32 n)
{
	for (u32 i = 0; i < n; i++)
		fe_wait_one(q, r, n);
	echo_expect_no_answer(&fe.d, q);
}

void fe_request(u32 q, u8 byte)
{
	struct fe_req r = make(byte);

	ck_assert_uint_eq(vdrv_request(&fe.d, q, r.buf, 1, 1), FE_LEN);
	expect_echo(&r);
	echo_expect_no_answer(&fe.d, q);
}
