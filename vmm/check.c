// SPDX-License-Identifier: MIT
/*
 * check.c - `minivmm check`: one line per thing that a guest or a data path can use.
 *
 * Only what is needed to boot Linux decides the exit status; the rest is offered, with the reason
 * it is good for and the fix.
 */
#include "vmm/check.h"
#include "minivmm/arch.h"
#include "minivmm/log.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The capabilities that minivmm uses, and whether it can do without. */
static const struct {
	int cap;
	const char *name;
	bool needed;
} caps[] = {
	{ KVM_CAP_IRQCHIP, "in-kernel interrupt chip", true },
	{ KVM_CAP_USER_MEMORY, "user memory", true },
	{ KVM_CAP_IRQFD, "irqfd", true },
	{ KVM_CAP_IOEVENTFD, "ioeventfd", true },
	{ KVM_CAP_IOEVENTFD_ANY_LENGTH, "ioeventfd of any length", false },
	{ KVM_CAP_SIGNAL_MSI, "MSI", true },
	{ KVM_CAP_IRQ_ROUTING, "interrupt routing", true },
	{ KVM_CAP_IMMEDIATE_EXIT, "immediate exit", true },
	{ KVM_CAP_BINARY_STATS_FD, "statistics fd", false },
};

static void yes(const char *what, const char *detail)
{
	printf("  yes  %-22s %s\n", what, detail);
}

static void no(const char *what, const char *detail, const char *fix)
{
	printf("  no   %-22s %s\n%29s -> %s\n", what, detail, "", fix);
}

static const char *open_fix(int err, const char *absent)
{
	return err == EACCES || err == EPERM ? "run as root, or join the device's group" : absent;
}

/* /dev/kvm itself and its capabilities. */
static bool check_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	bool good = true;
	char detail[64];

	if (fd < 0) {
		no("/dev/kvm", strerror(errno),
		   open_fix(errno,
			    "load kvm_intel or kvm_amd; in a virtual machine, turn on nested "
			    "virtualization"));
		return false;
	}
	snprintf(detail, sizeof(detail), "API %d, up to %d CPUs", ioctl(fd, KVM_GET_API_VERSION, 0),
		 ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS));
	yes("/dev/kvm", detail);
	for (size_t i = 0; i < ARRAY_SIZE(caps); i++) {
		if (ioctl(fd, KVM_CHECK_EXTENSION, caps[i].cap) > 0) {
			yes("  KVM capability", caps[i].name);
		} else {
			no("  KVM capability", caps[i].name,
			   caps[i].needed ? "use a newer Linux"
					  : "minivmm does without; a newer Linux has it");
			good &= !caps[i].needed;
		}
	}
	close(fd);
	return good;
}

/* A device file that a data path opens. */
static void check_device(const char *path, const char *used_for, const char *absent)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		no(path, strerror(errno), open_fix(errno, absent));
	else
		yes(path, used_for);
	if (fd >= 0)
		close(fd);
}

static void check_vdpa(void)
{
	if (access("/dev/vhost-vdpa-0", F_OK) == 0)
		check_device("/dev/vhost-vdpa-0", "vDPA data paths (to come)", "");
	else
		no("vhost-vdpa", "no /dev/vhost-vdpa-* (its data path is to come)",
		   "modprobe vhost_vdpa (Linux 6.3 or newer on Debian) and make a device: vdpa dev "
		   "add");
}

static void check_hugepages(void)
{
	unsigned long free_pages = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "HugePages_Free: %lu", &free_pages);
	if (f)
		fclose(f);
	snprintf(line, sizeof(line), "%lu free", free_pages);
	if (free_pages)
		yes("huge page pool", line);
	else
		no("huge page pool", line,
		   "for --memory ...,hugepages=on: sysctl vm.nr_hugepages=N (2 MiB each)");
}

/* Guest memory is memfds, which get transparent huge pages only where the host says so. */
static void check_shmem_huge(void)
{
	char line[128] = "";
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "re");

	if (f && fgets(line, sizeof(line), f))
		line[strcspn(line, "\n")] = '\0';
	if (f)
		fclose(f);
	if (strstr(line, "[advise]") || strstr(line, "[always]") || strstr(line, "[within_size]") ||
	    strstr(line, "[force]"))
		yes("huge guest pages", line);
	else
		no("huge guest pages", line,
		   "faster guests: echo advise > "
		   "/sys/kernel/mm/transparent_hugepage/shmem_enabled");
}

static void check_io_uring(void)
{
	struct io_uring_params p = { 0 };
	int fd = syscall(SYS_io_uring_setup, 1, &p);

	if (fd >= 0)
		yes("io_uring", "disk images");
	else
		no("io_uring", strerror(errno),
		   errno == EPERM ? "sysctl kernel.io_uring_disabled=0" : "use Linux 5.6 or newer");
	if (fd >= 0)
		close(fd);
}

static void check_slirp(void)
{
	void *library = dlopen("libslirp.so.0", RTLD_LAZY);

	if (library)
		yes("libslirp", "user networking");
	else
		no("libslirp", "no libslirp.so.0", "install it (Debian's package libslirp0)");
	if (library)
		dlclose(library);
}

int check_run(int argc, char **argv)
{
	const char *why = NULL;
	bool kvm, fast;

	if (argc > 1) {
		log_err("check takes no argument such as '%s'", argv[1]);
		return 2;
	}
	printf("To boot Linux:\n");
	kvm = check_kvm();
	fast = arch_boots_linux(&why);
	if (fast)
		yes("hardware virtualization", "");
	else
		no("hardware virtualization", "software KVM at best", why);
	printf("For data paths and options:\n");
	check_device("/dev/net/tun", "tap networking", "modprobe tun");
	check_slirp();
	check_device("/dev/vhost-net", "--net tap=NAME,datapath=vhost-net", "modprobe vhost_net");
	check_vdpa();
	check_hugepages();
	check_shmem_huge();
	check_io_uring();
	printf("Linux %s boot here.\n", kvm && fast ? "can" : "can't");
	return kvm && fast ? 0 : 1;
}
