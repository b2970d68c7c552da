// SPDX-License-Identifier: MIT
/*
 * vhost_user_rig.c - see vhost_user_rig.h.
 */
#include "tests/unit/vhost_user_rig.h"
#include "minivmm/image.h"
#include "minivmm/peer.h"
#include "minivmm/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct vu vu;
int vu_disk = -1;
struct loop *vu_io_loop;
static bool packed_rings;
static char socket_path[64];
static struct unix_door door;

struct virtio_dev *vu_rng(const struct machine_env *env)
{
	const struct virtio_options o = { .packed = packed_rings };
	struct virtio_dev *v;

	ck_assert_int_eq(virtio_rng_create(&v, env, &o), 0);
	return v;
}

struct virtio_dev *vu_blk(const struct machine_env *env)
{
	const struct virtio_options o = { .packed = packed_rings, .queues = 2 };
	struct virtio_blk_options b = { .seg_max = 16 };
	struct image_options i = { .aio = IMAGE_AIO_THREADS };
	static u8 content[64 * KIB];
	struct virtio_dev *v;
	char path[32];

	vu_disk = temp_file(content, sizeof(content), path);
	i.path = path;
	ck_assert_int_eq(image_open(&b.image, &i), 0);
	ck_assert_int_eq(virtio_blk_create(&v, env, &o, &b), 0);
	return v;
}

struct virtio_dev *vu_net(const struct machine_env *env)
{
	const struct virtio_options o = { .packed = packed_rings };
	struct virtio_net_options n = { .npairs = 2, .rings_only = true };
	struct virtio_dev *v;

	ck_assert_int_eq(peer_null_open(&n.peer, 2, false), 0);
	ck_assert_int_eq(virtio_net_create(&v, env, &o, &n), 0);
	return v;
}

static void gone(void *arg)
{
	(void)arg;
	vu.gone++;
}

void vu_connect(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	strcpy(addr.sun_path, socket_path);
	vu.sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(vu.sock, (struct sockaddr *)&addr, sizeof(addr)), 0);
	vu_settle();
}

void vu_begin(struct virtio_dev *(*create)(const struct machine_env *env), bool packed)
{
	struct vhost_user_server_options o = { .unit = 1, .inflight = true, .gone = gone };

	packed_rings = packed;
	rig_init(&vu.rig);
	if (vu_io_loop)
		vu.rig.env.io_loop = &vu_io_loop;
	snprintf(socket_path, sizeof(socket_path), "/tmp/minivmm-unit-%d.sock", getpid());
	ck_assert_int_eq(unix_door_open(&door, socket_path, 4), 0);
	o.listener = door.fd;
	door.fd = -1; /* the server's */
	vu.v = create(&vu.rig.env);
	o.v = vu.v;
	if (create == vu_net)
		o.discards = VHOST_USER_TRANSMITS;
	o.nqueues = vu.nrings = vu.v->nqueues;
	ck_assert_int_eq(vhost_user_server_create(&vu.server, &o), 0);

	mem_init(&vu.ram);
	ck_assert_int_eq(mem_add_ram(&vu.ram, VU_GPA, VU_RAM, false), 0);
	vu.kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vu.call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vu.err = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vu_connect();
}

void vu_end(void)
{
	vhost_user_server_destroy(vu.server);
	virtio_destroy(vu.v);
	for (u32 i = 0; i < vu.nrings; i++)
		ring_driver_free(&vu.ring[i]);
	mem_destroy(&vu.ram);
	if (vu.sock >= 0)
		close(vu.sock);
	close(vu.kick);
	close(vu.call);
	close(vu.err);
	if (vu_disk >= 0)
		close(vu_disk);
	ck_assert_int_eq(unix_door_close(&door), 0);
	ck_assert_int_eq(access(socket_path, F_OK), -1);
	rig_free(&vu.rig);
}

void vu_settle(void)
{
	loop_settle(vu.rig.env.loop);
}

void vu_send(u32 request, u32 flags, const void *payload, u32 len, const int *fds, u32 nfds)
{
	struct vhost_user_msg m = { .hdr = { request, VHOST_USER_VERSION | flags, len },
				    .nfds = nfds };

	if (len)
		memcpy(&m.num, payload, len);
	if (nfds)
		memcpy(m.fd, fds, nfds * sizeof(*fds));
	ck_assert_int_eq(vhost_user_send(vu.sock, &m), 0);
	vu_settle();
}

void vu_num(u32 request, u64 num)
{
	vu_send(request, 0, &num, sizeof(num), NULL, 0);
}

void vu_state(u32 request, u32 index, u32 num)
{
	const struct vhost_user_vring s = { index, num };

	vu_send(request, 0, &s, sizeof(s), NULL, 0);
}

void vu_fd(u32 request, u32 index, int fd)
{
	u64 num = index | (fd < 0 ? VHOST_USER_VRING_NOFD : 0);

	vu_send(request, 0, &num, sizeof(num), &fd, fd >= 0);
}

void vu_addr(u32 index, const struct vhost_user_addr *a)
{
	struct vhost_user_addr addr = *a;

	addr.index = index;
	vu_send(VHOST_USER_SET_VRING_ADDR, 0, &addr, sizeof(addr), NULL, 0);
}

void vu_reply(struct vhost_user_msg *m)
{
	struct pollfd p = { .fd = vu.sock, .events = POLLIN };

	vu_settle();
	ck_assert_msg(poll(&p, 1, 0) == 1, "no reply; logged: \"%s\"", said_text());
	ck_assert_int_eq(vhost_user_recv(vu.sock, m), 0);
	ck_assert_uint_eq(m->hdr.flags, VHOST_USER_VERSION | VHOST_USER_REPLY);
}

u64 vu_ask(u32 request)
{
	struct vhost_user_msg m;

	vu_send(request, 0, NULL, 0, NULL, 0);
	vu_reply(&m);
	ck_assert_uint_eq(m.hdr.request, request);
	ck_assert_uint_eq(m.hdr.size, 8);
	return m.num;
}

void vu_alive(void)
{
	expect_silence();
	vu_ask(VHOST_USER_GET_FEATURES);
}

void vu_closed(const char *part)
{
	char byte;

	vu_settle();
	ck_assert_msg(said_once(part), "logged: \"%s\", not \"%s\"", said_text(), part);
	while (recv(vu.sock, &byte, 1, MSG_DONTWAIT) > 0)
		;
	ck_assert_int_eq(recv(vu.sock, &byte, 1, MSG_DONTWAIT), 0);
	close(vu.sock);
	vu.sock = -1;
	said_forget();
}

void vu_features(u64 features)
{
	vu.features = features & vu_ask(VHOST_USER_GET_FEATURES);
	vu_num(VHOST_USER_SET_FEATURES, vu.features);
	if (vu.features & 1ULL << VHOST_USER_F_PROTOCOL_FEATURES)
		vu_num(VHOST_USER_SET_PROTOCOL_FEATURES, vu_ask(VHOST_USER_GET_PROTOCOL_FEATURES));
}

struct vhost_user_region vu_region(void)
{
	return (struct vhost_user_region){ VU_GPA, VU_RAM, VU_USER, 0 };
}

void vu_memory(void)
{
	const struct vhost_user_memory t = { .nregions = 1, .region[0] = vu_region() };

	vu_send(VHOST_USER_SET_MEM_TABLE, 0, &t, 8 + sizeof(t.region[0]), &vu.ram.region[0].fd, 1);
}

static u64 user_of(u64 gpa)
{
	return gpa - VU_GPA + VU_USER;
}

void vu_ring(u32 i, u32 base)
{
	const struct vq_cfg cfg = {
		.size = VU_SIZE,
		.packed = vu.features & VIRTIO_FEATURE(VIRTIO_F_RING_PACKED),
		.event_idx = vu.features & VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX),
	};
	struct vhost_user_addr a;

	if (!vu.ring[i].state)
		ck_assert_int_eq(
			ring_driver_init(&vu.ring[i], &vu.ram, VU_RINGS + i * 0x10000, &cfg), 0);
	a = (struct vhost_user_addr){ .desc = user_of(vu.ring[i].cfg.desc),
				      .avail = user_of(vu.ring[i].cfg.driver),
				      .used = user_of(vu.ring[i].cfg.device) };
	vu_state(VHOST_USER_SET_VRING_NUM, i, VU_SIZE);
	vu_state(VHOST_USER_SET_VRING_BASE, i, base);
	vu_addr(i, &a);
	vu_fd(VHOST_USER_SET_VRING_CALL, i, vu.call);
	vu_fd(VHOST_USER_SET_VRING_ERR, i, vu.err);
	vu_fd(VHOST_USER_SET_VRING_KICK, i, vu.kick);
}

void vu_enable(u32 i, bool on)
{
	vu_state(VHOST_USER_SET_VRING_ENABLE, i, on);
}

void vu_up(void)
{
	vu_features(~0ULL);
	vu_memory();
	vu_ring(0, VU_FIRST_BASE(vu.features & VIRTIO_FEATURE(VIRTIO_F_RING_PACKED)));
	vu_enable(0, true);
}

void vu_submit(u64 gpa, u32 n)
{
	const struct ring_buf buf = { gpa, VU_LEN };

	for (u32 i = 0; i < n; i++)
		ck_assert_int_ge(ring_add(&vu.ring[0], &buf, 0, 1, false), 0);
	ring_publish(&vu.ring[0]);
	eventfd_write(vu.kick, 1);
	vu_settle();
}

u32 vu_answered(void)
{
	u32 n = 0, len;

	for (; ring_get(&vu.ring[0], &len) >= 0; n++)
		ck_assert_uint_eq(len, VU_LEN);
	return n;
}

u32 vu_base(void)
{
	struct vhost_user_msg m;

	vu_state(VHOST_USER_GET_VRING_BASE, 0, 0);
	vu_reply(&m);
	ck_assert_uint_eq(m.hdr.size, sizeof(m.vring));
	return m.vring.num;
}

bool vu_signalled(int fd)
{
	eventfd_t n;

	return eventfd_read(fd, &n) == 0;
}
