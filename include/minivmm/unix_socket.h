/* SPDX-License-Identifier: MIT */
/*
 * unix_socket.h - listening on a UNIX stream socket: for consoles, network cables, whoever else has
 * clients on this host.
 */
#ifndef MINIVMM_UNIX_SOCKET_H
#define MINIVMM_UNIX_SOCKET_H

#include "minivmm/base.h"

#include <sys/types.h>
#include <sys/un.h>

/* The address of the socket at `path`. Returns 0 or -ENAMETOOLONG. */
int unix_address(struct sockaddr_un *addr, const char *path);

/*
 * Make a socket file at `addr` and listen there; one that nobody listens on any more is replaced. The
 * file is the caller's to remove. Any thread. Returns the descriptor, which does not block and is closed
 * on exec, or -errno, and then there is no file of ours. -EADDRINUSE: somebody does listen; -EEXIST:
 * another kind of file is there.
 */
int unix_listen(const struct sockaddr_un *addr, int backlog);

/* The same, but only for this process's user: the file never has another mode than 0600. */
int unix_listen_private(const struct sockaddr_un *addr, int backlog);
/*
 * The same, with what is needed to remove the file later: by a process that is another user by then, or in
 * another folder. All zeroes but for fd -1: none.
 */
struct unix_door {
	int fd;	    /* listens; whoever takes it sets it to -1 */
	int folder; /* where the file is */
	char name[sizeof(((struct sockaddr_un *)0)->sun_path)];
	u64 dev, ino; /* the file, so that nobody else's is removed */
};

/* Returns 0, or -errno as unix_address() and unix_listen(). */
int unix_door_open(struct unix_door *d, const char *path, int backlog);

/* Make a socket's file another user's. Returns 0 or -errno; -EEXIST: it is no socket, or no longer the
 * door's. */
int unix_give(const char *path, uid_t uid, gid_t gid);
int unix_door_give(const struct unix_door *d, uid_t uid, gid_t gid);

/* Remove the file, if it still is ours, and close what is open. Returns 0, or -errno: the file is still
 * there. */
int unix_door_close(struct unix_door *d);

/* What the user can do about such an error, to be put behind strerror(); "" if we don't know. */
const char *unix_mend(int err);

#endif
