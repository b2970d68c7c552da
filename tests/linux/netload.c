// SPDX-License-Identifier: MIT
/*
 * netload.c - send a stream of which the receiver checks every byte. Statically linked, for the guest
 * and for the host.
 *
 *	netload receive PORT BYTES	wait for one connection, check what comes
 *	netload send HOST PORT BYTES	exit status 0 only if the receiver found nothing wrong
 *
 * The stream's n-th 64-bit word is a mix of n, so that what is lost, doubled or moved is found as well
 * as what is changed. The receiver answers with one byte.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WORDS 32768

static uint64_t expect[WORDS], got[WORDS];

static void fill(uint64_t from)
{
	for (uint64_t i = 0; i < WORDS; i++) {
		uint64_t x = (from + i) * 0x9e3779b97f4a7c15ULL;

		expect[i] = x ^ x >> 29;
	}
}

static int fail(const char *what)
{
	fprintf(stderr, "netload: %s: %s\n", what, strerror(errno));
	return 1;
}

/* Up to `len` bytes, fewer only at the end. */
static size_t read_full(int fd, void *buf, size_t len)
{
	size_t done = 0;
	ssize_t n;

	while (done < len && (n = read(fd, (char *)buf + done, len - done)) > 0)
		done += n;
	return done;
}

static int write_full(int fd, const void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = send(fd, (const char *)buf + done, len - done, MSG_NOSIGNAL);

		if (n < 0)
			return -1;
		done += n;
	}
	return 0;
}

static int receive(int port, uint64_t bytes)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1, c;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1) < 0)
		return fail("listen");
	printf("netload: listening\n");
	fflush(stdout);
	c = accept(fd, NULL, NULL);
	if (c < 0)
		return fail("accept");
	for (uint64_t done = 0; done < bytes; done += sizeof(got)) {
		size_t want = bytes - done < sizeof(got) ? bytes - done : sizeof(got);
		size_t n = read_full(c, got, want);

		fill(done / 8);
		if (n < want) {
			fprintf(stderr, "netload: the stream ended after %llu bytes\n",
				(unsigned long long)(done + n));
			return 1;
		}
		if (memcmp(got, expect, n) != 0) {
			fprintf(stderr, "netload: wrong data behind byte %llu\n",
				(unsigned long long)done);
			return 1;
		}
	}
	if (write_full(c, "+", 1) < 0)
		return fail("answer");
	printf("netload: %llu bytes are right\n", (unsigned long long)bytes);
	return 0;
}

static int transmit(const char *host, int port, uint64_t bytes)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char answer;

	if (inet_pton(AF_INET, host, &a.sin_addr) != 1 ||
	    connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return fail("connect");
	for (uint64_t done = 0; done < bytes; done += sizeof(expect)) {
		size_t n = bytes - done < sizeof(expect) ? bytes - done : sizeof(expect);

		fill(done / 8);
		if (write_full(fd, expect, n) < 0)
			return fail("send");
	}
	if (read_full(fd, &answer, 1) != 1) {
		fprintf(stderr, "netload: the receiver is not content\n");
		return 1;
	}
	printf("netload: %llu bytes arrived\n", (unsigned long long)bytes);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "receive"))
		return receive(atoi(argv[2]), strtoull(argv[3], NULL, 0));
	if (argc == 5 && !strcmp(argv[1], "send"))
		return transmit(argv[2], atoi(argv[3]), strtoull(argv[4], NULL, 0));
	fprintf(stderr, "usage: netload receive PORT BYTES | send HOST PORT BYTES\n");
	return 2;
}
