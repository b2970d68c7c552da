/* SPDX-License-Identifier: MIT */
/*
 * switch.pml - the hand-over of a ring from one data path to another, at any step of driver and paths, also
 * rolled back: no kick and no interrupt is lost, no buffer is served twice. Checked by spin, in tests/model/run.
 *
 *	switcher	stop(old) ─> position ─> start(next), or if that fails start(old) ─> nudge: kick and call
 *	path		waits for kicks ─> serves ─> waits ...; can be stopped wherever nothing is in flight
 *
 * The two paths differ as ours do. The in-process one (0) serves as soon as it is started; the other (1), a worker
 * elsewhere, waits for a kick first, and does not look before. Either may have read the kick eventfd when it is
 * stopped, and not have served; either may be stopped between publishing a buffer and calling the driver.
 *
 * Memory is in order here: notify.pml is about that. A lost wake-up shows as a deadlock.
 *
 * The code: virtio_switch_path() in devices/virtio/virtio_path.c; start and stop of devices/datapath/ *.c. Bugs to be
 * found, one by one: BUG_NO_NUDGE, BUG_BASE_RESET (the next path begins at 0), BUG_NO_NUDGE_ON_ROLLBACK,
 * BUG_STOP_IN_FLIGHT (stop gives the position before what is in flight, which then still is served).
 */
#define RING	 2
#define BUFFERS	 3
#define SWITCHES 3

byte avail, used;		 /* free-running */
bool want_kick = true, want_call; /* in the ring: they stay as the last one left them */
bool kick, call;
byte served[BUFFERS];

chan start[2] = [0] of { byte };
chan stop[2] = [0] of { bool };
chan stopped[2] = [0] of { byte };

active proctype driver()
{
	byte taken;

	do
	:: avail < BUFFERS && avail - taken < RING ->
		avail++;
		if
		:: want_kick -> kick = true
		:: else
		fi
	:: taken < used -> taken++
	:: (avail == BUFFERS || avail - taken == RING) && taken == used && taken < BUFFERS ->
		want_call = true;
		do /* until there is something: an interrupt too many does no harm */
		:: taken == used -> call; call = false
		:: else -> break
		od;
		want_call = false
	:: taken == BUFFERS -> break
	od
}

proctype path(byte me)
{
	byte next;

end:	start[me]?next;
	if
	:: me == 0 -> goto serve
	:: me == 1
	fi;
end_sleep:
	if
	:: atomic { kick -> kick = false }
	:: stop[me]?_ -> goto out
	fi;
	if /* the kick is read, nothing is served yet */
	:: stop[me]?_ -> goto out
	:: skip
	fi;
serve:	want_kick = false;
	do
	:: next < avail ->
#ifdef BUG_STOP_IN_FLIGHT
		if
		:: stop[me]?_ ->
			stopped[me]!next;
			served[next]++;
			assert(served[next] == 1);
			used = next + 1;
			goto end
		:: skip
		fi;
#endif
		served[next]++;
		assert(served[next] == 1);
		next++;
		used = next;
		if
		:: stop[me]?_ -> goto out /* before the call */
		:: skip
		fi;
		if
		:: want_call -> call = true
		:: else
		fi
	:: stop[me]?_ -> goto out
	:: next == avail -> break
	od;
	want_kick = true;
	if
	:: next < avail -> goto serve
	:: else -> goto end_sleep
	fi;
out:	stopped[me]!next;
	goto end
}

active proctype switcher()
{
	byte old, next, n, pos;

	atomic {
		run path(0);
		run path(1)
	};
	start[0]!0;
	do
	:: n < SWITCHES ->
		n++;
		next = 1 - old;
		stop[old]!true;
		stopped[old]?pos;
#ifdef BUG_BASE_RESET
		pos = 0;
#endif
		if
		:: start[next]!pos; old = next
		:: start[old]!pos; /* the next one could not start */
#ifdef BUG_NO_NUDGE_ON_ROLLBACK
			goto done
#endif
		fi;
#ifndef BUG_NO_NUDGE
		kick = true;
		call = true;
#endif
#ifdef BUG_NO_NUDGE_ON_ROLLBACK
done:		skip
#endif
	:: true -> break
	od
}
