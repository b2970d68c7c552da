/* SPDX-License-Identifier: MIT */
/*
 * notify.pml - notification suppression in both directions of a virtqueue: no wake-up is lost, and no buffer
 * is served twice or dropped. VIRTIO 1.2, 2.7.7 to 2.7.10. Checked by spin, in tests/model/run.
 *
 *	driver	makes a buffer available ── barrier ── kick, if the device wants it
 *	device	serves; when there is nothing left: wants kicks ── barrier ── is there something after all?
 *		publishes what is used ── barrier ── calls, if the driver wants it
 *	driver	takes what is used; before it sleeps: wants calls ── barrier ── is there something after all?
 *
 * Memory is that of a processor with store buffers (x86-TSO): what a side writes the other sees some time
 * later, in order. A barrier waits until it has. Each side's index and wish are one word apart in the same
 * buffer, which holds at most two stores.
 *
 * A lost wake-up shows as a deadlock: the driver waits for a buffer and nobody is going to do anything.
 *
 * The code: vq_disarm(), vq_rearm(), vq_publish() in devices/virtio/vq_split.c and vq_packed.c; kick_ready() in
 * devices/datapath/inproc.c. Bugs to be found, one by one: BUG_NO_BARRIER_KICK, BUG_NO_BARRIER_CALL,
 * BUG_NO_RECHECK, BUG_REARM_BEFORE_PUBLISH (publishes after it went to sleep), BUG_SERVE_TWICE.
 */
#define RING	2
#define BUFFERS 4

/* Shared memory: four words. */
#define AVAIL	  0
#define WANT_CALL 1
#define USED	  2
#define NO_KICK	  3 /* the driver need not kick: at first it shall */
byte mem[4];

/* The stores that are not in memory yet: (word, value). */
chan store[2] = [2] of { byte, byte };
#define DRIVER 0
#define DEVICE 1

bool kick, call; /* eventfd and interrupt: they stay until they are taken */
byte served[BUFFERS];

/* Stores trickle into memory. */
active [2] proctype memory()
{
	byte word, value;

end:	do
	:: atomic { store[_pid]?word, value -> mem[word] = value }
	od
}

#define barrier(side) (empty(store[side]))

active proctype driver()
{
	byte posted, taken; /* free-running */

	do
	:: posted < BUFFERS && posted - taken < RING ->
		posted++;
		store[DRIVER]!AVAIL, posted;
#ifndef BUG_NO_BARRIER_KICK
		barrier(DRIVER);
#endif
		if
		:: !mem[NO_KICK] -> kick = true
		:: else
		fi
	:: taken < mem[USED] ->
		assert(served[taken] == 1);
		taken++
	:: (posted == BUFFERS || posted - taken == RING) && taken == mem[USED] && taken < BUFFERS ->
		store[DRIVER]!WANT_CALL, true; /* to sleep */
#ifndef BUG_NO_BARRIER_CALL
		barrier(DRIVER);
#endif
		if
		:: taken == mem[USED] -> call; call = false
		:: else
		fi;
		store[DRIVER]!WANT_CALL, false
	:: taken == BUFFERS -> break
	od
}

active proctype device()
{
	byte got, published;

end:	do
	:: atomic { kick -> kick = false };
		store[DEVICE]!NO_KICK, true;
again:		do
		:: got < mem[AVAIL] ->
			served[got]++;
			assert(served[got] == 1);
#ifdef BUG_SERVE_TWICE
			if
			:: true
			:: got++
			fi
#else
			got++
#endif
		:: got - published > 0 ->
#ifdef BUG_REARM_BEFORE_PUBLISH
			goto rearm;
#endif
publish:		published = got;
			store[DEVICE]!USED, published;
			barrier(DEVICE);
			if
			:: mem[WANT_CALL] -> call = true
			:: else
			fi
		:: got == mem[AVAIL] && got == published -> break
		od;
rearm:		store[DEVICE]!NO_KICK, false;
		barrier(DEVICE);
#ifndef BUG_NO_RECHECK
		if
		:: got < mem[AVAIL] -> store[DEVICE]!NO_KICK, true; goto again
		:: else
		fi
#endif
	od
}
