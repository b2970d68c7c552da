/* SPDX-License-Identifier: MIT */
/*
 * arch.h - what differs between the processor architectures.
 *
 * vmm/ calls these functions; arch/<name>/ implements each of them once; the Makefile picks the
 * folder. They see KVM only as file descriptors.
 *
 * Before the guest runs, `struct platform` is filled by the machine with what stands where, and
 * the architecture turns it into what firmware would tell the guest: ACPI tables on x86-64, a
 * device tree on arm64.
 */
#ifndef MINIVMM_ARCH_H
#define MINIVMM_ARCH_H

#include "minivmm/base.h"
#include "minivmm/irq.h"
#include "minivmm/pci.h"

struct kvm_irq_routing_entry;
struct kvm_run;
struct mem;

/* A device that the guest can't discover by itself. */
enum platform_kind {
	PLATFORM_UART,	      /* 16550 at an I/O port (x86), pl011 (arm64) */
	PLATFORM_RTC,	      /* MC146818 (x86), pl031 (arm64) */
	PLATFORM_POWER,	      /* devices/platform/power.h */
	PLATFORM_VIRTIO_MMIO, /* one virtio-mmio transport */
};

struct platform_node {
	enum platform_kind kind;
	u64 base, size; /* registers: ports or physical addresses */
	u32 gsi;
};

#define PLATFORM_NODES_MAX 64

struct platform {
	u32 cpus;
	struct pci_map pci;
	u32 nnodes;
	struct platform_node node[PLATFORM_NODES_MAX];
};

/* A stretch of guest physical addresses. */
struct span {
	u64 base, size;
};

/*
 * Where `size` bytes of RAM lie. Fills at most MEM_REGIONS_MAX spans and returns how many, or
 * -EINVAL with a message: too small or too large for this architecture.
 */
int arch_ram_layout(u64 size, struct span *ram);

/* Fill in p->pci for a guest with that RAM. */
void arch_pci_map(const struct span *ram, int nram, struct pci_map *map);

/* Make the VM's interrupt controller and all else that must be there before the first vCPU.
 * Returns 0 or -errno. */
int arch_vm_init(int kvm_fd, int vm_fd, u32 cpus);

/*
 * The routing entries of the wired inputs, GSI 0 to IRQ_LINES - 1: at most ARCH_WIRED_MAX, written
 * to `e`. Returns how many. arch_msi_route() makes the entry of a message.
 */
#define ARCH_WIRED_MAX 48
u32 arch_wired_routes(struct kvm_irq_routing_entry *e);
void arch_msi_route(struct kvm_irq_routing_entry *e, u32 gsi, const struct msi_msg *msg);

/* What to boot. Paths; initrd entries may be NULL. */
struct boot_files {
	const char *kernel;
	const char *initrd;
	const char *cmdline;
	/* Where to look for an initramfs of our own if `initrd` is NULL; NULL: use none. */
	const char *data_dir;
};

/* How the first vCPU starts: the architecture's own encoding. */
struct boot_entry {
	u64 pc;
	u64 arg;	/* the boot protocol's parameter block */
	bool long_mode; /* x86: 64-bit entry, else 32-bit protected mode (PVH) */
};

/*
 * Load kernel and initrd into `mem`, describe `platform` to the guest, say where to start.
 * Returns 0, or -errno after one line about what is wrong with which file.
 */
int arch_boot(struct mem *mem, const struct boot_files *files, const struct platform *platform,
	      struct boot_entry *entry);

/*
 * Give vCPU `id` of `cpus` its features. It then waits as after power-on, for its start by
 * arch_vcpu_boot() or, all but the first, by the guest. Called on the vCPU's own thread. Returns 0
 * or -errno after a message.
 */
int arch_vcpu_init(int kvm_fd, int vcpu_fd, u32 id, u32 cpus);

/* Put a vCPU that does not run at the guest's entry point. Returns 0 or -errno after a message. */
int arch_vcpu_boot(int vcpu_fd, const struct boot_entry *entry);

/*
 * The guest's time while it is paused: it stands still, as far as this KVM can do that, and the guest is
 * told that it was not itself that stopped. No vCPU runs from hold to release.
 *
 * arch_clock_hold() notes all clocks. To go on, arch_clock_go_on() notes the moment that they are to go on
 * from; then each vCPU's are set back by what has passed, and last those that they have in common. The clocks
 * agree afterwards as they did before, however long each of these steps takes.
 */
struct arch_clock {
	bool common; /* there is a clock that KVM has in common for all vCPUs, */
	u64 guest;   /* which says this, in nanoseconds, */
	u64 counter; /* when the host's counter, from which the vCPUs' own are made, says this */
	u64 go_on;   /* the host's counter at the moment of going on, */
	u64 go_on_realtime; /* and its CLOCK_REALTIME, in nanoseconds */
};
void arch_clock_hold(int vm_fd, struct arch_clock *c);
void arch_clock_go_on(struct arch_clock *c);
void arch_vcpu_clock_release(int vcpu_fd, const struct arch_clock *c);
void arch_clock_release(int vm_fd, const struct arch_clock *c);

/* Print registers and the bytes at the program counter, for a guest that crashed. */
void arch_vcpu_dump(int vcpu_fd, u32 id, const struct mem *mem);

/*
 * `minivmm check`: can this host's KVM boot an unmodified Linux? Returns true, or false and the
 * reason in `why`, with what to do about it.
 */
bool arch_boots_linux(const char **why);

#endif
