// SPDX-License-Identifier: MIT
/*
 * test_vhost_user.c - the front end of vhost-user, with the back end of fake_back_end.h: what it is asked
 * and told, what it may answer, what happens when it goes. The device is one of type ECHO_ID.
 */
#include "minivmm/datapath.h"
#include "tests/unit/echo_rig.h"
#include "tests/unit/fake_back_end.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CONFIG_LEN 12

static struct vdrv d;
static struct back_end be;
static struct virtio_vhost_user_options opts;

static int create(struct virtio_dev **v, const struct machine_env *env,
		  const struct virtio_options *o)
{
	return virtio_vhost_user_create(v, env, o, &opts);
}

/* A machine and a back end; `mode` is transport and ring format. */
static void begin(int mode)
{
	vdrv_init(&d, mode % VDRV_BUSES, mode >= VDRV_BUSES);
	d.options.queues = 2;
	d.options.queue_size = 64;
	be_begin(&be);
	opts = (struct virtio_vhost_user_options){
		.option = "vhost-user", .id = ECHO_ID, .path = be.path, .config_len = CONFIG_LEN
	};
}

static void plug(int mode)
{
	begin(mode);
	be_listen(&be);
	vdrv_plug(&d, create);
}

/* The same with a driver, and with these protocol features, too. */
static void start_with(int mode, u64 protocol)
{
	begin(mode);
	be.protocol |= protocol;
	be_listen(&be);
	vdrv_plug(&d, create);
	vdrv_start(&d, ~0ULL);
}

static void end(void)
{
	if (d.dev)
		vdrv_unplug(&d);
	be_end(&be);
	unlink(be.path);
	vdrv_free(&d);
}

/* The device can't be made, and a line says why. */
static void refused(const char *why)
{
	struct virtio_dev *v = NULL;

	ck_assert_int_lt(create(&v, &d.rig->r.env, &d.options), 0);
	expect_said(why);
	end();
}

#define wait_until(what) vdrv_wait_until(&d, what)

static struct ring_buf pair[2];

static void new_pair(u8 byte)
{
	pair[0] = (struct ring_buf){ vdrv_alloc(&d, 100), 100 };
	pair[1] = (struct ring_buf){ vdrv_alloc(&d, 100), 100 };
	memset(vdrv_ptr(&d, pair[0].gpa, 100), byte, 100);
}

static void expect_echo(u8 byte)
{
	const u8 *in = vdrv_ptr(&d, pair[1].gpa, 100);

	for (u32 i = 0; i < 100; i++)
		ck_assert_uint_eq(in[i], byte);
}

static void request(u32 q, u8 byte)
{
	new_pair(byte);
	ck_assert_uint_eq(vdrv_request(&d, q, pair, 1, 1), 100);
	expect_echo(byte);
}

START_TEST(the_back_end_serves_the_queues)
{
	plug(_i);
	vdrv_start(&d, ~0ULL);
	for (u32 i = 0; i < 300; i++)
		request(i % 2, i);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_SET_OWNER), 1);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_SET_MEM_TABLE), 1);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_SET_VRING_ENABLE), 2);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_SET_VRING_ERR), 2);
	expect_silence();
	end();
}

START_TEST(it_is_offered_what_the_back_end_offers)
{
	u64 ours = VIRTIO_FEATURE(VIRTIO_F_RING_RESET);

	begin(_i);
	be.features |= 1ULL << 3 | 1ULL << 26 | 1ULL << 24 | 1ULL << 33 | 1ULL << 51;
	be_listen(&be);
	vdrv_plug(&d, create);
	ck_assert_uint_eq(vdrv_offered(&d),
			  (1ULL << 0 | 1ULL << 3 | 1ULL << 51 | 1ULL << VIRTIO_F_VERSION_1 |
			   1ULL << VIRTIO_RING_F_INDIRECT_DESC | 1ULL << VIRTIO_RING_F_EVENT_IDX |
			   (_i >= VDRV_BUSES ? 1ULL << VIRTIO_F_RING_PACKED : 0) | ours));
	vdrv_start(&d, 1ULL << 0 | 1ULL << VIRTIO_F_VERSION_1 | ours);
	ck_assert_uint_eq(be.accepted, 1ULL << 0 | 1ULL << VIRTIO_F_VERSION_1 |
					       1ULL << VHOST_USER_F_PROTOCOL_FEATURES);
	end();
}

START_TEST(a_queue_goes_on_where_it_was_stopped)
{
	plug(_i);
	vdrv_start(&d, ~0ULL);
	for (u32 round = 0; round < 5; round++) {
		for (u32 i = 0; i < 30; i++)
			request(0, i);
		virtio_pause(d.v);
		virtio_resume(d.v);
	}
	ck_assert_uint_ge(be_seen(&be, VHOST_USER_GET_VRING_BASE), 10);
	end();
}

START_TEST(after_a_reset_it_begins_anew)
{
	plug(_i);
	for (u32 round = 0; round < 3; round++) {
		vdrv_start(&d, ~0ULL);
		for (u32 i = 0; i < 10; i++)
			request(i % 2, i);
		vdrv_reset(&d);
	}
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_RESET_DEVICE), 2);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_SET_MEM_TABLE), 1);
	end();
}

START_TEST(a_queue_that_is_reset_can_be_set_up_again)
{
	if (_i % VDRV_BUSES == VDRV_MMIO)
		skip_test("virtio-mmio cannot reset a queue");
	plug(_i);
	vdrv_start(&d, ~0ULL);
	request(0, 1);
	vdrv_queue_reset(&d, 0);
	ring_driver_free(&d.q[0].ring);
	d.q[0].up = false;
	vdrv_queue_up(&d, 0, 0);
	request(0, 2);
	request(1, 3);
	end();
}

START_TEST(memory_goes_by_slots_if_the_back_end_wants_that)
{
	start_with(_i, BE_P(CONFIGURE_MEM_SLOTS));
	request(0, 7);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_ADD_MEM_REG), 1);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_SET_MEM_TABLE), 0);
	end();
}

START_TEST(the_status_is_told_if_the_back_end_wants_that)
{
	start_with(_i, BE_P(STATUS));
	ck_assert_uint_eq(be_get(&be.status), STATUS_RUNNING);
	request(0, 7);
	end();
}

START_TEST(a_back_end_without_extensions_will_do)
{
	begin(_i);
	be.features &= ~(1ULL << VHOST_USER_F_PROTOCOL_FEATURES);
	be.protocol = 0;
	opts.config_len = 0;
	be_listen(&be);
	vdrv_plug(&d, create);
	vdrv_start(&d, ~0ULL);
	request(0, 1);
	request(1, 2);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_GET_PROTOCOL_FEATURES), 0);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_SET_VRING_ENABLE), 0);
	end();
}

START_TEST(what_the_driver_sets_up_wrongly_breaks_the_device_alone)
{
	static const struct {
		u64 desc, driver, device;
	} wrong[] = {
		{ VDRV_RAM, 0x10000, 0x20000 },	   { 0x8000, VDRV_RAM - 2, 0x20000 },
		{ 0x8000, 0x10000, VDRV_RAM - 4 }, { 0x8008, 0x10000, 0x20000 },
		{ ~0ULL << 4, 0x10000, 0x20000 },  { 0x8000, 0x10001, 0x20000 },
		{ 0x8000, 0x10000, 0x20002 },	   { VDRV_RAM - 16, 0x10000, 0x20000 },
		{ 0x8000, ~0ULL - 3, 0x20000 },
	};
	struct vq_cfg cfg = { .size = 64,
			      .desc = wrong[_i].desc,
			      .driver = wrong[_i].driver,
			      .device = wrong[_i].device };

	plug(VDRV_PCI_MSIX);
	ck_assert(vdrv_negotiate(&d, ~0ULL));
	vdrv_queue_write(&d, 0, &cfg);
	vdrv_driver_ok(&d);
	ck_assert_uint_eq(vdrv_status(&d) & NEEDS_RESET, NEEDS_RESET);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_SET_VRING_ADDR), 0);
	expect_said("bad address");
	said_forget();
	vdrv_start(&d, ~0ULL);
	request(0, 1);
	end();
}

/* ---- configuration space ---- */

START_TEST(the_configuration_space_is_the_back_ends)
{
	plug(_i);
	ck_assert_uint_eq(vdrv_config(&d, 0, 1), 'b');
	ck_assert_uint_eq(vdrv_config(&d, 11, 1), '.');
	vdrv_start(&d, ~0ULL);
	vdrv_set_config(&d, 8, 1, 'x');
	ck_assert_uint_eq(vdrv_config(&d, 8, 1), 'x');
	vdrv_set_config(&d, 2, 1, 'x'); /* which the back end does not take */
	ck_assert_uint_eq(vdrv_config(&d, 2, 1), 'c');
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_SET_CONFIG), 2);
	end();
}

START_TEST(the_driver_is_told_of_a_change)
{
	plug(_i);
	vdrv_start(&d, ~0ULL);
	wait_until(be_seen(&be, VHOST_USER_SET_BACKEND_REQ_FD) == 1);
	be_change_config(&be, 'X');
	vdrv_wait_config_called(&d);
	ck_assert_uint_eq(vdrv_config(&d, 0, 1), 'X');
	request(0, 1);
	end();
}

/* ---- refusals ---- */

START_TEST(nobody_there)
{
	begin(0);
	refused("start the back end first, or give server=on");
}

START_TEST(a_back_end_without_virtio_1)
{
	begin(0);
	be.features &= ~(1ULL << VIRTIO_F_VERSION_1);
	be_listen(&be);
	refused("does not offer feature bit 0x100000000");
}

START_TEST(packed_rings_that_it_does_not_have)
{
	begin(VDRV_BUSES);
	be.features &= ~(1ULL << VIRTIO_F_RING_PACKED);
	be_listen(&be);
	refused("does not offer feature bit 0x400000000");
}

START_TEST(too_few_queues)
{
	begin(0);
	be.queue_num = 1;
	be_listen(&be);
	refused("has 1 queues: give queues=1");
}

START_TEST(no_configuration_space)
{
	begin(0);
	be.protocol &= ~BE_P(CONFIG);
	be_listen(&be);
	refused("has no configuration space");
}

START_TEST(too_little_of_it)
{
	begin(0);
	be.config_len = CONFIG_LEN - 1;
	be_listen(&be);
	refused("the back end refuses a request");
}

/* ---- a back end that is not to be trusted ---- */

/* Those that any answer can be; the last can be only an acknowledgement. */
static const u32 asked_at_first[] = { VHOST_USER_GET_FEATURES, VHOST_USER_GET_PROTOCOL_FEATURES,
				      VHOST_USER_GET_QUEUE_NUM, VHOST_USER_GET_CONFIG,
				      VHOST_USER_SET_OWNER };

static void no_device(u32 asked, u32 bad)
{
	struct virtio_dev *v = NULL;
	const struct virtio_vhost_user_options *o = &opts;

	begin(0);
	opts.timeout_ms = bad == BE_SILENT ? 1000 : 0;
	be.bad = bad;
	be.bad_request = asked;
	be_listen(&be);
	ck_assert_int_lt(virtio_vhost_user_create(&v, &d.rig->r.env, &d.options, o), 0);
	expect_said("the back end");
	end();
}

START_TEST(a_bad_answer_at_first_is_refused)
{
	for (u32 bad = BE_SILENT; bad < BE_REFUSE; bad++) {
		no_device(asked_at_first[_i], bad);
		said_forget();
	}
}

/* The device works, then request `asked` is answered badly: no hang, no crash; when the back end
 * behaves again the device works again. */
static void bad_later(int mode, u32 asked, u32 bad)
{
	begin(mode);
	be.protocol |= BE_P(INFLIGHT_SHMFD);
	opts.timeout_ms = bad == BE_SILENT ? 1000 : 0;
	be_listen(&be);
	vdrv_plug(&d, create);
	vdrv_start(&d, ~0ULL);
	request(0, 1);
	be_set(&be.bad_request, asked);
	be_set(&be.bad, bad);
	virtio_pause(d.v);
	virtio_resume(d.v);
	be_set(&be.bad, BE_GOOD);
	vdrv_reset(&d);
	vdrv_start(&d, ~0ULL);
	request(0, 2);
	request(1, 3);
	ck_assert_uint_eq(vdrv_status(&d), STATUS_RUNNING);
	said_forget();
	end();
}

START_TEST(a_bad_answer_later_is_lived_through)
{
	static const u32 asked[] = { VHOST_USER_GET_VRING_BASE, VHOST_USER_SET_VRING_ADDR,
				     VHOST_USER_SET_VRING_KICK };

	u32 what = asked[_i / BE_BAD_COUNT], bad = _i % BE_BAD_COUNT;

	if (bad == BE_REFUSE && what == VHOST_USER_GET_VRING_BASE)
		bad = BE_GOOD; /* it is no acknowledgement */
	bad_later(VDRV_PCI_MSIX, what, bad);
}

/* The back end as a process that the front end starts itself. */
static u32 ended;

static int start_process(struct vhost_user_process *p)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)p;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", be.path);
	ck_assert_int_eq(connect(sock, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return sock;
}

static void end_process(struct vhost_user_process *p)
{
	(void)p;
	ended++;
}

START_TEST(a_process_that_does_not_answer_is_ended_before_its_rings_move)
{
	struct vhost_user_process process = { .name = "process",
					      .start = start_process,
					      .end = end_process };

	begin(_i);
	be.protocol |= BE_P(INFLIGHT_SHMFD);
	opts.path = NULL;
	opts.process = &process;
	opts.timeout_ms = 1000;
	be_listen(&be);
	vdrv_plug(&d, create);
	vdrv_start(&d, ~0ULL);
	request(0, 1);
	ck_assert_uint_eq(ended, 0);
	be_set(&be.bad_request, VHOST_USER_GET_VRING_BASE);
	be_set(&be.bad, BE_SILENT);
	virtio_pause(d.v);
	ck_assert_uint_eq(ended, 1);
	be_set(&be.bad, BE_GOOD);
	virtio_resume(d.v);
	wait_until(be_get(&be.connections) == 2);
	request(0, 2);
	said_forget();
	end();
}

START_TEST(a_refused_queue_breaks_the_device)
{
	begin(0);
	be.bad = BE_REFUSE;
	be.bad_request = VHOST_USER_SET_VRING_ADDR;
	be_listen(&be);
	vdrv_plug(&d, create);
	ck_assert(vdrv_negotiate(&d, ~0ULL));
	vdrv_queue_up(&d, 0, 0);
	vdrv_driver_ok(&d);
	ck_assert_uint_eq(vdrv_status(&d) & NEEDS_RESET, NEEDS_RESET);
	said_forget();
	end();
}

/* ---- coming and going ---- */

/* Kill it, and start it again. */
static void kill_it(void)
{
	be_end(&be);
}

static void start_it(void)
{
	be_listen(&be);
}

START_TEST(without_a_record_the_device_needs_a_reset)
{
	plug(_i);
	vdrv_start(&d, ~0ULL);
	request(0, 1);
	kill_it();
	wait_until(vdrv_status(&d) & NEEDS_RESET);
	said_forget();
	start_it();
	wait_until(be_get(&be.connections) == 2);
	vdrv_start(&d, ~0ULL);
	wait_until(be_seen(&be, VHOST_USER_SET_VRING_KICK) >= 4);
	request(0, 2);
	request(1, 3);
	end();
}

START_TEST(with_a_record_the_queues_go_on)
{
	begin(_i % VDRV_BUSES); /* split */
	be.protocol |= BE_P(INFLIGHT_SHMFD);
	be_listen(&be);
	vdrv_plug(&d, create);
	vdrv_start(&d, ~0ULL);
	for (u32 i = 0; i < 70; i++)
		request(0, i);
	kill_it();
	new_pair(9); /* while nobody is there */
	vdrv_submit(&d, 0, pair, 1, 1);
	vdrv_settle(&d);
	start_it();
	vdrv_wait(&d, 0, NULL);
	expect_echo(9);
	ck_assert_uint_eq(be_get(&be.last_base), 70);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_GET_INFLIGHT_FD), 1);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_SET_INFLIGHT_FD), 2);
	request(0, 10);
	request(1, 11);
	ck_assert_uint_eq(vdrv_status(&d), STATUS_RUNNING);
	said_forget();
	end();
}

START_TEST(a_reset_while_nobody_is_there)
{
	start_with(_i, BE_P(INFLIGHT_SHMFD));
	request(0, 1);
	kill_it();
	vdrv_settle(&d);
	vdrv_start(&d, ~0ULL);
	new_pair(5);
	vdrv_submit(&d, 1, pair, 1, 1);
	start_it();
	vdrv_wait(&d, 1, NULL);
	expect_echo(5);
	request(0, 6);
	said_forget();
	end();
}

START_TEST(the_next_back_end_must_offer_as_much)
{
	start_with(_i % VDRV_BUSES, BE_P(INFLIGHT_SHMFD));
	/* As the live switch does: what is asked about is not all that a driver may accept. */
	d.v->path->ops->features(d.v->path, VIRTIO_FEATURE(VIRTIO_F_VERSION_1));
	request(0, 1);
	kill_it();
	said_forget();
	be.features &= ~1ULL;
	start_it();
	wait_until(be_get(&be.connections) >= 3); /* tried again */
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_SET_FEATURES), 1);
	kill_it();
	be.features |= 1;
	start_it();
	request(0, 2);
	said_forget();
	end();
}

/* It keeps a record, of which the next one does not know. */
START_TEST(the_next_back_end_must_take_the_record)
{
	start_with(_i % VDRV_BUSES, BE_P(INFLIGHT_SHMFD));
	request(0, 1);
	kill_it();
	be.protocol &= ~BE_P(INFLIGHT_SHMFD);
	start_it();
	wait_until(be_get(&be.connections) >= 3); /* tried again */
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_SET_FEATURES), 1);
	ck_assert_ptr_nonnull(strstr(said_text(), "takes no record of requests in flight"));
	kill_it();
	be.protocol |= BE_P(INFLIGHT_SHMFD);
	start_it();
	request(0, 2);
	said_forget();
	end();
}

/* What was in flight in a queue that is reset while nobody is there must not come again in the next ring. */
START_TEST(a_queue_that_is_reset_leaves_no_record)
{
	u8 record[4096], full[4096];
	int fd;

	start_with(_i, BE_P(INFLIGHT_SHMFD)); /* not MMIO */
	request(0, 1);
	fd = dup(be.record);
	memset(full, 0xff, sizeof(full));
	ck_assert_int_eq(pwrite(fd, full, sizeof(full), 0), sizeof(full));
	kill_it();
	vdrv_settle(&d);
	vdrv_queue_reset(&d, 0);
	ring_driver_free(&d.q[0].ring);
	d.q[0].up = false;
	vdrv_queue_up(&d, 0, 0);
	ck_assert_int_eq(pread(fd, record, sizeof(record), 0), sizeof(record));
	for (u32 i = 0; i < 16 + 64 * 16; i++)
		ck_assert_uint_eq(record[i], 0);
	ck_assert_int_eq(memcmp(record + 2048, full, 2048), 0); /* the other queue's */
	close(fd);
	start_it();
	request(0, 2);
	said_forget();
	end();
}

/* What the record has can be finished by a back end alone: nobody else gets the queue. */
START_TEST(what_is_in_the_record_stays_with_the_back_ends)
{
	u32 unit = _i / VDRV_BUSES ? 32 : 16;
	struct virtio_switch s;
	struct datapath *path = NULL;
	int fd;

	start_with(_i, BE_P(INFLIGHT_SHMFD));
	for (u32 i = 0; i < 5; i++)
		request(0, i);
	fd = dup(be.record);
	if (unit ==
	    32) { /* version, and where the ring stands: used_idx, old_used_idx, wrap counters */
		ck_assert_int_eq(pwrite(fd, "\1", 1, 8), 1);
		ck_assert_int_eq(pwrite(fd, "\5\0\5\0\1\1", 6, 16), 6);
		ck_assert_int_eq(pwrite(fd, "\1", 1, 2048 + 8), 1);
		ck_assert_int_eq(pwrite(fd, "\1\1", 2, 2048 + 20), 2);
	}
	kill_it();
	wait_until(said_text()[0]);
	said_forget();
	virtio_pause(d.v);
	ck_assert_uint_eq(d.v->queue[0].pos.avail, d.v->queue[0].pos.used);
	virtio_resume(d.v);
	ck_assert_int_eq(pwrite(fd, "\1", 1, 64 * unit), 1);
	ck_assert_int_eq(virtio_switch_path(d.v, &path, &s), -EBUSY);
	ck_assert_ptr_null(path);
	ck_assert_int_eq(pwrite(fd, "\0", 1, 64 * unit), 1);
	close(fd);
	start_it();
	request(0, 8); /* on it goes, from where it was */
	request(1, 9);
	ck_assert_uint_eq(be_get(&be.last_base), unit == 32 ? 0x80058005 : 5);
	ck_assert_uint_eq(vdrv_status(&d), STATUS_RUNNING);
	said_forget();
	end();
}

START_TEST(a_record_that_can_be_nowhere)
{
	static const struct vhost_user_inflight lie[] = {
		{ .mmap_offset = ~0ULL - 100 },
		{ .mmap_offset = INT64_MAX },
		{ .mmap_size = ~0ULL - 8192, .mmap_offset = 16384 },
		{ .nqueues = (u16)-2 },
		{ .nqueues = (u16)-1 },
	};

	begin(VDRV_PCI_MSIX);
	be.protocol |= BE_P(INFLIGHT_SHMFD);
	be.record_lie = lie[_i];
	be_listen(&be);
	vdrv_plug(&d, create);
	vdrv_start(&d, ~0ULL);
	ck_assert_ptr_nonnull(strstr(said_text(), "gives an answer that is none"));
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_SET_INFLIGHT_FD), 0);
	said_forget();
	end();
}

/* A back end that talks and does not listen. */
START_TEST(answers_that_nobody_reads)
{
	struct vhost_user_msg m = { .hdr = { 99, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, 0 } };

	plug(_i);
	vdrv_start(&d, ~0ULL);
	wait_until(be_seen(&be, VHOST_USER_SET_BACKEND_REQ_FD) == 1);
	for (u32 i = 0; i < 5000 && !vhost_user_send(be.channel, &m); i++)
		vdrv_settle(&d);
	ck_assert_int_eq(vhost_user_send(be.channel, &m), -ECONNRESET);
	request(0, 1);
	end();
}

static u32 times_said(const char *part)
{
	u32 n = 0;

	for (const char *p = said_text(); (p = strstr(p, part)); p++)
		n++;
	return n;
}

/* A driver that begins again and again does not fill the log. */
START_TEST(refusals_are_told_some_times)
{
	begin(_i);
	be.bad = BE_REFUSE;
	be.bad_request = VHOST_USER_SET_FEATURES;
	be_listen(&be);
	vdrv_plug(&d, create);
	for (u32 i = 0; i < 30; i++) {
		ck_assert(vdrv_negotiate(&d, ~0ULL));
		vdrv_driver_ok(&d);
		ck_assert_uint_eq(vdrv_status(&d) & NEEDS_RESET, NEEDS_RESET);
		vdrv_reset(&d);
	}
	ck_assert_uint_eq(times_said("refuses a request"), 16);
	said_forget();
	end();
}

Suite *vhost_user_suite(void)
{
	const int modes = MODES;
	Suite *s = suite_create("vhost-user");
	TCase *tc = tcase_create("vhost-user");

	tcase_set_timeout(tc, 30);
	tcase_add_loop_test(tc, the_back_end_serves_the_queues, 0, modes);
	tcase_add_loop_test(tc, it_is_offered_what_the_back_end_offers, 0, modes);
	tcase_add_loop_test(tc, a_queue_goes_on_where_it_was_stopped, 0, modes);
	tcase_add_loop_test(tc, after_a_reset_it_begins_anew, 0, modes);
	tcase_add_loop_test(tc, a_queue_that_is_reset_can_be_set_up_again, 0, modes);
	tcase_add_loop_test(tc, memory_goes_by_slots_if_the_back_end_wants_that, 0, modes);
	tcase_add_loop_test(tc, the_status_is_told_if_the_back_end_wants_that, 0, modes);
	tcase_add_loop_test(tc, a_back_end_without_extensions_will_do, 0, modes);
	tcase_add_loop_test(tc, what_the_driver_sets_up_wrongly_breaks_the_device_alone, 0, 9);
	tcase_add_loop_test(tc, the_configuration_space_is_the_back_ends, 0, modes);
	tcase_add_loop_test(tc, the_driver_is_told_of_a_change, 0, modes);
	tcase_add_test(tc, nobody_there);
	tcase_add_test(tc, a_back_end_without_virtio_1);
	tcase_add_test(tc, packed_rings_that_it_does_not_have);
	tcase_add_test(tc, too_few_queues);
	tcase_add_test(tc, no_configuration_space);
	tcase_add_test(tc, too_little_of_it);
	tcase_add_loop_test(tc, a_bad_answer_at_first_is_refused, 0, ARRAY_SIZE(asked_at_first));
	tcase_add_loop_test(tc, a_bad_answer_later_is_lived_through, 0, 3 * BE_BAD_COUNT);
	tcase_add_loop_test(tc, a_process_that_does_not_answer_is_ended_before_its_rings_move, 0,
			    VDRV_BUSES);
	tcase_add_test(tc, a_refused_queue_breaks_the_device);
	tcase_add_loop_test(tc, without_a_record_the_device_needs_a_reset, 0, modes);
	tcase_add_loop_test(tc, with_a_record_the_queues_go_on, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, a_reset_while_nobody_is_there, 0, modes);
	tcase_add_loop_test(tc, the_next_back_end_must_offer_as_much, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, the_next_back_end_must_take_the_record, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, a_queue_that_is_reset_leaves_no_record, 0, VDRV_MMIO);
	tcase_add_loop_test(tc, what_is_in_the_record_stays_with_the_back_ends, 0, modes);
	tcase_add_loop_test(tc, a_record_that_can_be_nowhere, 0, 5);
	tcase_add_loop_test(tc, answers_that_nobody_reads, 0, modes);
	tcase_add_loop_test(tc, refusals_are_told_some_times, 0, VDRV_BUSES);
	suite_add_tcase(s, tc);
	return s;
}
