// SPDX-License-Identifier: MIT
/*
 * unix_socket.c - see unix_socket.h.
 *
 * A socket file outlives who made it. Whether it is still in use is known by connecting to it.
 */
#include "minivmm/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int unix_address(struct sockaddr_un *addr, const char *path)
{
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(addr->sun_path))
		return -ENAMETOOLONG;
	strcpy(addr->sun_path, path);
	return 0;
}

static int new_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

/* Is the socket file at `addr` one that nobody listens on? 0: yes. */
static int check_stale(const struct sockaddr_un *addr)
{
	struct stat st;
	int fd, err;

	if (lstat(addr->sun_path, &st) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = new_socket();
	if (fd < 0)
		return fd;
	err = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;
	close(fd);
	return err == -ECONNREFUSED ? 0 : -EADDRINUSE;
}

static int bind_to(int fd, const struct sockaddr_un *addr)
{
	const struct sockaddr *sa = (const struct sockaddr *)addr;
	int err = bind(fd, sa, sizeof(*addr)) < 0 ? -errno : 0;

	if (err != -EADDRINUSE)
		return err;
	err = check_stale(addr);
	if (err)
		return err;
	unlink(addr->sun_path);
	return bind(fd, sa, sizeof(*addr)) < 0 ? -errno : 0;
}

/* `mode` of the socket's file, less the umask. It is there from the first moment: bind() takes it from the
 * socket (unix(7) leaves it to the reader of net/unix/af_unix.c). */
static int listen_with(const struct sockaddr_un *addr, int backlog, mode_t mode)
{
	int fd = new_socket(), err;

	if (fd < 0)
		return fd;
	err = fchmod(fd, mode) < 0 ? -errno : bind_to(fd, addr);
	if (!err && listen(fd, backlog) < 0) {
		err = -errno;
		unlink(addr->sun_path);
	}
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

int unix_listen(const struct sockaddr_un *addr, int backlog)
{
	return listen_with(addr, backlog, 0777);
}

int unix_listen_private(const struct sockaddr_un *addr, int backlog)
{
	return listen_with(addr, backlog, 0600);
}

/* Open the folder of `path`, and find where in it the name begins. */
static int open_folder(const char *path, const char **name)
{
	const char *slash = strrchr(path, '/');
	char folder[sizeof(((struct sockaddr_un *)0)->sun_path)] = ".";
	int fd;

	*name = slash ? slash + 1 : path;
	if (slash) /* the root folder is its own slash */
		snprintf(folder, sizeof(folder), "%.*s", slash == path ? 1 : (int)(slash - path),
			 path);
	fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Is the file there, and the one that was made? Notes which it is at first. Returns 1, 0, or -errno: nobody
 * tells us. */
static int find_file(struct unix_door *d, bool first)
{
	struct stat st;

	if (fstatat(d->folder, d->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (first) {
		d->dev = st.st_dev;
		d->ino = st.st_ino;
	}
	return S_ISSOCK(st.st_mode) && st.st_dev == d->dev && st.st_ino == d->ino;
}

int unix_door_open(struct unix_door *d, const char *path, int backlog)
{
	struct sockaddr_un addr;
	const char *name;
	int err = *path ? unix_address(&addr, path) : -ENOENT;

	*d = (struct unix_door){ .fd = -1, .folder = -1 };
	if (err)
		return err;
	d->folder = open_folder(path, &name);
	if (d->folder < 0)
		return d->folder;
	strcpy(d->name, name);
	err = d->fd = unix_listen(&addr, backlog);
	if (err >= 0)
		err = find_file(d, true);
	err = err > 0 ? 0 : err ? err : -ENOENT;
	if (err)
		unix_door_close(d);
	return err;
}

/* Make a socket's file another user's: the one that has been looked at, whatever is at that name by then.
 * `d`: it must be this one's. */
static int give(int folder, const char *name, const struct unix_door *d, uid_t uid, gid_t gid)
{
	int fd = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), err = 0;
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if (!S_ISSOCK(st.st_mode) || (d && (st.st_dev != d->dev || st.st_ino != d->ino)))
		err = -EEXIST;
	else if (fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0)
		err = -errno;
	close(fd);
	return err;
}

int unix_give(const char *path, uid_t uid, gid_t gid)
{
	return give(AT_FDCWD, path, NULL, uid, gid);
}

int unix_door_give(const struct unix_door *d, uid_t uid, gid_t gid)
{
	return give(d->folder, d->name, d, uid, gid);
}

int unix_door_close(struct unix_door *d)
{
	int err = d->folder >= 0 && d->ino ? find_file(d, false) : 0;

	if (err > 0)
		err = unlinkat(d->folder, d->name, 0) < 0 ? -errno : 0;
	if (d->fd >= 0)
		close(d->fd);
	if (d->folder >= 0)
		close(d->folder);
	*d = (struct unix_door){ .fd = -1, .folder = -1 };
	return err;
}

const char *unix_mend(int err)
{
	switch (err) {
	case -ENAMETOOLONG:
		return "; a socket's path has at most 107 bytes";
	case -EADDRINUSE:
		return "; another program listens there: end it, or choose another path";
	case -EEXIST:
		return " and is no socket; remove it, or choose another path";
	default:
		return "";
	}
}
