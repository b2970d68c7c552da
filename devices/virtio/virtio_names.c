// SPDX-License-Identifier: MIT
/*
 * virtio_names.c - what feature bits are called, for messages: "MRG_RXBUF (15), EVENT_IDX (29)". VIRTIO 1.2, 6 and the
 * feature bits of each device type in 5.
 */
#include "minivmm/peer.h"
#include "minivmm/virtio.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdio.h>

struct name {
	u32 bit;
	const char *name;
};

#define RING(n)                       \
	{                             \
		VIRTIO_RING_F_##n, #n \
	}
#define ANY(n)                   \
	{                        \
		VIRTIO_F_##n, #n \
	}
#define NET(n)                       \
	{                            \
		VIRTIO_NET_F_##n, #n \
	}
#define BLK(n)                       \
	{                            \
		VIRTIO_BLK_F_##n, #n \
	}

/* clang-format off: in their order */
static const struct name common[] = {
	RING(INDIRECT_DESC), RING(EVENT_IDX), ANY(VERSION_1),  ANY(ACCESS_PLATFORM),
	ANY(RING_PACKED),    ANY(IN_ORDER),   ANY(RING_RESET),
};
static const struct name net[] = {
	NET(CSUM),	 NET(GUEST_CSUM),    NET(CTRL_GUEST_OFFLOADS),
	NET(MTU),	 NET(MAC),	     NET(GUEST_TSO4),
	NET(GUEST_TSO6), NET(GUEST_ECN),     NET(HOST_TSO4),
	NET(HOST_TSO6),	 NET(HOST_ECN),	     NET(MRG_RXBUF),
	NET(STATUS),	 NET(CTRL_VQ),	     NET(CTRL_RX),
	NET(CTRL_VLAN),	 NET(CTRL_RX_EXTRA), NET(GUEST_ANNOUNCE),
	NET(MQ),	 NET(CTRL_MAC_ADDR), NET(GUEST_USO4),
	NET(GUEST_USO6), NET(HOST_USO),	     NET(SPEED_DUPLEX),
};
static const struct name blk[] = {
	BLK(SIZE_MAX), BLK(SEG_MAX),	BLK(GEOMETRY), BLK(RO),	     BLK(BLK_SIZE),	BLK(FLUSH),
	BLK(TOPOLOGY), BLK(CONFIG_WCE), BLK(MQ),       BLK(DISCARD), BLK(WRITE_ZEROES),
};
/* clang-format on */

static const char *look_up(const struct name *table, u32 n, u32 bit)
{
	for (u32 i = 0; i < n; i++) {
		if (table[i].bit == bit)
			return table[i].name;
	}
	return NULL;
}

static const char *name_of(const struct virtio_dev *v, u32 bit)
{
	const char *name = look_up(common, ARRAY_SIZE(common), bit);

	if (!name && v->ops->id == VIRTIO_ID_NET)
		name = look_up(net, ARRAY_SIZE(net), bit);
	if (!name && v->ops->id == VIRTIO_ID_BLOCK)
		name = look_up(blk, ARRAY_SIZE(blk), bit);
	return name ? name : "bit";
}

void virtio_feature_names(const struct virtio_dev *v, u64 features, char *buf, size_t size)
{
	size_t at = 0;

	buf[0] = '\0';
	for (u32 bit = 0; bit < 64; bit++) {
		if (features >> bit & 1 && at < size)
			at += snprintf(buf + at, size - at, "%s%s (%u)", at ? ", " : "",
				       name_of(v, bit), bit);
	}
}
