// SPDX-License-Identifier: MIT
/*
 * minimal.c - the least that a VMM can do before its guest runs: the yardstick of bench-startup.
 *
 *	minimal KERNEL MEMORY_MIB
 *
 * How it works: KVM, one piece of anonymous memory, the interrupt chip, one vCPU; the kernel comes
 * in by read() to where a boot loader would put it; then the registers and KVM_RUN. It has no
 * devices, no ACPI tables, no CPU features and checks nothing that it can do without, so that no
 * guest would get far. That is the point: it is what every VMM pays.
 */
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOAD_ADDR 0x1000000

static void check(long result, const char *what)
{
	if (result < 0)
		err(1, "%s", what);
}

static void load(const char *path, char *dst, size_t room)
{
	int fd = open(path, O_RDONLY);
	struct stat st;
	off_t done = 0;

	check(fd, path);
	check(fstat(fd, &st), path);
	if ((size_t)st.st_size > room)
		errx(1, "%s: too large", path);
	while (done < st.st_size) {
		ssize_t n = read(fd, dst + done, st.st_size - done);

		check(n, path);
		if (n == 0)
			errx(1, "%s: it has become shorter", path);
		done += n;
	}
	close(fd);
}

static void set_registers(int vcpu)
{
	struct kvm_regs regs = { .rip = LOAD_ADDR, .rflags = 2 };
	struct kvm_sregs s;

	check(ioctl(vcpu, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
	s.cs.base = 0;
	s.cs.selector = 0;
	check(ioctl(vcpu, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
	check(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

int main(int argc, char **argv)
{
	struct kvm_userspace_memory_region slot = { 0 };
	int kvm, vm, vcpu, run_size;
	size_t size;
	char *ram;

	if (argc != 3)
		errx(2, "Usage: minimal KERNEL MEMORY_MIB");
	size = strtoul(argv[2], NULL, 10) << 20;
	if (size <= LOAD_ADDR)
		errx(2, "%s: too little memory", argv[2]);

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	check(kvm, "/dev/kvm");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	check(vm, "KVM_CREATE_VM");
	ram = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		   -1, 0);
	if (ram == MAP_FAILED)
		err(1, "guest memory");
	slot.memory_size = size;
	slot.userspace_addr = (uintptr_t)ram;
	check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
	check(ioctl(vm, KVM_CREATE_IRQCHIP), "KVM_CREATE_IRQCHIP");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	check(vcpu, "KVM_CREATE_VCPU");
	run_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	check(run_size, "KVM_GET_VCPU_MMAP_SIZE");
	if (mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0) == MAP_FAILED)
		err(1, "struct kvm_run");
	load(argv[1], ram + LOAD_ADDR, size - LOAD_ADDR);
	set_registers(vcpu);
	check(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
	return 0;
}
