// SPDX-License-Identifier: MIT
/*
 * test_vhost_user_notify.c - host notifiers: pages of a vhost-user back end's in the place of doorbells. Where the
 * page appears, when it goes, which are refused; and what KVM makes of it.
 */
#include "tests/unit/vhost_user_front.h"
#include "vmm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/pci_regs.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define FILE_PAGES 4
#define NOTIFIERS  (BE_P(HOST_NOTIFIER) | BE_P(BACKEND_SEND_FD))

static int file;

/* fe_begin() was before. The file is closed in end(). */
static void with_notifiers(bool pages)
{
	fe.d.options.pages = pages;
	fe.be.protocol |= NOTIFIERS;
	file = memfd_create("doorbells", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ck_assert_int_eq(ftruncate(file, FILE_PAGES * PAGE_SIZE), 0);
}

/* `mode` is transport and ring format. */
static void start(int mode, bool pages)
{
	fe_begin(mode);
	with_notifiers(pages);
	fe.be.protocol |= BE_P(INFLIGHT_SHMFD);
	fe_start();
}

static void end(void)
{
	close(file);
	fe_end();
}

static u64 offer_area(const struct vhost_user_area *a, int fd)
{
	be_offer_page(&fe.be, a, fd);
	vdrv_settle(&fe.d);
	return be_answer(&fe.be);
}

/* Page `page` of the file for queue `q`. */
static void offer(u32 q, u32 page)
{
	const struct vhost_user_area a = { q, PAGE_SIZE, page * PAGE_SIZE };

	ck_assert_uint_eq(offer_area(&a, file), 0);
}

static void expect_pages(u32 n)
{
	ck_assert_uint_eq(fake_vm_pages(&fe.d.rig->r.vm), n);
}

/* What the guest writes to queue `q`'s doorbell is in this page of the file. */
static void expect_page(u32 q, u32 page)
{
	u16 *there = fake_vm_page(&fe.d.rig->r.vm, fe.d.q[q].doorbell), value = 0;
	static u16 written = 0x1234;

	ck_assert_ptr_nonnull(there);
	*there = ++written;
	ck_assert_int_eq(pread(file, &value, sizeof(value), page * PAGE_SIZE), sizeof(value));
	ck_assert_uint_eq(value, written);
}

/* PCI: the first two buses, with both ring formats. */
#define PCI_MODES 4
static int pci_mode(int i)
{
	return i % 2 + i / 2 * VDRV_BUSES;
}

START_TEST(the_page_is_where_the_doorbell_is)
{
	start(pci_mode(_i), true);
	ck_assert_uint_eq(fe.be.agreed & NOTIFIERS, NOTIFIERS);
	ck_assert_uint_eq(fe.d.notify_mul, PAGE_SIZE);
	ck_assert_uint_eq(fe.d.q[1].doorbell - fe.d.q[0].doorbell, PAGE_SIZE);
	fe_request(0, 1);
	expect_pages(0);
	offer(1, 2);
	expect_pages(1);
	expect_page(1, 2);
	offer(0, 3);
	expect_page(0, 3);
	expect_page(1, 2);
	offer(0, 1); /* another one */
	expect_pages(2);
	expect_page(0, 1);
	expect_silence();
	end();
}

START_TEST(it_moves_with_the_bar_and_goes_with_memory_decoding)
{
	u32 command;
	u64 was;

	start(pci_mode(_i), true);
	offer(0, 0);
	command = cf8_get(fe.d.rig, fe.d.slot, PCI_COMMAND, 2);
	cf8_set(fe.d.rig, fe.d.slot, PCI_COMMAND, 2, command & ~PCI_COMMAND_MEMORY);
	expect_pages(0);
	was = cf8_get(fe.d.rig, fe.d.slot, PCI_BASE_ADDRESS_0, 4) & ~0xfU;
	cf8_set(fe.d.rig, fe.d.slot, PCI_BASE_ADDRESS_0, 4, was + 0x1000000);
	expect_pages(0);
	cf8_set(fe.d.rig, fe.d.slot, PCI_COMMAND, 2, command);
	fe.d.q[0].doorbell += 0x1000000;
	expect_pages(1);
	expect_page(0, 0);
	end();
}

START_TEST(it_goes_when_the_back_end_says_so)
{
	const struct vhost_user_area none = { 0 | VHOST_USER_VRING_NOFD, 0, 0 };

	start(pci_mode(_i), true);
	offer(0, 0);
	offer(1, 1);
	ck_assert_uint_eq(offer_area(&none, -1), 0);
	expect_pages(1);
	expect_page(1, 1);
	fe_request(0, 2); /* by the eventfd again */
	ck_assert_uint_eq(offer_area(&none, -1), 0);
	end();
}

START_TEST(it_goes_with_the_back_end)
{
	start(pci_mode(_i), true);
	offer(0, 0);
	be_end(&fe.be);
	fe_wait_until(!fake_vm_pages(&fe.d.rig->r.vm));
	be_listen(&fe.be);
	fe_request(0, 3);
	expect_pages(0); /* the next one has to offer its own */
	offer(0, 3);
	expect_page(0, 3);
	said_forget();
	end();
}

START_TEST(it_goes_when_the_ring_stops)
{
	start(pci_mode(_i), true);
	offer(0, 0);
	virtio_pause(fe.d.v);
	expect_pages(0);
	offer(0, 1); /* it waits */
	expect_pages(0);
	virtio_resume(fe.d.v);
	expect_pages(1);
	expect_page(0, 1);
	vdrv_start(&fe.d, ~0ULL); /* a reset */
	expect_pages(0);
	fe_request(0, 4);
	offer(0, 2);
	vdrv_reset(&fe.d);
	offer(1, 2);
	expect_pages(0);
	vdrv_start(&fe.d, ~0ULL);
	expect_pages(1);
	expect_page(1, 2);
	end();
}

START_TEST(a_machine_that_refuses_it_goes_on_by_the_doorbell)
{
	start(pci_mode(_i), true);
	fe.d.rig->r.vm.fail_pages = -EEXIST;
	offer(0, 0);
	expect_pages(0);
	fe_request(0, 5);
	fe.d.rig->r.vm.fail_pages = 0;
	end();
}

START_TEST(nonsense_is_refused)
{
	const struct {
		struct vhost_user_area a;
		bool fd;
	} bad[] = {
		{ { 2, PAGE_SIZE, 0 }, true }, /* no such queue */
		{ { 255, PAGE_SIZE, 0 }, true },
		{ { 0x200, PAGE_SIZE, 0 }, true }, /* no such flag */
		{ { 1ULL << 32, PAGE_SIZE, 0 }, true },
		{ { 0, PAGE_SIZE, 0 }, false }, /* no descriptor */
		{ { 0 | VHOST_USER_VRING_NOFD, PAGE_SIZE, 0 }, true },
		{ { 0, 2 * PAGE_SIZE, 0 }, true }, /* no page */
		{ { 0, PAGE_SIZE - 1, 0 }, true },
		{ { 0, 0, 0 }, true },
		{ { 0, PAGE_SIZE, 2 }, true },
		{ { 0, PAGE_SIZE, FILE_PAGES * PAGE_SIZE }, true }, /* not in the file */
		{ { 0, PAGE_SIZE, ~0ULL - PAGE_SIZE + 1 }, true },
		{ { 0, PAGE_SIZE, 1ULL << 63 }, true },
	};
	const struct vhost_user_area good = { 0, PAGE_SIZE, 0 };
	int unsealed, pipes[2];

	start(pci_mode(_i), true);
	unsealed = memfd_create("cut", MFD_CLOEXEC);
	ck_assert_int_eq(pipe(pipes), 0);
	ck_assert_int_eq(ftruncate(unsealed, PAGE_SIZE), 0);
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_uint_ne(offer_area(&bad[i].a, bad[i].fd ? file : -1), 0);
	ck_assert_uint_ne(offer_area(&good, pipes[0]), 0);
	ck_assert_uint_ne(offer_area(&good, unsealed), 0); /* it could be cut short */
	expect_pages(0);
	fe_request(0, 6);
	offer(0, 0);
	ck_assert_uint_ne(offer_area(&bad[0].a, file), 0);
	expect_page(0, 0); /* that has done it no harm */
	ck_assert_int_eq(ftruncate(file, 0), -1);
	close(unsealed);
	close(pipes[0]);
	close(pipes[1]);
	end();
}

/* ---- where there is no such thing ---- */

static void expect_none(void)
{
	const struct vhost_user_area good = { 0, PAGE_SIZE, 0 };

	ck_assert_uint_ne(offer_area(&good, file), 0);
	expect_pages(0);
	fe_request(0, 7);
	fe_request(1, 8);
	end();
}

START_TEST(it_is_not_agreed_on_where_there_are_no_pages)
{
	start(_i, false);
	ck_assert_uint_eq(fe.be.agreed & NOTIFIERS, 0);
	ck_assert_uint_eq(fe.d.notify_mul, _i == VDRV_MMIO ? 0 : 4);
	expect_none();
}

START_TEST(the_relay_has_to_see_the_kicks)
{
	fe_begin_disk(_i);
	with_notifiers(true);
	fe_start();
	said_forget();
	expect_none();
}

/* ---- the bus ---- */

static const struct bus_ops no_ops;

START_TEST(pages_of_a_range)
{
	struct bus_range r = { .name = "r", .ops = &no_ops, .base = 0x10000, .len = 0x4000 };
	static u8 page[PAGE_SIZE] __attribute__((aligned(4096)));
	struct fake_vm *vm;
	struct bus *b;
	struct rig rig;

	rig_init(&rig);
	b = rig.env.mmio;
	vm = &rig.vm;
	ck_assert_int_eq(bus_page_set(b, &r, 0x800, page), -EINVAL);
	ck_assert_int_eq(bus_page_set(b, &r, 0x4000, page), -EINVAL);
	ck_assert_int_eq(bus_page_set(b, &r, 0x1000, page), 0); /* not on it yet */
	ck_assert_uint_eq(fake_vm_pages(vm), 0);
	ck_assert_int_eq(bus_add(b, &r), 0);
	ck_assert_ptr_eq(fake_vm_page(vm, 0x11000), page);
	bus_attach_map(b, NULL, NULL);
	ck_assert_uint_eq(fake_vm_pages(vm), 0);
	ck_assert_int_eq(bus_page_set(b, &r, 0x3000, page), 0);
	bus_attach_map(b, &fake_map_ops, vm);
	ck_assert_uint_eq(fake_vm_pages(vm), 2);
	bus_del(&r);
	ck_assert_uint_eq(fake_vm_pages(vm), 0);
	r.base = 0x20800; /* where KVM can't have it */
	ck_assert_int_eq(bus_add(b, &r), 0);
	ck_assert_uint_eq(fake_vm_pages(vm), 0);
	bus_del(&r);
	r.base = 0x30000;
	for (u32 i = 0; i < 100; i++) { /* slots are used again */
		ck_assert_int_eq(bus_add(b, &r), 0);
		ck_assert_int_eq(bus_page_set(b, &r, 0x1000, i % 2 ? page : NULL), 0);
		ck_assert_uint_eq(fake_vm_pages(vm), 1 + i % 2);
		bus_del(&r);
	}
	bus_range_free(&r);
	rig_free(&rig);
}

/* ---- KVM ---- */

#define CODE_AT 0x1000
#define BELL_AT 0xd0000

/* A vCPU in real mode that writes 2a5eh to its data segment and then to port 80h, for ever. */
static const u8 code[] = { 0xb8, 0x5e, 0x2a, 0xa3, 0x00, 0x00, 0xe6, 0x80, 0xeb, 0xf6 };

struct cpu {
	struct vm vm;
	int fd;
	struct kvm_run *run;
};

static void cpu_init(struct cpu *c, int kvm, struct mem *m)
{
	struct kvm_sregs s;
	struct kvm_regs regs = { .rip = CODE_AT, .rflags = 2 };

	mem_init(m);
	ck_assert_int_eq(mem_add_ram(m, 0, 64 * KIB, false), 0);
	ck_assert_int_eq(mem_write(m, CODE_AT, code, sizeof(code)), 0);
	ck_assert_int_eq(vm_create(&c->vm, kvm, m, 1), 0);
	c->fd = ioctl(c->vm.vm_fd, KVM_CREATE_VCPU, 0);
	ck_assert_int_ge(c->fd, 0);
	c->run = mmap(NULL, c->vm.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	ck_assert_int_eq(ioctl(c->fd, KVM_GET_SREGS, &s), 0);
	s.cs.base = s.cs.selector = 0;
	s.ds.base = BELL_AT;
	s.ds.selector = BELL_AT >> 4;
	ck_assert_int_eq(ioctl(c->fd, KVM_SET_SREGS, &s), 0);
	ck_assert_int_eq(ioctl(c->fd, KVM_SET_REGS, &regs), 0);
}

/* Why it stops next. */
static u32 cpu_run(struct cpu *c)
{
	ck_assert_int_eq(ioctl(c->fd, KVM_RUN, 0), 0);
	return c->run->exit_reason;
}

START_TEST(the_guest_writes_to_the_page_without_an_exit)
{
	struct bus_range r = { .name = "r", .ops = &no_ops, .base = BELL_AT, .len = PAGE_SIZE };
	struct bus_doorbell bell = { .fd = eventfd(0, EFD_NONBLOCK) };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	struct cpu c;
	struct mem m;
	struct bus *b;
	eventfd_t n;
	u16 *page;

	if (kvm < 0) {
		close(bell.fd);
		skip_test("no /dev/kvm");
	}
	file = memfd_create("doorbell", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(file, PAGE_SIZE), 0);
	page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	cpu_init(&c, kvm, &m);
	ck_assert_int_eq(bus_create(&b, BUS_MMIO), 0);
	ck_assert_int_eq(bus_add(b, &r), 0);
	bus_attach_vm(b, c.vm.vm_fd);
	bus_attach_map(b, &vm_map_ops, &c.vm);
	ck_assert_uint_eq(cpu_run(&c), KVM_EXIT_MMIO);
	ck_assert_uint_eq(cpu_run(&c), KVM_EXIT_IO);

	ck_assert_int_eq(bus_doorbell_add(&r, &bell), 0);
	for (u32 round = 0; round < 3; round++) {
		ck_assert_uint_eq(cpu_run(&c), KVM_EXIT_IO);
		ck_assert_int_eq(eventfd_read(bell.fd, &n), 0);
		ck_assert_uint_eq(page[0], 0);

		ck_assert_int_eq(bus_page_set(b, &r, 0, page), 0);
		ck_assert_uint_eq(cpu_run(&c), KVM_EXIT_IO);
		ck_assert_int_eq(eventfd_read(bell.fd, &n), -1);
		ck_assert_uint_eq(page[0], 0x2a5e);
		page[0] = 0;
		ck_assert_int_eq(bus_page_set(b, &r, 0, NULL), 0);
	}
	bus_attach_map(b, NULL, NULL);
	bus_attach_vm(b, -1);
	bus_del(&r);
	bus_range_free(&r);
	bus_destroy(b);
	munmap(c.run, c.vm.run_size);
	close(c.fd);
	vm_destroy(&c.vm);
	munmap(page, PAGE_SIZE);
	mem_destroy(&m);
	close(bell.fd);
	close(file);
	close(kvm);
}

Suite *vhost_user_notify_suite(void)
{
	Suite *s = suite_create("vhost-user-notify");
	TCase *tc = tcase_create("vhost-user-notify");

	tcase_set_timeout(tc, 30);
	tcase_add_loop_test(tc, the_page_is_where_the_doorbell_is, 0, PCI_MODES);
	tcase_add_loop_test(tc, it_moves_with_the_bar_and_goes_with_memory_decoding, 0, PCI_MODES);
	tcase_add_loop_test(tc, it_goes_when_the_back_end_says_so, 0, PCI_MODES);
	tcase_add_loop_test(tc, it_goes_with_the_back_end, 0, 2);
	tcase_add_loop_test(tc, it_goes_when_the_ring_stops, 0, PCI_MODES);
	tcase_add_loop_test(tc, a_machine_that_refuses_it_goes_on_by_the_doorbell, 0, PCI_MODES);
	tcase_add_loop_test(tc, nonsense_is_refused, 0, PCI_MODES);
	tcase_add_loop_test(tc, it_is_not_agreed_on_where_there_are_no_pages, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, the_relay_has_to_see_the_kicks, 0, 2);
	tcase_add_test(tc, pages_of_a_range);
	tcase_add_test(tc, the_guest_writes_to_the_page_without_an_exit);
	suite_add_tcase(s, tc);
	return s;
}
