/* SPDX-License-Identifier: MIT */
/*
 * fake_back_end.h - a vhost-user back end in a thread: it serves queues as the device of tests/lib/echo.h
 * does, keeps count of what it is asked, and misbehaves on demand.
 *
 *	static struct back_end be;
 *
 *	be_begin(&be);		offers all that it can; change be.features and so on before be_listen()
 *	be_listen(&be);
 *	... a device with socket=be.path ...
 *	be_end(&be);
 */
#ifndef TESTS_UNIT_FAKE_BACK_END_H
#define TESTS_UNIT_FAKE_BACK_END_H

#include "devices/datapath/vhost_user_msg.h"
#include "minivmm/devices.h"
#include "minivmm/mem.h"
#include "minivmm/mem_log.h"
#include "minivmm/vq.h"

#include <pthread.h>

#define BE_QUEUES     4
#define BE_REQUESTS   64
#define BE_P(name)    (1ULL << VHOST_USER_PROTOCOL_F_##name)
#define BE_HELD_MAX   64
#define BE_GOT_MAX    256
#define BE_LIE_BEHIND 0x55

/* What it does instead of answering be.bad_request. */
enum be_bad {
	BE_GOOD,
	BE_SILENT,
	BE_CLOSE,
	BE_SHORT,	  /* a payload that lacks a byte */
	BE_LONG,	  /* a byte more than there can be */
	BE_OTHER_REQUEST, /* the answer to another one */
	BE_NO_FLAG,	  /* without the reply flag */
	BE_VERSION,	  /* of another version */
	BE_MANY_FDS,	  /* with 9 descriptors */
	BE_AN_FD,	  /* with one */
	BE_HALF,	  /* half a header, and then the end */
	BE_REFUSE,	  /* the acknowledgement says no */
	BE_BAD_COUNT
};

/* Which chains it keeps. */
enum be_hold {
	BE_HOLD_NONE, /* from the next kick on, also those kept so far are given back */
	BE_HOLD_ALL,
	BE_HOLD_EVEN, /* whose first byte is even */
};

/* What it uses that it was not given. */
enum be_lie {
	BE_LIE_NONE,
	BE_LIE_IDLE,  /* a head that is not in flight */
	BE_LIE_RANGE, /* a head that no ring has */
	BE_LIE_TWICE, /* the one used last */
	BE_LIE_INDEX, /* a used index that is far ahead */
};

struct be_ring {
	u32 num, base;
	u64 desc, avail, used, log;
	u32 flags;
	int kick, call;
	bool enabled, running;
	u16 last; /* the head used last */
	struct vq vq;
	/* Chains taken and not given back, while be.hold. */
	struct {
		struct vq_chain chain;
		struct iovec iov[4];
	} held[BE_HELD_MAX];
	u32 nheld;
};

struct back_end {
	/* Before be_listen(). */
	char path[64];
	u64 features, protocol;
	u64 queue_num, mem_slots;
	u8 config[VHOST_USER_CONFIG_MAX];
	u32 config_len;
	struct vhost_user_inflight record_lie; /* added to where the record is said to be */

	/* At any time, atomically. */
	u32 bad; /* enum be_bad */
	u32 bad_request;
	u32 bad_times; /* once it is not 0 it is counted down, and then be.bad ends */
	u32 hold;      /* enum be_hold */
	u32 lie; /* enum be_lie, told once, in queue 0 behind the chain that begins with BE_LIE_BEHIND */
	u32 base_off;	       /* added to what GET_VRING_BASE says */
	u32 ngot;	       /* chains got from queue 0 since be_listen() */
	u32 got[BE_GOT_MAX];   /* their first bytes, in that order */
	u32 seen[BE_REQUESTS]; /* how often each request came */
	u32 forgot;	       /* chains that it had when it was asked to stop */
	u32 connections;
	u64 accepted;	/* features of SET_FEATURES */
	u64 agreed;	/* protocol features of SET_PROTOCOL_FEATURES */
	u32 last_base;	/* of SET_VRING_BASE, queue 0 */
	u32 addr_flags; /* of SET_VRING_ADDR, queue 0 */
	u32 enabled;	/* bit i: queue i is */
	u32 late;	/* how often a ring that had been started was enabled only then */
	u32 mtu;	/* of NET_SET_MTU */
	u64 rarp;	/* of SEND_RARP */
	u32 status;

	/* The thread's. */
	u32 fds;
	pthread_t thread;
	bool runs;
	int listener, sock, channel, stop;
	int record; /* a file that stays over connections, as the front end's does */
	u64 user[MEM_REGIONS_MAX];
	struct mem mem;
	struct mem_log log;
	struct be_ring ring[BE_QUEUES];
};

void be_begin(struct back_end *be);
void be_listen(struct back_end *be);
/* Ends the thread, and with it the connection. The socket's file stays. */
void be_end(struct back_end *be);

/* Tell the front end, on the channel of its own, that config[0] is `value` now. */
void be_change_config(struct back_end *be, u8 value);

/* Offer the page of `area` in `fd` (-1: none) as a host notifier. The answer is be_answer()'s. */
void be_offer_page(struct back_end *be, const struct vhost_user_area *area, int fd);
/* What the front end has answered on that channel. */
u64 be_answer(struct back_end *be);

static inline u32 be_seen(struct back_end *be, u32 request)
{
	return __atomic_load_n(&be->seen[request], __ATOMIC_SEQ_CST);
}

static inline u32 be_get(const u32 *field)
{
	return __atomic_load_n(field, __ATOMIC_SEQ_CST);
}

static inline void be_set(u32 *field, u32 value)
{
	__atomic_store_n(field, value, __ATOMIC_SEQ_CST);
}

/* It, as a process that the front end starts by itself. */
struct be_process {
	struct vhost_user_process process;
	struct back_end *be;
	u32 ended; /* how often */
};

void be_process_init(struct be_process *p, struct back_end *be);

#endif
