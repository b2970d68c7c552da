// SPDX-License-Identifier: MIT
/*
 * copies.c - counts the bytes that processes copy: how many, by whom, in the kernel and in user space.
 *
 *	copies
 *
 * How it works: a perf event stands at the first instruction of each function that copies, and each time
 * one is called a sample comes with the process and the register in which the length is.
 *
 *	kernel	all data of reads, writes, sends and receives passes through a few functions on an iov_iter
 *		(/proc/kallsyms has their addresses). The kernel lets no kprobe stand there, but a hardware
 *		breakpoint, of which a processor has four
 *	user	memcpy(), memmove() and mempcpy() of libc, by uprobes: any VMM's that uses the machine's libc.
 *		What a compiler puts in the place of a call, short copies of a constant length, is not seen
 *
 * The lengths are those that are asked for. Where the iov_iter holds less, less is copied: a write to a pipe asks for what is
 * left of a page, twice, whatever it writes; a read of a part of a huge page in tmpfs asks for the rest of the 4 KiB. So
 * who is counted should not do these: tests/bench/measure gives a VMM no pipe for its output.
 *
 * It first copies a known number of bytes itself. If it then does not count exactly that, or an event can't be
 * had, it prints "no REASON" and ends. Else it prints "ready", and for each line of its input a line
 * "PID:KERNEL:USER ..." of all bytes since the start. A sample that was lost makes that "no REASON" too.
 *
 * Threads: one, which polls and adds up.
 */
#include <asm/perf_regs.h>
#include <dlfcn.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_EVENTS 256 /* functions times processors */
#define MAX_PIDS   4096
#define RING	   (256 * 4096)
#define KNOWN	   100000

struct event {
	int fd;
	bool user;
	struct perf_event_mmap_page *head; /* RING bytes of samples behind it */
};

struct pid {
	uint32_t pid;
	uint64_t bytes[2]; /* in the kernel, in user space */
};

struct copies {
	struct event event[MAX_EVENTS];
	struct pollfd poll[1 + MAX_EVENTS]; /* the input, and the events */
	struct pid pid[MAX_PIDS];
	unsigned int nevents, npids;
	bool lost;
};

/* What PERF_SAMPLE_TID and PERF_SAMPLE_REGS_INTR of one register give. */
union sample {
	struct {
		struct perf_event_header head;
		uint32_t pid, tid;
		uint64_t abi, len;
	};
	uint64_t word[4];
};

static struct copies all;

static void no(const char *why, const char *what)
{
	printf("no %s%s%s\n", why, errno ? ": " : "", errno ? strerror(errno) : "");
	errx(1, "%s%s%s", what, *what ? ": " : "", why);
}

/* ---- events ---- */

/* One a processor. `reg` holds the length. */
static void add_event(struct perf_event_attr *attr, int reg, bool user, const char *what)
{
	attr->size = sizeof(*attr);
	attr->sample_period = 1;
	attr->sample_type = PERF_SAMPLE_TID | PERF_SAMPLE_REGS_INTR;
	attr->sample_regs_intr = 1ULL << reg;
	attr->wakeup_watermark = RING / 4;
	attr->watermark = 1;
	for (int cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++) {
		struct event *e = &all.event[all.nevents];

		if (all.nevents == MAX_EVENTS)
			no("too many processors", what);
		e->fd = syscall(SYS_perf_event_open, attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
		if (e->fd < 0)
			no("no perf events of the kind", what);
		e->head = mmap(NULL, 4096 + RING, PROT_READ | PROT_WRITE, MAP_SHARED, e->fd, 0);
		if (e->head == MAP_FAILED)
			no("no memory for perf events", what);
		e->user = user;
		all.poll[1 + all.nevents++] = (struct pollfd){ .fd = e->fd, .events = POLLIN };
	}
}

/* A kernel's function that copies; a later kernel may have another name for it. */
struct function {
	const char *name, *later;
	int reg;
	uint64_t addr;
};

/* The file is long: one pass, and no sscanf() of lines that are about something else. */
static void find_addresses(struct function *fn, int n)
{
	FILE *f = fopen("/proc/kallsyms", "r");
	char line[512], sym[256];
	unsigned long addr;

	while (f && fgets(line, sizeof(line), f)) {
		if (!strstr(line, "copy_") || sscanf(line, "%lx %*c %255s", &addr, sym) != 2)
			continue;
		for (int i = 0; i < n; i++) {
			if (!strcmp(sym, fn[i].name) || (fn[i].later && !strcmp(sym, fn[i].later)))
				fn[i].addr = addr;
		}
	}
	if (f)
		fclose(f);
}

static void add_kernel(void)
{
	struct function fn[] = {
		{ "_copy_to_iter", NULL, PERF_REG_X86_SI, 0 },
		{ "_copy_from_iter", NULL, PERF_REG_X86_SI, 0 },
		{ "_copy_from_iter_nocache", NULL, PERF_REG_X86_SI, 0 },
		{ "copy_page_from_iter_atomic", "copy_folio_from_iter_atomic", PERF_REG_X86_DX, 0 },
	};
	int n = sizeof(fn) / sizeof(*fn);

	find_addresses(fn, n);
	for (int i = 0; i < n; i++) {
		struct perf_event_attr attr = {
			.type = PERF_TYPE_BREAKPOINT,
			.bp_type = HW_BREAKPOINT_X,
			.bp_addr = fn[i].addr,
			.bp_len = sizeof(long),
			.exclude_user = 1,
		};

		errno = 0;
		if (!fn[i].addr)
			no("the kernel does not tell where it copies", fn[i].name);
		add_event(&attr, fn[i].reg, false, fn[i].name);
	}
}

/* Where in which file the code at `addr` of this process is; 0: it is in none. */
static uint64_t file_offset(uint64_t addr, char path[256])
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long from, to, off, found = 0;
	char line[512];

	while (f && !found && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %*s %lx %*s %*s %255s", &from, &to, &off, path) == 4 &&
		    from <= addr && addr < to)
			found = addr - from + off;
	}
	if (f)
		fclose(f);
	return found;
}

static void add_user(void)
{
	static const char *const name[] = { "memcpy", "memmove", "mempcpy" };
	struct perf_event_attr attr = { 0 };
	uint64_t seen[3] = { 0 };
	char path[256];
	FILE *f = fopen("/sys/bus/event_source/devices/uprobe/type", "r");

	if (!f || fscanf(f, "%u", &attr.type) != 1)
		no("no uprobes", "");
	fclose(f);
	for (int i = 0; i < 3; i++) {
		uint64_t addr = (uint64_t)dlsym(RTLD_DEFAULT, name[i]);

		seen[i] = addr;
		if ((i > 0 && addr == seen[0]) || (i > 1 && addr == seen[1]))
			continue; /* one function by two names */
		attr.config2 = file_offset(addr, path);
		attr.config1 = (uint64_t)path;
		errno = 0;
		if (!attr.config2)
			no("libc is not in a file", name[i]);
		add_event(&attr, PERF_REG_X86_DX, true, name[i]);
	}
}

/* ---- sums ---- */

static struct pid *pid_of(uint32_t pid)
{
	for (unsigned int i = 0; i < all.npids; i++) {
		if (all.pid[i].pid == pid)
			return &all.pid[i];
	}
	if (all.npids == MAX_PIDS) {
		all.lost = true;
		return &all.pid[0];
	}
	all.pid[all.npids].pid = pid;
	return &all.pid[all.npids++];
}

/* The ring's `n` words at `at`, which may be in two pieces. No memcpy(): it would be counted. */
static void from_ring(const struct event *e, uint64_t at, union sample *s, size_t n)
{
	const volatile uint64_t *ring = (const void *)((const char *)e->head + 4096);

	for (size_t i = 0; i < n; i++)
		s->word[i] = ring[(at / 8 + i) % (RING / 8)];
}

static void drain(struct event *e)
{
	uint64_t head = __atomic_load_n(&e->head->data_head, __ATOMIC_ACQUIRE),
		 at = e->head->data_tail;

	while (at < head) {
		union sample s = { 0 };

		from_ring(e, at, &s, 1);
		if (s.head.type == PERF_RECORD_SAMPLE && s.head.size >= sizeof(s)) {
			from_ring(e, at, &s, 4);
			pid_of(s.pid)->bytes[e->user] += s.len;
		} else if (s.head.type != PERF_RECORD_THROTTLE &&
			   s.head.type != PERF_RECORD_UNTHROTTLE) {
			all.lost = true; /* PERF_RECORD_LOST, or nothing that was asked for */
		}
		at += s.head.size;
	}
	/* Pairs with the kernel's load before it writes there again. */
	__atomic_store_n(&e->head->data_tail, at, __ATOMIC_RELEASE);
}

static void drain_all(void)
{
	for (unsigned int i = 0; i < all.nevents; i++)
		drain(&all.event[i]);
}

/* ---- the proof ---- */

static char from[KNOWN], to[KNOWN];

/* KNOWN bytes through a file both ways, through a socket both ways, and once in user space. */
static void copy_known(void)
{
	void *(*volatile copy)(void *, const void *, size_t) = memcpy;
	int file = memfd_create("copies", MFD_CLOEXEC), s[2];

	if (file < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) < 0 ||
	    setsockopt(s[0], SOL_SOCKET, SO_SNDBUFFORCE, &(int){ 4 * KNOWN }, sizeof(int)) < 0 ||
	    pwrite(file, from, KNOWN, 0) != KNOWN || pread(file, to, KNOWN, 0) != KNOWN ||
	    write(s[0], from, KNOWN) != KNOWN || recv(s[1], to, KNOWN, MSG_WAITALL) != KNOWN)
		no("the known copies failed", "");
	copy(to, from, KNOWN);
	close(file);
	close(s[0]);
	close(s[1]);
}

static void prove(void)
{
	struct pid *me = pid_of(getpid());
	uint64_t kernel, user;

	drain_all();
	kernel = me->bytes[0], user = me->bytes[1];
	copy_known();
	drain_all();
	kernel = me->bytes[0] - kernel, user = me->bytes[1] - user;
	if (kernel == 4 * KNOWN && user == KNOWN && !all.lost)
		return;
	printf("no exact count: of %d bytes in the kernel it saw %lu, of %d in user space %lu\n",
	       4 * KNOWN, kernel, KNOWN, user);
	exit(1);
}

static void tell(void)
{
	drain_all();
	if (all.lost) {
		errno = 0;
		no("samples were lost", "");
	}
	for (unsigned int i = 0; i < all.npids; i++)
		printf("%s%u:%lu:%lu", i ? " " : "", all.pid[i].pid, all.pid[i].bytes[0],
		       all.pid[i].bytes[1]);
	printf("\n");
}

int main(void)
{
	char line[64];

	setvbuf(stdout, NULL, _IOLBF, 0);
	add_kernel();
	add_user();
	prove();
	printf("ready\n");
	all.poll[0] = (struct pollfd){ .fd = 0, .events = POLLIN };
	for (;;) {
		if (poll(all.poll, 1 + all.nevents, -1) < 0 && errno != EINTR)
			err(1, "poll");
		drain_all();
		if (!all.poll[0].revents)
			continue;
		if (read(0, line, sizeof(line)) <= 0) /* a line is one write of the other side */
			return 0;
		tell();
	}
}
