// SPDX-License-Identifier: MIT
/*
 * lab-init: process 1 of the lab host. It makes the host look like the machine it runs on, runs one
 * command there and carries the command's streams to the outside.
 *
 * How it works
 *
 *	 machine   lab-run ──ctl, in, out, err──  four virtio-serial ports
 *	 ────────────────────────────────────────────────────────────────────────────────────────
 *	 lab host  /dev/vportNpM
 *	              │ ctl: job in, result out        in │         │ out        │ err
 *	           main thread                            v         ^            ^
 *	              │ fork                          pump thread  pump thread  pump thread
 *	              v                                   │         │            │
 *	           COMMAND  <─────────────────────── pipe or pty  pipe or pty  pipe or pty
 *
 *	1. Load the modules listed in /etc/modules (mkinitramfs wrote it), in that order.
 *	2. Build the root: the machine's root file system over 9p, read-only, below an overlay whose
 *	   upper side is a tmpfs. What the command writes is gone with the host. Then the file systems
 *	   that a running Linux has: /proc, /sys, /dev, /tmp, /run, ...
 *	3. Read the job from the ctl port, start the command, pump its streams.
 *	4. When the command has ended, let the pumps empty the pipes, flush the shared directories
 *	   and send the result. lab-run then ends QEMU: there is nothing to shut down.
 *
 * A job and its result are records, each ended by a NUL byte:
 *
 *	to the host	arg=S		one word of the command	      share=PATH    mount share0, share1, ...
 *			env=NAME=VALUE	its environment		      modules=DIR   bind at /lib/modules/RELEASE
 *			cwd=PATH	its directory		      keep=PATH     keep visible below /tmp, ...
 *			tty=BITS R C	which of fd 0, 1, 2 are a terminal, and its size
 *			hugepages=N	2 MiB pages to reserve
 *			modprobe=NAME	a module to load from the machine's file system
 *			go		the job is complete
 *	later		winch=R C	the terminal has a new size
 *			closed=FD	nobody reads the command's output FD any more
 *	from the host	ready | exit=N | signal=N | fail=TEXT
 *
 * Threads: main forks and reaps. One pump a stream, and one thread that listens on ctl: they share
 * only the file descriptors in struct lab, fixed before they start, and done/closed (pipes).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JOB_MAX = 4 << 20, LIST_MAX = 4096, SHARE_MAX = 16 };

struct job {
	char *arg[LIST_MAX], *env[LIST_MAX], *share[SHARE_MAX], *keep[SHARE_MAX];
	int nargs, nenv, nshares, nkeep;
	const char *cwd, *modules, *modprobe;
	int tty; /* bit N: the command's fd N is the terminal */
	struct winsize size;
	int hugepages;
};

/* One direction of one stream: copied from `from` to `to` by a thread of its own. */
struct pump {
	pthread_t thread;
	int from, to;
	int done;   /* readable: stop once `from` is empty */
	int closed; /* readable: stop now, the reader has gone */
};

struct lab {
	int ctl, in, out, err; /* the ports */
	int pty;	       /* the master side, or -1 */
	struct pump pump[3];   /* by the command's fd */
	int close_pump[3];     /* a byte written here reaches pump[].closed */
};

/* --- talking to lab-run ----------------------------------------------------------------------- */

static int ctl_fd = -1; /* for die(): as global as process 1 is */

static void send_record(int fd, const char *fmt, ...)
{
	char buf[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	if (write(fd, buf, strlen(buf) + 1) < 0)
		perror("lab-init: ctl");
}

/* Tell lab-run (if it listens yet) and the console, then wait to be ended. */
static void __attribute__((noreturn)) die(const char *what)
{
	int err = errno;

	fprintf(stderr, "lab-init: %s: %s\n", what, strerror(err));
	if (ctl_fd >= 0)
		send_record(ctl_fd, "fail=%s: %s", what, strerror(err));
	for (;;)
		pause();
}

/*
 * Open the virtio-serial port of that name, and wait until its other end is connected: a port reads
 * as "end of file" before. Ports appear one by one after the driver has loaded.
 */
static int open_port(const char *name)
{
	char path[300], found[64];
	struct pollfd p = { .events = POLLIN };
	struct dirent *e;
	DIR *d;
	FILE *f;

	for (int tries = 0; tries < 10000; tries++, usleep(1000)) {
		d = opendir("/sys/class/virtio-ports");
		while (d && p.fd <= 0 && (e = readdir(d))) {
			snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", e->d_name);
			f = fopen(path, "r");
			if (!f)
				continue;
			if (fgets(found, sizeof(found), f) &&
			    (found[strcspn(found, "\n")] = 0, !strcmp(found, name))) {
				snprintf(path, sizeof(path), "/dev/%s", e->d_name);
				p.fd = open(path, O_RDWR | O_CLOEXEC);
			}
			fclose(f);
		}
		if (d)
			closedir(d);
		if (p.fd > 0 && poll(&p, 1, 0) >= 0 && !(p.revents & POLLHUP))
			return p.fd;
	}
	errno = ENODEV;
	die(name);
}

static void read_size(const char *s, struct winsize *size)
{
	unsigned int rows = 24, cols = 80;

	sscanf(s, "%u %u", &rows, &cols);
	*size = (struct winsize){ .ws_row = rows, .ws_col = cols };
}

static void add(char **list, int *n, int max, char *s)
{
	if (*n >= max - 1) {
		errno = E2BIG;
		die("job");
	}
	list[(*n)++] = s;
}

/* Read the job's records up to "go". They stay in memory for good: the job points into them. */
static void read_job(int fd, struct job *job)
{
	char *buf = malloc(JOB_MAX), *start = buf, *end = buf, *nul;
	ssize_t n;

	if (!buf)
		die("job");
	for (;;) {
		n = read(fd, end, buf + JOB_MAX - end);
		if (n <= 0)
			die("job");
		end += n;
		for (; (nul = memchr(start, 0, end - start)); start = nul + 1) {
			if (!strncmp(start, "arg=", 4))
				add(job->arg, &job->nargs, LIST_MAX, start + 4);
			else if (!strncmp(start, "env=", 4))
				add(job->env, &job->nenv, LIST_MAX, start + 4);
			else if (!strncmp(start, "share=", 6))
				add(job->share, &job->nshares, SHARE_MAX, start + 6);
			else if (!strncmp(start, "keep=", 5))
				add(job->keep, &job->nkeep, SHARE_MAX, start + 5);
			else if (!strncmp(start, "cwd=", 4))
				job->cwd = start + 4;
			else if (!strncmp(start, "modules=", 8))
				job->modules = start + 8;
			else if (!strncmp(start, "modprobe=", 9))
				job->modprobe = start + 9;
			else if (!strncmp(start, "hugepages=", 10))
				job->hugepages = atoi(start + 10);
			else if (!strncmp(start, "tty=", 4)) {
				job->tty = atoi(start + 4);
				read_size(start + 6, &job->size);
			} else if (!strcmp(start, "go"))
				return;
		}
	}
}

/* --- the host --------------------------------------------------------------------------------- */

/* Collect the parameters that the kernel command line gives to a module: NAME.PARAMETER=VALUE. */
static void module_params(const char *path, char *params, size_t size)
{
	char cmdline[4096] = "", name[128], *word, *save;
	const char *base = strrchr(path, '/') + 1;
	size_t len = strcspn(base, "."), used = 0;
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);

	*params = 0;
	if (fd < 0 || read(fd, cmdline, sizeof(cmdline) - 1) < 0 || len >= sizeof(name))
		return;
	close(fd);
	for (size_t i = 0; i <= len; i++)
		name[i] = i == len ? 0 : base[i] == '-' ? '_' : base[i];
	for (word = strtok_r(cmdline, " \n", &save); word; word = strtok_r(NULL, " \n", &save))
		if (!strncmp(word, name, len) && word[len] == '.' && used < size)
			used += snprintf(params + used, size - used, "%s ", word + len + 1);
}

static void load_modules(const char *list)
{
	char path[512], params[512];
	FILE *f = fopen(list, "r");
	int fd;

	while (f && fgets(path, sizeof(path), f)) {
		path[strcspn(path, "\n")] = 0;
		fd = open(path, O_RDONLY | O_CLOEXEC);
		module_params(path, params, sizeof(params));
		/* A module without its hardware is no error: kvm_amd on another CPU, say. */
		if (fd < 0 || syscall(SYS_finit_module, fd, params, 0) < 0)
			fprintf(stderr, "lab-init: %s: %s\n", path, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
	if (f)
		fclose(f);
}

/* Run modprobe(8), which finds the dependencies, in the new root. */
static void run_modprobe(const char *name)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		execle("/sbin/modprobe", "modprobe", name, NULL, (char *[]){ NULL });
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status)
		fprintf(stderr, "lab-init: modprobe %s: status %#x\n", name, status);
}

/* Make a directory and those above it. */
static void make_dirs(const char *path)
{
	char buf[4096];

	snprintf(buf, sizeof(buf), "%s", path);
	for (char *p = buf + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		mkdir(buf, 0755);
		*p = '/';
	}
	mkdir(buf, 0755);
}

static void mount_at(const char *source, const char *target, const char *type, unsigned long flags,
		     const char *data)
{
	make_dirs(target);
	if (mount(source, target, type, flags, data) < 0)
		die(target);
}

/* Write to a file of /proc or /sys; it may not be there. */
static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fprintf(stderr, "lab-init: %s: %s\n", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/*
 * Make the machine's root file system, below an overlay, this host's root. The machine's files do
 * not change behind our back in any way that matters here, so the client may cache them (loose).
 */
static void build_root(void)
{
	mount_at("host", "/lower", "9p", MS_RDONLY,
		 "trans=virtio,version=9p2000.L,msize=512000,cache=loose");
	mount_at("tmpfs", "/rw", "tmpfs", 0, "size=75%");
	make_dirs("/rw/upper");
	make_dirs("/rw/work");
	mount_at("overlay", "/root", "overlay", 0,
		 "lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work,redirect_dir=off,index=off");
	if (mount("/dev", "/root/dev", NULL, MS_MOVE, NULL) < 0 ||
	    mount("/proc", "/root/proc", NULL, MS_MOVE, NULL) < 0 ||
	    mount("/sys", "/root/sys", NULL, MS_MOVE, NULL) < 0)
		die("moving mounts");
	if (chdir("/root") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
	    chdir("/") < 0)
		die("root");
}

/* Mount a fresh tmpfs at `target`, and put back into it the kept paths that it hides. */
static void mount_scratch(const char *target, const char *data, const struct job *job)
{
	size_t len = strlen(target);
	int kept[SHARE_MAX];

	for (int i = 0; i < job->nkeep; i++) {
		kept[i] = -1;
		if (!strncmp(job->keep[i], target, len) && job->keep[i][len] == '/')
			kept[i] = syscall(SYS_open_tree, AT_FDCWD, job->keep[i],
					  OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	}
	mount_at("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, data);
	for (int i = 0; i < job->nkeep; i++) {
		if (kept[i] < 0)
			continue;
		make_dirs(job->keep[i]);
		if (syscall(SYS_move_mount, kept[i], "", AT_FDCWD, job->keep[i],
			    MOVE_MOUNT_F_EMPTY_PATH) < 0)
			die(job->keep[i]);
		close(kept[i]);
	}
}

/*
 * Keep one virtual machine with one CPU, which never runs, for as long as the host is up. With the
 * first machine and the last, and while some local APIC is in its reset state, KVM patches the
 * scheduler's and its own code (static keys); an emulated CPU sometimes still meets the breakpoint
 * that stood there during the patching, which a real one can't, and the host dies of it.
 */
static void keep_kvm_busy(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);

	if (kvm < 0 || vm < 0)
		return; /* the command will see for itself */
	ioctl(vm, KVM_CREATE_IRQCHIP);
	ioctl(vm, KVM_CREATE_VCPU, 0UL);
}

static void set_up_host(const struct job *job)
{
	char path[4096], tag[16], number[16];
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	struct utsname uts;
	int fd;

	if (job->modules) {
		uname(&uts);
		snprintf(path, sizeof(path), "/lib/modules/%s", uts.release);
		make_dirs(path);
		if (mount(job->modules, path, NULL, MS_BIND, NULL) < 0)
			fprintf(stderr, "lab-init: %s: %s\n", job->modules, strerror(errno));
	}
	mount_scratch("/tmp", "mode=1777", job);
	mount_scratch("/run", "mode=755", job);
	mount_at("devpts", "/dev/pts", "devpts", MS_NOSUID, "mode=620,gid=5,ptmxmode=666");
	mount_scratch("/dev/shm", "mode=1777", job);
	mount_at("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL);
	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	for (int i = 0; i < job->nshares; i++) {
		snprintf(tag, sizeof(tag), "share%d", i);
		mount_at(tag, job->share[i], "9p", 0,
			 "trans=virtio,version=9p2000.L,msize=512000,cache=mmap");
	}
	if (job->modprobe)
		run_modprobe(job->modprobe);
	if (job->hugepages) {
		snprintf(number, sizeof(number), "%d", job->hugepages);
		write_file("/proc/sys/vm/nr_hugepages", number);
		mount_at("hugetlbfs", "/dev/hugepages", "hugetlbfs", 0, NULL);
	}
	symlink("/proc/self/fd", "/dev/fd");
	symlink("/proc/self/fd/0", "/dev/stdin");
	symlink("/proc/self/fd/1", "/dev/stdout");
	symlink("/proc/self/fd/2", "/dev/stderr");
	/* Guest memory of huge pages, without which each first touch costs a nested page fault. */
	write_file("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "advise");
	chmod("/dev/kvm", 0666);
	keep_kvm_busy();
	chmod("/dev/net/tun", 0666);
	chmod("/dev/vhost-net", 0666);
	sethostname("lab", 3);
	setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY });
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 65536, 1 << 20 });

	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) < 0)
		fprintf(stderr, "lab-init: lo: %s\n", strerror(errno));
	close(fd);
}

/* --- the command ------------------------------------------------------------------------------ */

static int write_all(int fd, const char *buf, size_t len)
{
	for (ssize_t n; len; buf += n, len -= n) {
		n = write(fd, buf, len);
		if (n < 0)
			return -errno;
	}
	return 0;
}

/* Copy until the source ends, the sink fails, or the others say so (see struct pump). */
static void *pump_run(void *arg)
{
	struct pump *p = arg;
	struct pollfd fds[] = {
		{ .fd = p->from, .events = POLLIN },
		{ .fd = p->done, .events = POLLIN },
		{ .fd = p->closed, .events = POLLIN },
	};
	char *buf = malloc(1 << 16);
	ssize_t n;

	while (buf && poll(fds, 3, -1) > 0) {
		if (fds[2].revents) {
			close(p->from); /* the command's next write is a SIGPIPE */
			break;
		}
		if (fds[0].revents) {
			n = read(p->from, buf, 1 << 16);
			/* A pty whose last slave has closed reads as EIO. */
			if (n <= 0 || write_all(p->to, buf, n) < 0)
				break;
		} else if (fds[1].revents) {
			break;
		}
	}
	free(buf);
	return NULL;
}

/* The command's input. Its end is passed on by closing our side of the pipe. */
static void *pump_input(void *arg)
{
	struct pump *p = arg;

	pump_run(p);
	if (p->closed < 0) /* a pipe, not the terminal */
		close(p->to);
	return NULL;
}

/* Records that come while the command runs. */
static void *listen_ctl(void *arg)
{
	struct lab *lab = arg;
	char buf[256], *start, *nul;
	struct winsize size;
	size_t have = 0;
	ssize_t n;
	int fd;

	while ((n = read(lab->ctl, buf + have, sizeof(buf) - have)) > 0) {
		have += n;
		for (start = buf; (nul = memchr(start, 0, buf + have - start)); start = nul + 1) {
			if (!strncmp(start, "winch=", 6)) {
				read_size(start + 6, &size);
				ioctl(lab->pty, TIOCSWINSZ, &size);
			} else if (sscanf(start, "closed=%d", &fd) == 1 && (fd == 1 || fd == 2)) {
				(void)!write(lab->close_pump[fd], "", 1);
			}
		}
		have = buf + have - start;
		memmove(buf, start, have);
	}
	return NULL;
}

/* In the child: become the command. */
static void __attribute__((noreturn)) exec_command(const struct job *job, const int fd[3], int tty)
{
	sigset_t none;

	setsid();
	if (tty >= 0)
		ioctl(tty, TIOCSCTTY, 0);
	for (int i = 0; i < 3; i++)
		dup2(fd[i], i);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(022);
	if (chdir(job->cwd ? job->cwd : "/") < 0) {
		fprintf(stderr, "lab: %s: %s\n", job->cwd, strerror(errno));
		_exit(126);
	}
	environ = (char **)job->env;
	execvp(job->arg[0], job->arg);
	fprintf(stderr, "lab: %s: %s\n", job->arg[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

/* Connect the command's fd 0, 1 and 2, start it and the pumps. Returns its pid. */
static pid_t start_command(struct lab *lab, const struct job *job, int done)
{
	int port[3] = { lab->in, lab->out, lab->err };
	int fd[3], ours[3], slave = -1, p[2];
	pthread_t listener;
	pid_t pid;

	lab->pty = -1;
	if (job->tty && openpty(&lab->pty, &slave, NULL, NULL, &job->size) < 0)
		die("pty");
	for (int i = 0; i < 3; i++) {
		if (job->tty & 1 << i) {
			fd[i] = slave;
			ours[i] = i < 2 ? lab->pty : -1; /* one pump reads the terminal */
		} else if (pipe2(p, O_CLOEXEC) == 0) {
			fd[i] = p[i > 0];
			ours[i] = p[i == 0];
		} else {
			die("pipe");
		}
	}
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0)
		exec_command(job, fd, slave);
	/* Keep the terminal's slave open: else its master hangs up between two programs. */
	for (int i = 0; i < 3; i++)
		if (fd[i] != slave)
			close(fd[i]);

	for (int i = 0; i < 3; i++) {
		struct pump *pump = &lab->pump[i];

		*pump = (struct pump){ .from = i ? ours[i] : port[0],
				       .to = i ? port[i] : ours[0],
				       .done = i ? done : -1,
				       .closed = -1 };
		if (i && pipe2(p, O_CLOEXEC) == 0) {
			pump->closed = p[0];
			lab->close_pump[i] = p[1];
		}
		if (ours[i] >= 0)
			pthread_create(&pump->thread, NULL, i ? pump_run : pump_input, pump);
	}
	pthread_create(&listener, NULL, listen_ctl, lab);
	return pid;
}

int main(void)
{
	static struct job job;
	static struct lab lab;
	int done[2], status = 0;
	pid_t pid, child;

	mount_at("proc", "/proc", "proc", 0, NULL);
	mount_at("sys", "/sys", "sysfs", 0, NULL);
	mount_at("dev", "/dev", "devtmpfs", 0, NULL);
	signal(SIGPIPE, SIG_IGN);
	load_modules("/etc/modules");
	lab.ctl = ctl_fd = open_port("lab.ctl");
	lab.in = open_port("lab.in");
	lab.out = open_port("lab.out");
	lab.err = open_port("lab.err");
	build_root();
	read_job(lab.ctl, &job);
	set_up_host(&job);
	if (pipe2(done, O_CLOEXEC) < 0)
		die("pipe");
	send_record(lab.ctl, "ready");

	child = start_command(&lab, &job, done[0]);
	while ((pid = wait(&status)) != child)
		if (pid < 0)
			die("wait");

	/* What the command wrote before it ended is in the pipes: let the pumps empty them. */
	close(done[1]);
	for (int i = 1; i < 3; i++)
		if (lab.pump[i].from >= 0)
			pthread_join(lab.pump[i].thread, NULL);
	sync();
	if (WIFSIGNALED(status))
		send_record(lab.ctl, "signal=%d", WTERMSIG(status));
	else
		send_record(lab.ctl, "exit=%d", WEXITSTATUS(status));
	for (;;)
		pause();
}
