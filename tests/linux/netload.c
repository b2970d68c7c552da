// SPDX-License-Identifier: MIT
/*
 * netload.c - send a stream of which the receiver checks every byte. Statically linked, for the guest
 * and for the host.
 *
 *	netload receive PORT BYTES	wait for one connection, check what comes
 *	netload send HOST PORT BYTES	exit status 0 only if the receiver found nothing wrong
 *	netload count PORT		numbered datagrams: exit status 0 only if each came, once and in order
 *	netload number HOST PORT MS	send such, one each MS milliseconds, until SIGTERM
 *
 * The stream's n-th 64-bit word is a mix of n, so that what is lost, doubled or moved is found as well
 * as what is changed. The receiver answers with one byte.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
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
	const struct timeval linger = { .tv_sec = 20 };
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
	/* The sender closes when it has that. Till then we stay: this may be a guest that ends next, and with it the
	 * answer, if that has to be sent once more. The sender may have ended, too, so not for ever. */
	setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &linger, sizeof(linger));
	read_full(c, got, 1);
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

/* ---- datagrams ---- */

#define LAST	  (1ULL << 63) /* the number is how many there were */
#define LAST_SENT 20	       /* times, since one may be lost */

static volatile sig_atomic_t over;

static void on_term(int sig)
{
	(void)sig;
	over = 1;
}

static int number(const char *host, int port, int ms)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	const struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	uint64_t n = 0, last;

	signal(SIGTERM, on_term);
	if (inet_pton(AF_INET, host, &a.sin_addr) != 1 ||
	    connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return fail("connect");
	for (; !over; n++) {
		if (send(fd, &n, sizeof(n), 0) < 0)
			return fail("send");
		nanosleep(&pause, NULL);
	}
	last = n | LAST;
	for (int i = 0; i < LAST_SENT; i++) {
		send(fd, &last, sizeof(last), 0);
		nanosleep(&pause, NULL);
	}
	printf("netload: %llu datagrams sent\n", (unsigned long long)n);
	return 0;
}

static int count(int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	int room = 8 << 20; /* we may get no CPU for a while */
	uint64_t n, next = 0, came = 0, late = 0;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return fail("bind");
	printf("netload: listening\n");
	fflush(stdout);
	for (;;) {
		if (recv(fd, &n, sizeof(n), 0) != sizeof(n))
			return fail("recv");
		if (n & LAST)
			break;
		came++;
		if (n > next)
			printf("netload: %llu are missing from %llu on\n",
			       (unsigned long long)(n - next), (unsigned long long)next);
		if (n < next)
			late++;
		else
			next = n + 1;
	}
	n &= ~LAST;
	if (n > next)
		printf("netload: %llu are missing from %llu on, the last\n",
		       (unsigned long long)(n - next), (unsigned long long)next);
	printf("netload: %llu datagrams of %llu came, %llu of them late or twice\n",
	       (unsigned long long)came, (unsigned long long)n, (unsigned long long)late);
	return came != n || late;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "count"))
		return count(atoi(argv[2]));
	if (argc == 5 && !strcmp(argv[1], "number"))
		return number(argv[2], atoi(argv[3]), atoi(argv[4]));
	if (argc == 4 && !strcmp(argv[1], "receive"))
		return receive(atoi(argv[2]), strtoull(argv[3], NULL, 0));
	if (argc == 5 && !strcmp(argv[1], "send"))
		return transmit(argv[2], atoi(argv[3]), strtoull(argv[4], NULL, 0));
	fprintf(stderr, "usage: netload receive PORT BYTES | send HOST PORT BYTES |\n"
			"       netload count PORT | number HOST PORT MS\n");
	return 2;
}
