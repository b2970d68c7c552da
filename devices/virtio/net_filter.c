// SPDX-License-Identifier: MIT
/*
 * net_filter.c - which frames a network device's driver wants to receive. VIRTIO 1.2, 5.1.6.5.1 to
 * 5.1.6.5.3.
 *
 * How it works: a frame is for everybody (broadcast), for a group (multicast) or for one address.
 *
 *	promisc  ──> pass
 *	VLAN tag of an id that is not in the table  ──> drop
 *	broadcast	dropped by nobcast
 *	multicast	dropped by nomulti; passed by allmulti; else if it is in the table
 *	unicast		dropped by nouni; passed by alluni; else if it is the device's own or in the table
 *
 * A table that was too long for us lets all of its kind pass: the driver looks itself.
 *
 * Threads: no state but what is passed.
 */
#include "devices/virtio/net_internal.h"

#include <string.h>

void net_filter_reset(struct net_filter *f, const u8 mac[6])
{
	*f = (struct net_filter){ .promisc = true, .any_vlan = true };
	memcpy(f->mac, mac, sizeof(f->mac));
}

void net_filter_set_vlan(struct net_filter *f, u32 id, bool pass)
{
	u64 bit = 1ULL << id % 64;

	if (pass)
		f->vlan[id / 64] |= bit;
	else
		f->vlan[id / 64] &= ~bit;
}

static bool vlan_passes(const struct net_filter *f, const u8 *frame, u32 len)
{
	u32 id;

	if (f->any_vlan || !net_has_vlan(frame, len))
		return true;
	id = (frame[14] << 8 | frame[15]) & (NET_VLANS - 1);
	return f->vlan[id / 64] >> id % 64 & 1;
}

/* Is it in the table of `n` addresses, or is that too long to say? */
static bool listed(const u8 (*table)[6], u32 n, const u8 *mac)
{
	if (n > NET_MACS_MAX)
		return true;
	for (u32 i = 0; i < n; i++) {
		if (memcmp(table[i], mac, 6) == 0)
			return true;
	}
	return false;
}

bool net_filter_accepts(const struct net_filter *f, const u8 *frame, u32 len)
{
	static const u8 broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	if (f->promisc)
		return true;
	if (!vlan_passes(f, frame, len))
		return false;
	if (memcmp(frame, broadcast, 6) == 0)
		return !f->nobcast;
	if (frame[0] & 1)
		return !f->nomulti && (f->allmulti || listed(f->multi, f->nmulti, frame));
	return !f->nouni &&
	       (f->alluni || memcmp(frame, f->mac, 6) == 0 || listed(f->uni, f->nuni, frame));
}
