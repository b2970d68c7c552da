/* SPDX-License-Identifier: MIT */
/*
 * unit.h - what the unit tests share: capturing log lines, a machine without KVM, stand-in files.
 *
 * How it works: each test_*.c holds one suite, a list of facts about one part of minivmm; a test's
 * name says the fact. libcheck runs each test in a process of its own, so a test may crash, leak
 * or redirect standard input without harming the next one.
 *
 *	log.c	takes the place of vmm/log.c: it keeps the lines for expect_said()
 *	rig.c	`struct rig`: buses, loop and interrupt chip, with fake_vm in the place of KVM
 *	pci_rig.c  a host bridge and a device of ours on it, for the PCI suites
 */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include "minivmm/base.h"
#include "minivmm/bus.h"
#include "minivmm/device.h"
#include "minivmm/irq.h"
#include "minivmm/loop.h"
#include "minivmm/mem.h"
#include "minivmm/pci.h"

#include <check.h>

/*
 * libcheck writes each check that was passed to a file, so as to tell where a test was when it
 * crashed. Under the sanitizers a test that checks every byte then does little else; so a check in a
 * loop is written down the first time only.
 */
#define _mark_point(file, line)                                            \
	({                                                                 \
		static bool noted_;                                        \
		if (!__atomic_exchange_n(&noted_, true, __ATOMIC_RELAXED)) \
			(_mark_point)(file, line);                         \
	})

/* One per file. */
Suite *acpi_suite(void);
Suite *aml_suite(void);
Suite *base_suite(void);
Suite *blk_suite(void);
Suite *blk_more_suite(void);
Suite *boot_suite(void);
Suite *bus_suite(void);
Suite *bzimage_suite(void);
Suite *config_suite(void);
Suite *config_devices_suite(void);
Suite *config_daemon_suite(void);
Suite *config_net_suite(void);
Suite *control_suite(void);
Suite *console_suite(void);
Suite *console_ports_suite(void);
Suite *console_more_suite(void);
Suite *conformance_suite(void);
Suite *elf_suite(void);
Suite *image_suite(void);
Suite *image_more_suite(void);
Suite *image_uring_suite(void);
Suite *initrd_suite(void);
Suite *irq_suite(void);
Suite *log_suite(void);
Suite *loop_suite(void);
Suite *mem_suite(void);
Suite *mem_log_suite(void);
Suite *msix_suite(void);
Suite *net_suite(void);
Suite *net_ctrl_suite(void);
Suite *net_link_suite(void);
Suite *net_rx_suite(void);
Suite *pci_suite(void);
Suite *pcap_suite(void);
Suite *peer_socket_suite(void);
Suite *peer_echo_suite(void);
Suite *peer_tap_suite(void);
Suite *peer_user_suite(void);
Suite *power_suite(void);
Suite *rate_suite(void);
Suite *rng_suite(void);
Suite *rtc_suite(void);
Suite *sandbox_suite(void);
Suite *stream_suite(void);
Suite *switch_suite(void);
Suite *switch_paths_suite(void);
Suite *stream_more_suite(void);
Suite *stream_pty_suite(void);
Suite *stream_unix_suite(void);
Suite *testdev_suite(void);
Suite *trace_suite(void);
Suite *uart_suite(void);
Suite *vhost_user_suite(void);
Suite *vhost_user_reconnect_suite(void);
Suite *vhost_user_hostile_suite(void);
Suite *vhost_user_relay_suite(void);
Suite *vhost_user_relay_hostile_suite(void);
Suite *auto_path_suite(void);
Suite *vhost_user_blk_suite(void);
Suite *vhost_user_net_suite(void);
Suite *vhost_user_notify_suite(void);
Suite *vhost_user_log_suite(void);
Suite *vhost_user_server_suite(void);
Suite *vhost_user_server_hostile_suite(void);
Suite *virtio_suite(void);
Suite *virtio_mmio_suite(void);
Suite *virtio_pci_suite(void);
Suite *virtio_queue_suite(void);
Suite *vhost_net_suite(void);
Suite *vq_suite(void);
Suite *vq_hostile_suite(void);
Suite *vq_inflight_suite(void);
Suite *vq_notify_suite(void);
Suite *vq_stats_suite(void);
Suite *vq_stress_suite(void);

/* End a test that can't run on this machine: tests/unit/run counts it as skipped. Inside the
 * test's own function. */
#define skip_test(reason)                              \
	do {                                           \
		unit_skip(__FILE__, __func__, reason); \
		return;                                \
	} while (0)
void unit_skip(const char *file, const char *func, const char *reason);

/* Exactly one line was logged since the test began or the last of these calls, and `part` is in
 * it; or none was. */
#define expect_said(part) ck_assert_msg(said_once(part), "logged: \"%s\"", said_text())
#define expect_silence()  ck_assert_str_eq(said_text(), "")
bool said_once(const char *part);
const char *said_text(void);
void said_forget(void);

/* How many file descriptors this process has open. */
u32 open_fds(void);

/* Allow at least `n` of them; false: we may not. */
bool allow_fds(u32 n);

/* Leave room for `n` more than there are; 0: as many as there may be. */
void limit_fds(u32 n);

/* An unlinked file with `len` bytes of content; `path` (32 bytes) names it while it is open. */
int temp_file(const void *content, u64 len, char *path);

/* A network namespace of the test's own, in which nobody sends anything by himself. Returns NULL, or why there can be
 * none. */
const char *own_network(void);

/* Let `in` and `out` be standard input and output until stdio_end(). -1: closed. */
void stdio_begin(int in, int out);
void stdio_end(void);

/*
 * What stands in for KVM behind an irqchip. Like KVM it takes a signal from an eventfd as soon as
 * it is there, though only when somebody looks (fake_vm_count).
 */
#define FAKE_VM_LISTENERS 64
#define FAKE_VM_SENT	  64
#define FAKE_VM_PAGES	  64

struct fake_vm {
	pthread_mutex_t lock;
	bool level[IRQ_LINES];
	u32 edges; /* calls of line() */

	u32 nroutes;
	u32 gsi[IRQ_MSI_MAX];
	struct msi_msg msg[IRQ_MSI_MAX];
	u32 route_calls;
	int fail_routes; /* -errno for the next routes(), once */
	int fail_irqfd;	 /* likewise */

	u32 nlisteners;
	struct {
		u32 gsi;
		int fd;
	} listener[FAKE_VM_LISTENERS];

	u32 nsent;
	struct msi_msg sent[FAKE_VM_SENT];
	u32 unrouted; /* signals for a GSI without a route: lost, as in KVM */

	/* Pages in the place of registers, by slot; host NULL: none. */
	struct {
		u64 gpa;
		void *host;
	} page[FAKE_VM_PAGES];
	u32 page_calls;
	int fail_pages; /* -errno for all that are to be added */
};

extern const struct irqchip_ops fake_vm_ops;
extern const struct bus_map_ops fake_map_ops;

/* The page that the guest finds at `gpa`, or NULL; and how many there are. */
void *fake_vm_page(struct fake_vm *vm, u64 gpa);
u32 fake_vm_pages(struct fake_vm *vm);

/* How often the message (addr, data) was sent since the last call; what else was sent counts for
 * fake_vm_total() only. */
u32 fake_vm_count(struct fake_vm *vm, u64 addr, u32 data);

/* How many messages of any kind were sent; forgets them. */
u32 fake_vm_total(struct fake_vm *vm);

/* A machine to plug devices in: all of machine_env, with fake_vm behind the irqchip. */
struct rig {
	struct machine_env env;
	struct mem mem;
	struct power power;
	u32 power_offs, power_resets; /* requests */
	struct fake_vm vm;
	u32 fds; /* open before */
};

void rig_init(struct rig *r);

/* Checks that nothing is left open. */
void rig_free(struct rig *r);

/* Let a loop that does not run handle what is waiting, and what comes of that. */
void loop_settle(struct loop *l);

u32 inb(struct rig *r, u64 port);
void outb(struct rig *r, u64 port, u8 value);

/*
 * A rig with a PCI host bridge and, in slot PCI_DEV_SLOT, a device with
 *
 *	BAR 0	4 KiB memory	BAR 1	16 ports	BAR 2/3	64 KiB 64-bit memory BAR 4
 *MSI-X
 */
#define PCI_DEV_SLOT	1
#define PCI_DEV_SOURCES 4

struct pci_unit {
	struct pci_dev pci;
	u64 last_off, last_value;
	u32 reads, writes;
	u32 config_reads, config_writes;
	u32 intx_calls, intx_src;
};

struct pci_rig {
	struct rig r;
	struct pci_map map;
	struct pci_host *host;
	struct device *host_dev;
	struct pci_unit unit;
};

void pci_rig_init(struct pci_rig *p);
void pci_rig_free(struct pci_rig *p);

/* A bare device like the rig's, not attached, without BARs. */
void pci_unit_init(struct pci_unit *u, const struct machine_env *env);

/* Its BAR i, which answers with all of what is asked and counts. */
void pci_unit_bar(struct pci_unit *u, u32 i, u64 size, enum pci_bar_kind kind);

/* Configuration space by CF8h/CFCh and by ECAM. */
u32 cf8_get(struct pci_rig *p, u32 slot, u32 reg, u32 len);
void cf8_set(struct pci_rig *p, u32 slot, u32 reg, u32 len, u32 value);
u64 ecam_get(struct pci_rig *p, u32 slot, u32 reg, u32 len);
void ecam_set(struct pci_rig *p, u32 slot, u32 reg, u32 len, u64 value);

/* The value that a read of the device's BARs gives, so that a claimed read is told from ones. */
#define PCI_UNIT_VALUE 0x1122334455667788ULL

#endif
