// SPDX-License-Identifier: MIT
/*
 * firstrun.c - measure a VMM at its first KVM_RUN.
 *
 *	firstrun KERNEL MEMORY_MIB -- COMMAND [ARGUMENT]...
 *
 * prints one line, "milliseconds,rss,private,own rss,own private,guest,threads", sizes in KiB, and
 * ends COMMAND, which should start KERNEL with so much memory.
 *
 * How it works: the child puts a seccomp filter on itself, notes the time, and execs COMMAND. The
 * filter lets everything pass but ioctl(KVM_RUN), which it reports to us (seccomp_unotify(2)): the
 * calling thread stands still, in the kernel, while we note the time and read /proc. Then COMMAND
 * is killed; no guest instruction ever runs. COMMAND itself has nothing added, may be linked
 * statically, and pays only for the filter, a few dozen nanoseconds a system call.
 *
 * The memory figures:
 *	rss	pages in COMMAND's page tables
 *	private	those of them that no other process maps (Private_Clean + Private_Dirty); pages of
 *		libraries are among them while nobody else uses the library
 *	guest	pages that guest memory has: those in memfds, mapped or not, and those in mappings
 *		as large as the guest's memory
 *	own	rss and private without guest memory's pages; nor, if those do not amount to the
 *		size of KERNEL, the rest of it: some VMMs keep the kernel until firmware asks for it
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_MS  20000
#define MEMFDS_MAX  64
#define EXIT_NO_RUN 3 /* COMMAND ended, or did not come to KVM_RUN in time */

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS /* Linux 6.6 */
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS	   SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

struct usage {			   /* KiB */
	long rss, private;	   /* of everything */
	long ram_rss, ram_private; /* of the mappings of guest memory */
	long guest;
	long threads;
};

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ULL + t.tv_nsec / 1000;
}

/* From now on this process's KVM_RUNs are reported. Returns the fd that reports them. */
static int report_runs(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, KVM_RUN, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		       SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_SPEC_ALLOW, &filter);
}

union fd_message {
	struct cmsghdr align;
	char buf[CMSG_SPACE(sizeof(int))];
};

static void send_fd(int sock, int fd)
{
	union fd_message m = { 0 };
	char byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = m.buf,
			      .msg_controllen = sizeof(m.buf) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	if (sendmsg(sock, &msg, 0) < 0)
		err(1, "sendmsg");
}

static int receive_fd(int sock)
{
	union fd_message m;
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = m.buf,
			      .msg_controllen = sizeof(m.buf) };
	int fd;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) <= 0 || !CMSG_FIRSTHDR(&msg))
		errx(1, "the child could not set up its filter");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

/* In the child. `start` is shared with the parent. */
static void become(char **argv, int sock, volatile uint64_t *start)
{
	int null = open("/dev/null", O_RDWR), fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	close(null);
	fd = report_runs();
	if (fd < 0)
		err(1, "seccomp");
	send_fd(sock, fd);
	close(sock);
	close(fd);
	*start = now_us();
	execvp(argv[0], argv);
	err(127, "%s", argv[0]);
}

/* Wait for the first KVM_RUN. Returns when it was, or 0 if it never came. */
static uint64_t await_run(int notify)
{
	struct pollfd p = { .fd = notify, .events = POLLIN };
	struct seccomp_notif n = { 0 };
	uint64_t when;

	/* The kernel then runs us in the caller's place, at once. Older ones wake us as usual. */
	ioctl(notify, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
	if (poll(&p, 1, TIMEOUT_MS) != 1 || !(p.revents & POLLIN))
		return 0;
	when = now_us();
	return ioctl(notify, SECCOMP_IOCTL_NOTIF_RECV, &n) == 0 ? when : 0;
}

static FILE *open_proc(pid_t pid, const char *name)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	f = fopen(path, "re");
	if (!f)
		err(1, "%s", path);
	return f;
}

/* Is this /proc/PID/smaps line the head of a mapping? Says then which kind it is. */
static bool is_head(const char *line, unsigned long ram, bool *memfd, bool *anonymous)
{
	unsigned long from, to;

	if (sscanf(line, "%lx-%lx ", &from, &to) != 2)
		return false;
	*memfd = strstr(line, " /memfd:") != NULL;
	*anonymous = !strchr(line, '/') && to - from >= ram;
	return true;
}

static void read_maps(pid_t pid, unsigned long ram, struct usage *u)
{
	FILE *f = open_proc(pid, "smaps");
	bool memfd = false, anonymous = false;
	char line[4096], name[64];
	long kib;

	while (fgets(line, sizeof(line), f)) {
		if (is_head(line, ram, &memfd, &anonymous) ||
		    sscanf(line, "%63[^:]: %ld kB", name, &kib) != 2)
			continue;
		if (strcmp(name, "Rss") == 0) {
			u->rss += kib;
			u->ram_rss += memfd || anonymous ? kib : 0;
			u->guest += anonymous ? kib : 0;
		} else if (strncmp(name, "Private_", 8) == 0 && !strstr(name, "Hugetlb")) {
			u->private += kib;
			u->ram_private += memfd || anonymous ? kib : 0;
		}
	}
	fclose(f);
}

static void read_threads(pid_t pid, struct usage *u)
{
	FILE *f = open_proc(pid, "status");
	char line[256];

	while (fgets(line, sizeof(line), f))
		sscanf(line, "Threads: %ld", &u->threads);
	fclose(f);
}

static void read_memfds(pid_t pid, struct usage *u)
{
	ino_t seen[MEMFDS_MAX];
	int nseen = 0;
	char path[64], target[256];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	if (!d)
		err(1, "%s", path);
	while ((e = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
		struct stat st;
		int i = 0;

		if (n < 8 || strncmp(target, "/memfd:", 7) != 0 ||
		    fstatat(dirfd(d), e->d_name, &st, 0) < 0)
			continue;
		while (i < nseen && seen[i] != st.st_ino)
			i++;
		if (i < nseen || nseen == MEMFDS_MAX)
			continue;
		seen[nseen++] = st.st_ino;
		u->guest += st.st_blocks / 2;
	}
	closedir(d);
}

/* Of the kernel's pages, those that guest memory does not have yet. */
static long kernel_elsewhere(const char *kernel, const struct usage *u)
{
	struct stat st;
	long missing;

	if (stat(kernel, &st) < 0)
		err(1, "%s", kernel);
	missing = st.st_size / 1024 - u->guest;
	return missing > 0 ? missing : 0;
}

static void print(const char *kernel, uint64_t us, const struct usage *u)
{
	long elsewhere = kernel_elsewhere(kernel, u);

	printf("%.3f,%ld,%ld,%ld,%ld,%ld,%ld\n", us / 1e3, u->rss, u->private,
	       u->rss - u->ram_rss - elsewhere, u->private - u->ram_private - elsewhere, u->guest,
	       u->threads);
}

int main(int argc, char **argv)
{
	volatile uint64_t *start = mmap(NULL, sizeof(*start), PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct usage u = { 0 };
	unsigned long ram;
	uint64_t when;
	int sock[2];
	pid_t pid;

	if (argc < 5 || strcmp(argv[3], "--") != 0)
		errx(2, "Usage: firstrun KERNEL MEMORY_MIB -- COMMAND [ARGUMENT]...");
	ram = strtoul(argv[2], NULL, 10) << 20;
	if (start == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) < 0)
		err(1, "set-up");
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		close(sock[0]);
		become(argv + 4, sock[1], start);
	}
	close(sock[1]);
	when = await_run(receive_fd(sock[0]));
	if (when) {
		read_threads(pid, &u);
		read_maps(pid, ram, &u);
		read_memfds(pid, &u);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	if (!when)
		errx(EXIT_NO_RUN, "%s never came to KVM_RUN", argv[4]);
	print(argv[1], when - *start, &u);
	return 0;
}
