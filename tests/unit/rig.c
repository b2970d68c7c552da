// SPDX-License-Identifier: MIT
/*
 * rig.c - a machine without KVM, and stand-in files. See unit.h.
 */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define SETTLE_TURNS 4 /* no chain of events in minivmm is longer */

void unit_skip(const char *file, const char *func, const char *reason)
{
	int len = strlen(func);

	if (len > 3 && strcmp(func + len - 3, "_fn") == 0)
		len -= 3; /* libcheck's suffix */
	printf("SKIP %s:%.*s: %s\n", file, len, func, reason);
	fflush(stdout);
}

u32 open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	u32 n = 0;

	ck_assert_ptr_nonnull(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

bool allow_fds(u32 n)
{
	struct rlimit files;

	getrlimit(RLIMIT_NOFILE, &files);
	if (files.rlim_cur >= n)
		return true;
	files.rlim_cur = n;
	return n <= files.rlim_max && setrlimit(RLIMIT_NOFILE, &files) == 0;
}

void limit_fds(u32 n)
{
	struct rlimit files;
	int next;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = files.rlim_max;
	if (n) {
		next = dup(STDIN_FILENO);
		ck_assert_int_ge(next, 0);
		close(next);
		files.rlim_cur = next + n;
	}
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
}

int temp_file(const void *content, u64 len, char *path)
{
	int fd = memfd_create("unit", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, len), 0);
	ck_assert_int_eq(pwrite(fd, content, len, 0), len);
	if (path)
		sprintf(path, "/proc/self/fd/%d", fd);
	return fd;
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	ck_assert_int_eq(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

const char *own_network(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		return "no network namespace of our own: root is needed";
	/* No router solicitations among our frames. */
	write_file("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
	write_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
	return NULL;
}

static int saved_stdio[2] = { -1, -1 };

static void put_stdio(int to, int fd)
{
	if (fd < 0)
		close(to);
	else
		ck_assert_int_eq(dup2(fd, to), to);
}

void stdio_begin(int in, int out)
{
	fflush(stdout);
	saved_stdio[0] = dup(STDIN_FILENO);
	saved_stdio[1] = dup(STDOUT_FILENO);
	put_stdio(STDIN_FILENO, in);
	put_stdio(STDOUT_FILENO, out);
}

void stdio_end(void)
{
	for (int i = 0; i < 2; i++) {
		put_stdio(i, saved_stdio[i]);
		if (saved_stdio[i] >= 0)
			close(saved_stdio[i]);
		saved_stdio[i] = -1;
	}
}

static int fake_line(void *ctx, u32 gsi, bool level)
{
	struct fake_vm *vm = ctx;

	pthread_mutex_lock(&vm->lock);
	vm->level[gsi] = level;
	vm->edges++;
	pthread_mutex_unlock(&vm->lock);
	return 0;
}

/* Take the signals that wait for listener i, and send its message; the lock is held. */
static void pump_one(struct fake_vm *vm, u32 i)
{
	eventfd_t n;

	if (eventfd_read(vm->listener[i].fd, &n) < 0)
		return;
	for (u32 r = 0; r < vm->nroutes; r++) {
		if (vm->gsi[r] != vm->listener[i].gsi)
			continue;
		ck_assert_uint_lt(vm->nsent, FAKE_VM_SENT);
		vm->sent[vm->nsent++] = vm->msg[r];
		return;
	}
	vm->unrouted++;
}

static void pump(struct fake_vm *vm)
{
	for (u32 i = 0; i < vm->nlisteners; i++)
		pump_one(vm, i);
}

static int fake_routes(void *ctx, const u32 *gsi, const struct msi_msg *msg, u32 n)
{
	struct fake_vm *vm = ctx;
	int err;

	pthread_mutex_lock(&vm->lock);
	pump(vm);
	vm->route_calls++;
	err = vm->fail_routes;
	vm->fail_routes = 0;
	if (!err) {
		memcpy(vm->gsi, gsi, n * sizeof(*gsi));
		memcpy(vm->msg, msg, n * sizeof(*msg));
		vm->nroutes = n;
	}
	pthread_mutex_unlock(&vm->lock);
	return err;
}

static int fake_irqfd(void *ctx, u32 gsi, int fd, bool on)
{
	struct fake_vm *vm = ctx;
	int err;

	pthread_mutex_lock(&vm->lock);
	pump(vm);
	err = vm->fail_irqfd;
	vm->fail_irqfd = 0;
	if (!err && on) {
		ck_assert_uint_lt(vm->nlisteners, FAKE_VM_LISTENERS);
		vm->listener[vm->nlisteners].gsi = gsi;
		vm->listener[vm->nlisteners++].fd = fd;
		pump_one(vm, vm->nlisteners - 1);
	} else if (!err) {
		u32 i = 0;

		while (i < vm->nlisteners &&
		       (vm->listener[i].gsi != gsi || vm->listener[i].fd != fd))
			i++;
		ck_assert_uint_lt(i, vm->nlisteners);
		vm->listener[i] = vm->listener[--vm->nlisteners];
	}
	pthread_mutex_unlock(&vm->lock);
	return err;
}

const struct irqchip_ops fake_vm_ops = {
	.line = fake_line,
	.routes = fake_routes,
	.irqfd = fake_irqfd,
};

static int fake_map(void *ctx, u32 slot, u64 gpa, void *host)
{
	struct fake_vm *vm = ctx;
	int err;

	ck_assert_uint_lt(slot, FAKE_VM_PAGES);
	ck_assert_uint_eq(gpa % PAGE_SIZE, 0);
	pthread_mutex_lock(&vm->lock);
	err = host ? vm->fail_pages : 0;
	ck_assert(!host !=
		  !vm->page[slot].host); /* one that is there goes, one that is not comes */
	if (!host)
		ck_assert_uint_eq(vm->page[slot].gpa, gpa);
	if (!err) {
		vm->page[slot].gpa = gpa;
		vm->page[slot].host = host;
	}
	vm->page_calls++;
	pthread_mutex_unlock(&vm->lock);
	return err;
}

const struct bus_map_ops fake_map_ops = { .map = fake_map };

void *fake_vm_page(struct fake_vm *vm, u64 gpa)
{
	void *host = NULL;

	pthread_mutex_lock(&vm->lock);
	for (u32 i = 0; i < FAKE_VM_PAGES; i++) {
		if (vm->page[i].host && vm->page[i].gpa == gpa)
			host = vm->page[i].host;
	}
	pthread_mutex_unlock(&vm->lock);
	return host;
}

u32 fake_vm_pages(struct fake_vm *vm)
{
	u32 n = 0;

	pthread_mutex_lock(&vm->lock);
	for (u32 i = 0; i < FAKE_VM_PAGES; i++)
		n += vm->page[i].host != NULL;
	pthread_mutex_unlock(&vm->lock);
	return n;
}

u32 fake_vm_count(struct fake_vm *vm, u64 addr, u32 data)
{
	u32 n = 0, kept = 0;

	pthread_mutex_lock(&vm->lock);
	pump(vm);
	for (u32 i = 0; i < vm->nsent; i++) {
		if (vm->sent[i].addr == addr && vm->sent[i].data == data)
			n++;
		else
			vm->sent[kept++] = vm->sent[i];
	}
	vm->nsent = kept;
	pthread_mutex_unlock(&vm->lock);
	return n;
}

u32 fake_vm_total(struct fake_vm *vm)
{
	u32 n;

	pthread_mutex_lock(&vm->lock);
	pump(vm);
	n = vm->nsent;
	vm->nsent = 0;
	pthread_mutex_unlock(&vm->lock);
	return n;
}

static void power_asked(struct power *p, enum power_event event)
{
	struct rig *r = container_of(p, struct rig, power);

	if (event == POWER_OFF)
		r->power_offs++;
	else
		r->power_resets++;
}

void rig_init(struct rig *r)
{
	u32 fds = open_fds();

	memset(r, 0, sizeof(*r));
	r->fds = fds;
	r->power.request = power_asked;
	pthread_mutex_init(&r->vm.lock, NULL);
	mem_init(&r->mem);
	r->env.mem = &r->mem;
	r->env.power = &r->power;
	ck_assert_int_eq(bus_create(&r->env.pio, BUS_PIO), 0);
	ck_assert_int_eq(bus_create(&r->env.mmio, BUS_MMIO), 0);
	ck_assert_int_eq(irqchip_create(&r->env.irqchip), 0);
	ck_assert_int_eq(loop_create(&r->env.loop), 0);
	r->env.io_loop = &r->env.loop;
	r->env.nio_loops = 1;
	irqchip_attach(r->env.irqchip, &fake_vm_ops, &r->vm);
	bus_attach_map(r->env.mmio, &fake_map_ops, &r->vm);
}

void rig_free(struct rig *r)
{
	ck_assert_uint_eq(r->vm.nlisteners, 0);
	ck_assert_uint_eq(fake_vm_pages(&r->vm), 0);
	loop_destroy(r->env.loop);
	irqchip_destroy(r->env.irqchip);
	bus_destroy(r->env.pio);
	bus_destroy(r->env.mmio);
	mem_destroy(&r->mem);
	pthread_mutex_destroy(&r->vm.lock);
	ck_assert_uint_eq(open_fds(), r->fds);
	memset(r, 0, sizeof(*r)); /* no pointer in here may hide a leak */
}

struct stopper {
	struct loop_fd lf;
	struct loop *loop;
	u32 turns;
};

static void stopper_ready(struct loop_fd *lf, u32 events)
{
	struct stopper *s = container_of(lf, struct stopper, lf);

	(void)events;
	if (++s->turns == SETTLE_TURNS)
		loop_quit(s->loop);
}

void loop_settle(struct loop *l)
{
	struct stopper s = { .loop = l,
			     .lf = { .fd = eventfd(1, EFD_CLOEXEC), .ready = stopper_ready } };

	ck_assert_int_eq(loop_add(l, &s.lf, EPOLLIN), 0);
	loop_run(l);
	loop_del(l, &s.lf);
	close(s.lf.fd);
}

u32 inb(struct rig *r, u64 port)
{
	return bus_read(r->env.pio, port, 1);
}

void outb(struct rig *r, u64 port, u8 value)
{
	bus_write(r->env.pio, port, 1, value);
}
