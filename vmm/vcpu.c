// SPDX-License-Identifier: MIT
/*
 * vcpu.c - a thread per vCPU: KVM_RUN, serve the exit, again.
 *
 * How it works: `wanted` says what all vCPUs should be doing. A vCPU looks at it before each
 * KVM_RUN. To change it while a vCPU is inside KVM_RUN, or just about to enter, takes three steps
 * in this order (kick_all):
 *
 *	1. store `wanted`
 *	2. set the vCPU's immediate_exit: a KVM_RUN entered from now on returns at once
 *	3. send the thread a signal: a KVM_RUN entered before returns with EINTR
 *
 * A vCPU that missed 1 therefore meets 2 or 3; no order of events loses the wake-up. It clears
 * immediate_exit before it looks at `wanted`, so a later request can't be cleared by mistake.
 *
 * A pause has come about when all have parked: the last one tells the machine. What a vCPU was serving it
 * serves to the end first; that may take the main loop's help, which therefore never waits for a pause.
 *
 * The guest's clocks stand still meanwhile (arch_clock_hold()): they are read when all have parked and set
 * before the first one goes on.
 *
 * Threads: `lock` guards `ready`, `parked`, `failed`, and the changes of `wanted`. A vCPU's counters are
 * written by its own thread alone, with plain stores, and read by any.
 */
#include "vmm/vcpu.h"
#include "minivmm/arch.h"
#include "minivmm/bus.h"
#include "minivmm/log.h"
#include "minivmm/trace.h"
#include "vmm/kvm_stats.h"
#include "vmm/machine.h"

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define KICK_SIGNAL SIGRTMIN

/* A pause and a run alternate; after an end there is nothing but the exit. */
enum wanted { WANT_PAUSE, WANT_RUN, WANT_END, WANT_EXIT };

struct vcpu {
	struct vcpus *set;
	u32 id;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	pid_t tid;
	int stats_fd;	       /* KVM's statistics, if somebody may ask for them, or -1 */
	u64 exits[VCPU_EXITS]; /* written by its thread */
	struct trace_track *track;
};

struct vcpus {
	struct machine *m;
	u32 n;	     /* how many there are to be */
	u32 started; /* threads there are */

	pthread_mutex_t lock;
	pthread_cond_t changed; /* any of these */
	_Atomic enum wanted wanted;
	u32 ready;
	u32 parked;
	int failed; /* -errno of a vCPU that could not set itself up */

	/* Main loop's. */
	struct arch_clock clock; /* the guest's, while it is held */
	bool held;

	struct vcpu cpu[];
};

/* vCPU threads only have to be interrupted. */
static void on_kick(int sig)
{
	(void)sig;
}

static void set_immediate_exit(struct vcpu *c, u8 value)
{
	/* Shared with the kernel, hence no plain store. */
	__atomic_store_n(&c->run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

static int vcpu_init(struct vcpu *c)
{
	const struct vm *vm = &c->set->m->vm;
	void *run;

	c->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, (unsigned long)c->id);
	if (c->fd < 0) {
		int err = -errno;

		log_err("CPU %u: KVM can't make it: %s", c->id, strerror(-err));
		return err;
	}
	run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	if (run == MAP_FAILED) {
		int err = -errno;

		log_err("CPU %u: %s", c->id, strerror(-err));
		return err;
	}
	pthread_mutex_lock(&c->set->lock); /* kick_all() looks at it */
	c->run = run;
	pthread_mutex_unlock(&c->set->lock);
	if (c->set->m->cfg->control)
		c->stats_fd = kvm_stats_open(c->fd);
	return arch_vcpu_init(vm->kvm_fd, c->fd, c->id, c->set->n);
}

static void serve_pio(struct vcpu *c)
{
	struct kvm_run *run = c->run;
	u8 *data = (u8 *)run + run->io.data_offset;
	struct bus *pio = c->set->m->pio;

	for (u32 i = 0; i < run->io.count; i++, data += run->io.size) {
		u64 value = 0;

		if (run->io.direction == KVM_EXIT_IO_OUT) {
			memcpy(&value, data, run->io.size);
			bus_write(pio, run->io.port, run->io.size, value);
		} else {
			value = bus_read(pio, run->io.port, run->io.size);
			memcpy(data, &value, run->io.size);
		}
	}
}

static void serve_mmio(struct vcpu *c)
{
	struct kvm_run *run = c->run;
	struct bus *mmio = c->set->m->mmio;
	u64 value = 0;

	if (run->mmio.is_write) {
		memcpy(&value, run->mmio.data, sizeof(value));
		bus_write(mmio, run->mmio.phys_addr, run->mmio.len, value);
	} else {
		value = bus_read(mmio, run->mmio.phys_addr, run->mmio.len);
		memcpy(run->mmio.data, &value, sizeof(value));
	}
}

/* KVM's word for what PSCI and the like ask for; on x86 the guest uses our power device. */
static void serve_system_event(struct vcpu *c)
{
	struct machine *m = c->set->m;

	switch (c->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		machine_end(m, END_OFF);
		break;
	case KVM_SYSTEM_EVENT_RESET:
		machine_end(m, END_RESET);
		break;
	default:
		log_err("CPU %u: the guest reports that it crashed", c->id);
		machine_end(m, END_CRASHED);
	}
}

static void crash(struct vcpu *c)
{
	arch_vcpu_dump(c->fd, c->id, &c->set->m->mem);
	machine_end(c->set->m, END_CRASHED);
}

static void serve_internal_error(struct vcpu *c)
{
	const struct kvm_run *run = c->run;
	const char *what = run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION
				   ? "it can't emulate an instruction"
				   : "internal error";

	log_err("CPU %u: KVM gives up: %s (suberror %u)", c->id, what, run->internal.suberror);
	for (u32 i = 0; i < run->internal.ndata && i < ARRAY_SIZE(run->internal.data); i++)
		fprintf(stderr, "  data[%u] %016llx\n", i,
			(unsigned long long)run->internal.data[i]);
	crash(c);
}

static void count(struct vcpu *c, enum vcpu_exit exit)
{
	__atomic_store_n(&c->exits[exit], c->exits[exit] + 1, __ATOMIC_RELAXED);
}

static void serve_exit(struct vcpu *c)
{
	switch (c->run->exit_reason) {
	case KVM_EXIT_IO:
		count(c, c->run->io.direction == KVM_EXIT_IO_OUT ? VCPU_EXIT_PIO_WRITE
								 : VCPU_EXIT_PIO_READ);
		serve_pio(c);
		return;
	case KVM_EXIT_MMIO:
		count(c, c->run->mmio.is_write ? VCPU_EXIT_MMIO_WRITE : VCPU_EXIT_MMIO_READ);
		serve_mmio(c);
		return;
	case KVM_EXIT_INTR:
		count(c, VCPU_EXIT_SIGNAL);
		return;
	}
	count(c, VCPU_EXIT_OTHER);
	switch (c->run->exit_reason) {
	case KVM_EXIT_SYSTEM_EVENT:
		serve_system_event(c);
		break;
	case KVM_EXIT_SHUTDOWN:
		log_err("CPU %u: triple fault", c->id);
		crash(c);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		log_err("CPU %u: the processor refuses to enter the guest (reason %#llx)", c->id,
			(unsigned long long)c->run->fail_entry.hardware_entry_failure_reason);
		crash(c);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		serve_internal_error(c);
		break;
	default:
		log_err("CPU %u: unexpected exit %u from KVM", c->id, c->run->exit_reason);
		crash(c);
	}
}

/* An exit has been served, which came at `began`. What `run` says of it still stands there. */
static void trace_exit(struct vcpu *c, u64 began)
{
	const struct kvm_run *run = c->run;

	if (!began)
		return;
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		trace_end(c->track,
			  run->io.direction == KVM_EXIT_IO_OUT ? TRACE_PIO_WRITE : TRACE_PIO_READ,
			  began, run->io.port, run->io.size * run->io.count);
		break;
	case KVM_EXIT_MMIO:
		trace_end(c->track, run->mmio.is_write ? TRACE_MMIO_WRITE : TRACE_MMIO_READ, began,
			  run->mmio.phys_addr, run->mmio.len);
		break;
	case KVM_EXIT_INTR:
		trace_mark(c->track, TRACE_SIGNAL, 0, 0);
		break;
	default:
		trace_end(c->track, TRACE_OTHER, began, run->exit_reason, 0);
	}
}

/* Wait here while the set is to pause. */
static void park(struct vcpu *c)
{
	struct vcpus *v = c->set;
	u64 began = trace_begin(c->track);

	pthread_mutex_lock(&v->lock);
	if (++v->parked == v->n && v->wanted == WANT_PAUSE)
		machine_parked(v->m);
	while (v->wanted == WANT_PAUSE || v->wanted == WANT_END)
		pthread_cond_wait(&v->changed, &v->lock);
	v->parked--;
	pthread_mutex_unlock(&v->lock);
	trace_end(c->track, TRACE_PARK, began, 0, 0);
}

static void vcpu_loop(struct vcpu *c)
{
	for (;;) {
		enum wanted wanted;
		u64 began;

		/* Before the look at `wanted`: see the head of the file. */
		set_immediate_exit(c, 0);
		wanted = atomic_load(&c->set->wanted);
		if (wanted == WANT_EXIT)
			return;
		if (wanted != WANT_RUN) {
			park(c);
			continue;
		}
		if (ioctl(c->fd, KVM_RUN, 0) == 0) {
			began = trace_begin(c->track);
			serve_exit(c);
			trace_exit(c, began);
		} else if (errno == EINTR || errno == EAGAIN) {
			count(c, VCPU_EXIT_SIGNAL);
			trace_mark(c->track, TRACE_SIGNAL, 0, 0);
		} else {
			log_err("CPU %u: KVM_RUN: %s", c->id, strerror(errno));
			crash(c);
		}
	}
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *c = arg;
	struct vcpus *v = c->set;
	int err = vcpu_init(c);

	pthread_mutex_lock(&v->lock);
	if (err)
		v->failed = err;
	c->tid = gettid();
	v->ready++;
	pthread_cond_broadcast(&v->changed);
	pthread_mutex_unlock(&v->lock);
	if (!err)
		vcpu_loop(c);
	return NULL;
}

int vcpus_create(struct vcpus **out, struct machine *m)
{
	u32 n = m->cfg->cpus;
	struct vcpus *v = calloc(1, sizeof(*v) + n * sizeof(v->cpu[0]));
	struct sigaction sa = { .sa_handler = on_kick };

	if (!v)
		return -ENOMEM;
	sigaction(KICK_SIGNAL, &sa, NULL);
	v->m = m;
	v->n = n;
	v->wanted = WANT_PAUSE;
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->changed, NULL);
	for (u32 i = 0; i < n; i++)
		v->cpu[i] = (struct vcpu){
			.set = v, .id = i, .fd = -1, .stats_fd = -1, .track = &m->cpu_track[i]
		};
	for (u32 i = 0; i < n; i++) {
		struct vcpu *c = &v->cpu[i];
		char name[16];
		int err = pthread_create(&c->thread, NULL, vcpu_thread, c);

		if (err) {
			log_err("CPU %u: no thread for it: %s", i, strerror(err));
			vcpus_destroy(v);
			return -err;
		}
		v->started++;
		snprintf(name, sizeof(name), "vcpu%u", i);
		pthread_setname_np(c->thread, name);
	}
	*out = v;
	return 0;
}

/* See the head of the file. The lock is held; `wanted` is set. */
static void kick_all(struct vcpus *v)
{
	for (u32 i = 0; i < v->started; i++) {
		struct vcpu *c = &v->cpu[i];

		if (!c->run)
			continue; /* not yet set up: it will look at `wanted` */
		set_immediate_exit(c, 1);
		pthread_kill(c->thread, KICK_SIGNAL);
	}
}

static void want(struct vcpus *v, enum wanted wanted)
{
	bool over;

	pthread_mutex_lock(&v->lock);
	over = v->wanted >= WANT_END && wanted <= v->wanted;
	if (v->wanted != wanted && !over) {
		atomic_store(&v->wanted, wanted);
		if (wanted != WANT_RUN)
			kick_all(v);
		pthread_cond_broadcast(&v->changed);
	}
	pthread_mutex_unlock(&v->lock);
}

int vcpus_start(struct vcpus *v, const struct boot_entry *entry)
{
	int err;

	pthread_mutex_lock(&v->lock);
	while (v->ready < v->n)
		pthread_cond_wait(&v->changed, &v->lock);
	err = v->failed;
	pthread_mutex_unlock(&v->lock);
	return err ? err : arch_vcpu_boot(v->cpu[0].fd, entry);
}

void vcpus_request_pause(struct vcpus *v)
{
	want(v, WANT_PAUSE);
}

void vcpus_request_end(struct vcpus *v)
{
	want(v, WANT_END);
}

bool vcpus_hold(struct vcpus *v)
{
	bool parked;

	pthread_mutex_lock(&v->lock);
	parked = v->wanted == WANT_PAUSE && v->parked == v->n;
	pthread_mutex_unlock(&v->lock);
	if (parked && !v->held) {
		arch_clock_hold(v->m->vm.vm_fd, &v->clock);
		v->held = true;
	}
	return parked;
}

void vcpus_resume(struct vcpus *v)
{
	if (v->held) {
		arch_clock_go_on(&v->clock);
		for (u32 i = 0; i < v->n; i++)
			arch_vcpu_clock_release(v->cpu[i].fd, &v->clock);
		arch_clock_release(v->m->vm.vm_fd, &v->clock);
		v->held = false;
	}
	want(v, WANT_RUN);
}

void vcpus_stats(const struct vcpus *v, u32 i, struct vcpu_stats *s)
{
	const struct vcpu *c = &v->cpu[i];

	s->tid = c->tid;
	for (u32 r = 0; r < VCPU_EXITS; r++)
		s->exits[r] = __atomic_load_n(&c->exits[r], __ATOMIC_RELAXED);
}

int vcpus_stats_fd(const struct vcpus *v, u32 i)
{
	return v->cpu[i].stats_fd;
}

void vcpus_destroy(struct vcpus *v)
{
	if (!v)
		return;
	want(v, WANT_EXIT);
	for (u32 i = 0; i < v->started; i++)
		pthread_join(v->cpu[i].thread, NULL);
	for (u32 i = 0; i < v->n; i++) {
		if (v->cpu[i].run)
			munmap(v->cpu[i].run, v->m->vm.run_size);
		if (v->cpu[i].stats_fd >= 0)
			close(v->cpu[i].stats_fd);
		if (v->cpu[i].fd >= 0)
			close(v->cpu[i].fd);
	}
	pthread_cond_destroy(&v->changed);
	pthread_mutex_destroy(&v->lock);
	free(v);
}
