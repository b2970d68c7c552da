// SPDX-License-Identifier: MIT
/*
 * netrr.c - request and response, one at a time: the load of the round-trip rows. Static, so that it is all
 * that the guest needs.
 *
 *	netrr serve PORT
 *	netrr HOST PORT MILLISECONDS
 *
 * A request is one byte on a TCP connection without delay, and so is its answer. The client prints the line
 * of latency.h; the first 100 round trips do not count.
 */
#include "latency.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WARM_UP 100

static void no_delay(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* One client after another, without end. */
static void serve(struct sockaddr_in *addr)
{
	int s = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(s, (struct sockaddr *)addr, sizeof(*addr)) < 0 || listen(s, 1) < 0)
		err(1, "listen");
	for (;;) {
		int fd = accept(s, NULL, NULL);
		char c;

		if (fd < 0)
			err(1, "accept");
		no_delay(fd);
		while (read(fd, &c, 1) == 1 && write(fd, &c, 1) == 1)
			;
		close(fd);
	}
}

static void trip(int fd)
{
	char c = 'x';

	if (write(fd, &c, 1) != 1 || read(fd, &c, 1) != 1)
		err(1, "the connection");
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	struct latencies l;
	uint64_t start, end, now;
	int fd;

	if (argc == 3 && strcmp(argv[1], "serve") == 0) {
		addr.sin_port = htons(atoi(argv[2]));
		serve(&addr);
	}
	if (argc != 4 || !inet_aton(argv[1], &addr.sin_addr))
		errx(2, "Usage: netrr serve PORT | netrr ADDRESS PORT MILLISECONDS");
	addr.sin_port = htons(atoi(argv[2]));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		err(1, "connect");
	no_delay(fd);
	for (int i = 0; i < WARM_UP; i++)
		trip(fd);
	latencies_init(&l);
	start = now = now_ns();
	end = start + strtoull(argv[3], NULL, 10) * 1000000;
	while (now < end) {
		uint64_t before = now;

		trip(fd);
		now = now_ns();
		latencies_add(&l, now - before);
	}
	latencies_print(&l, now - start);
	return 0;
}
