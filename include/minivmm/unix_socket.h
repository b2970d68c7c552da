/* SPDX-License-Identifier: MIT */
/*
 * unix_socket.h - listening on a UNIX stream socket: for consoles, network cables, whoever else has
 * clients on this host.
 */
#ifndef MINIVMM_UNIX_SOCKET_H
#define MINIVMM_UNIX_SOCKET_H

#include "minivmm/base.h"

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

/* What the user can do about such an error, to be put behind strerror(); "" if we don't know. */
const char *unix_mend(int err);

#endif
