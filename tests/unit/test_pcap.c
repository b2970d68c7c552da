// SPDX-License-Identifier: MIT
/*
 * test_pcap.c - a peer that writes down what goes through: the file, byte by byte, and as tcpdump reads
 * it.
 */
#include "tests/unit/peer_rig.h"
#include "tests/unit/peer_stub.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILE_HEADER   24
#define RECORD_HEADER 16

static struct peer_rig r;
static struct stub_peer *stub;
static char path[64];
static u8 file[1 << 20];
static u32 nfile;

static void begin(u32 npairs)
{
	struct peer *p;

	peer_rig_init(&r);
	stub = stub_peer_create(npairs);
	p = &stub->peer;
	ck_assert_int_eq(peer_pcap(&p, path), 0);
	ck_assert_int_eq(peer_pcap_begin(p), 0);
	peer_rig_begin(&r, p);
	expect_silence();
}

static void setup(void)
{
	strcpy(path, "/tmp/minivmm-unit-XXXXXX");
	close(mkstemp(path));
}

static void teardown(void)
{
	unlink(path);
}

static void read_file(void)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, file, sizeof(file));

	ck_assert_int_ge(n, FILE_HEADER);
	nfile = n;
	close(fd);
}

static u32 word(u32 at)
{
	u32 w;

	ck_assert_uint_le(at + 4, nfile);
	memcpy(&w, file + at, 4);
	return w;
}

/* The record at *at is this frame, of now. */
static void expect_record(u32 *at, const u8 *frame, u32 len)
{
	ck_assert_uint_le(word(*at), (u32)time(NULL) + 1) /* it may lag by a tick */;
	ck_assert_uint_ge(word(*at), (u32)time(NULL) - 100);
	ck_assert_uint_lt(word(*at + 4), 1000000000);
	ck_assert_uint_eq(word(*at + 8), len);
	ck_assert_uint_eq(word(*at + 12), len);
	ck_assert_uint_le(*at + RECORD_HEADER + len, nfile);
	ck_assert_mem_eq(file + *at + RECORD_HEADER, frame, len);
	*at += RECORD_HEADER + len;
}

START_TEST(the_file_has_what_went_either_way)
{
	u8 out[1500], in[100];
	u32 at = FILE_HEADER;

	begin(1);
	make_frame(out, sizeof(out), 77);
	ck_assert_int_eq(peer_rig_send(&r, 0, out, sizeof(out)), 0);
	stub->q[0].waiting = 1;
	make_frame(in, sizeof(in), 0);
	peer_rig_expect(&r, 0, in, sizeof(in));
	ck_assert_int_eq(peer_rig_receive(&r, 0), -EAGAIN);
	stub->q[0].full = true;
	ck_assert_int_eq(peer_rig_send(&r, 0, out, sizeof(out)), -EAGAIN); /* not yet sent */
	stub->q[0].full = false;
	ck_assert_int_eq(peer_rig_send(&r, 0, out, 60), 0);

	read_file();
	ck_assert_uint_eq(word(0), 0xa1b23c4d);
	ck_assert_uint_eq(word(4), 4 << 16 | 2);
	ck_assert_uint_eq(word(8), 0);
	ck_assert_uint_eq(word(12), 0);
	ck_assert_uint_ge(word(16), PEER_FRAME_MAX);
	ck_assert_uint_eq(word(20), 1);
	expect_record(&at, out, sizeof(out));
	expect_record(&at, in, sizeof(in));
	expect_record(&at, out, 60);
	ck_assert_uint_eq(at, nfile);
	peer_rig_free(&r);
}

START_TEST(an_older_file_is_replaced)
{
	int fd = open(path, O_WRONLY);

	ck_assert_int_eq(write(fd, file, 1000), 1000);
	close(fd);
	begin(1);
	read_file();
	ck_assert_uint_eq(nfile, FILE_HEADER);
	peer_rig_free(&r);
}

START_TEST(what_has_begun_goes_on)
{
	u32 at = FILE_HEADER;
	u8 frame[60];

	begin(1);
	make_frame(frame, sizeof(frame), 1);
	ck_assert_int_eq(peer_rig_send(&r, 0, frame, sizeof(frame)), 0);
	ck_assert_int_eq(peer_pcap_begin(r.peer), 0); /* the guest's next life */
	ck_assert_int_eq(peer_rig_send(&r, 0, frame, sizeof(frame)), 0);
	read_file();
	expect_record(&at, frame, sizeof(frame));
	expect_record(&at, frame, sizeof(frame));
	ck_assert_uint_eq(at, nfile);
	peer_rig_free(&r);
}

/* Make a capture that never begins. */
static void refuse(void)
{
	struct peer *p = &stub_peer_create(1)->peer;

	ck_assert_int_eq(peer_pcap(&p, path), 0);
	peer_destroy(p);
}

START_TEST(one_that_does_not_begin_leaves_nothing)
{
	struct stat st;
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	ck_assert_int_eq(write(fd, "old", 3), 3);
	close(fd);
	refuse();
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_size, 3);
	unlink(path);
	refuse();
	ck_assert_int_lt(stat(path, &st), 0);
	begin(1); /* one that has begun stays, though nothing went through */
	peer_rig_free(&r);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_size, FILE_HEADER);
}

START_TEST(a_file_of_another_is_not_removed)
{
	struct peer *p = &stub_peer_create(1)->peer;
	struct stat st;
	int fd;

	unlink(path);
	ck_assert_int_eq(peer_pcap(&p, path), 0);
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	peer_destroy(p);
	ck_assert_int_eq(stat(path, &st), 0);
	close(fd);
}

START_TEST(a_frame_that_was_cut_off_is_as_it_was_received)
{
	u8 in[100], hdr[PEER_HDR_LEN];
	struct iovec iov[] = { { hdr, sizeof(hdr) }, { r.frame, 30 }, { r.frame + 30, 20 } };
	u32 at = FILE_HEADER;

	begin(1);
	stub->q[0].waiting = 1;
	make_frame(in, sizeof(in), 0);
	ck_assert_int_eq(peer_receive(r.peer->queue(r.peer, 0), iov, 3), PEER_HDR_LEN + 50);
	read_file();
	expect_record(&at, in, 50);
	ck_assert_uint_eq(at, nfile);
	peer_rig_free(&r);
}

static void *send_many(void *arg)
{
	struct peer_queue *q = arg;
	u8 buf[PEER_HDR_LEN + 200] = { 0 };

	for (u32 i = 0; i < 500; i++) {
		struct iovec iov[] = { { buf, PEER_HDR_LEN },
				       { buf + PEER_HDR_LEN, 77 },
				       { buf + PEER_HDR_LEN + 77, 123 } };

		make_frame(buf + PEER_HDR_LEN, 200, q->index * 1000 + i);
		peer_send(q, iov, 3);
	}
	return NULL;
}

START_TEST(pairs_on_several_threads_do_not_mix)
{
	u32 next[4] = { 0 }, at = FILE_HEADER;
	pthread_t thread[4];
	u8 frame[200];

	begin(4);
	for (u32 i = 0; i < 4; i++)
		ck_assert_int_eq(
			pthread_create(&thread[i], NULL, send_many, r.peer->queue(r.peer, i)), 0);
	for (u32 i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	read_file();
	ck_assert_uint_eq(nfile, FILE_HEADER + 4 * 500 * (RECORD_HEADER + 200));
	while (at < nfile) { /* whose is it? The next one of some pair's */
		u32 i = 0;

		for (; i < 4; i++) {
			make_frame(frame, sizeof(frame), i * 1000 + next[i]);
			if (memcmp(frame, file + at + RECORD_HEADER, sizeof(frame)) == 0)
				break;
		}
		ck_assert_uint_lt(i, 4);
		next[i]++;
		expect_record(&at, frame, sizeof(frame));
	}
	peer_rig_free(&r);
}

START_TEST(a_full_disk_ends_the_capture_and_not_the_traffic)
{
	struct rlimit size;
	u32 at = FILE_HEADER;
	u8 frame[1000];

	signal(SIGXFSZ, SIG_IGN); /* as the program does */
	begin(1);
	getrlimit(RLIMIT_FSIZE, &size);
	size.rlim_cur = FILE_HEADER + 3 * (RECORD_HEADER + sizeof(frame)) + 500;
	setrlimit(RLIMIT_FSIZE, &size);
	make_frame(frame, sizeof(frame), 1);
	for (u32 i = 0; i < 10; i++)
		ck_assert_int_eq(peer_rig_send(&r, 0, frame, sizeof(frame)), 0);
	ck_assert_uint_eq(stub->q[0].sent, 10);
	expect_said("the capture ends here");
	stub->q[0].waiting = 1;
	ck_assert_int_gt(peer_rig_receive(&r, 0), 0);
	read_file();
	for (u32 i = 0; i < 3; i++)
		expect_record(&at, frame, sizeof(frame));
	ck_assert_uint_eq(at, nfile); /* whole records */
	expect_silence();
	peer_rig_free(&r);
}

START_TEST(what_it_does_not_know_is_the_peer_behinds)
{
	bool destroyed = false;

	begin(3);
	stub->destroyed = &destroyed;
	ck_assert_uint_eq(r.peer->features, 0x55);
	ck_assert_uint_eq(r.peer->npairs, 3);
	ck_assert_uint_eq(r.peer->mtu, 1234);
	ck_assert_int_eq(peer_set_offloads(r.peer, 0x11), 0);
	ck_assert_uint_eq(stub->offloads, 0x11);
	ck_assert_int_eq(peer_set_pairs(r.peer, 2), 0);
	ck_assert_uint_eq(stub->pairs, 2);
	stub->peer.link_changed(&stub->peer, false);
	ck_assert_uint_eq(r.downs, 1);
	peer_want(r.peer->queue(r.peer, 1), PEER_WRITE);
	loop_settle(r.loop);
	ck_assert_uint_eq(r.writes, 1);
	stub->q[2].waiting = 1;
	peer_want(r.peer->queue(r.peer, 2), PEER_READ);
	loop_settle(r.loop);
	ck_assert_uint_eq(r.reads_of[2], 1);
	peer_rig_free(&r);
	ck_assert(destroyed);
}

START_TEST(a_file_that_cannot_be_is_told)
{
	struct stub_peer *s = stub_peer_create(1);
	struct peer *p = &s->peer;

	ck_assert_int_eq(peer_pcap(&p, "/nonexistent/file"), -ENOENT);
	expect_said("pcap=/nonexistent/file: No such file or directory");
	ck_assert_int_eq(peer_pcap(&p, "/tmp"), -EINVAL);
	expect_said("pcap=/tmp: not a regular file");
	ck_assert_int_eq(peer_pcap(&p, "/dev/null"), -EINVAL);
	expect_said("not a regular file");
	ck_assert_ptr_eq(p, &s->peer); /* still the caller's */
	peer_destroy(p);
}

START_TEST(tcpdump_reads_it)
{
	u8 arp[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0,    1,	   2,  3, 8, 6,
		       0,    1,	   8,	 0,    6,    4,	   0,	 1,    0x52, 0x54, 0,  1, 2, 3,
		       10,   0,	   2,	 15,   0,    0,	   0,	 0,    0,    0,	   10, 0, 2, 2 };
	char line[256] = "", command[128];
	FILE *f;

	if (system("command -v tcpdump >/dev/null") != 0)
		skip_test("no tcpdump here");
	begin(1);
	ck_assert_int_eq(peer_rig_send(&r, 0, arp, sizeof(arp)), 0);
	ck_assert_int_eq(peer_rig_send(&r, 0, arp, sizeof(arp)), 0);
	peer_rig_free(&r);
	snprintf(command, sizeof(command), "tcpdump -n -r %s 2>/dev/null", path);
	f = popen(command, "r");
	for (u32 i = 0; i < 2; i++) {
		ck_assert_ptr_nonnull(fgets(line, sizeof(line), f));
		ck_assert_ptr_nonnull(strstr(line, "ARP, Request who-has 10.0.2.2 tell 10.0.2.15"));
	}
	ck_assert_ptr_null(fgets(line, sizeof(line), f));
	ck_assert_int_eq(pclose(f), 0);
}

Suite *pcap_suite(void)
{
	Suite *s = suite_create("pcap");
	TCase *t = tcase_create("pcap");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, the_file_has_what_went_either_way);
	tcase_add_test(t, an_older_file_is_replaced);
	tcase_add_test(t, what_has_begun_goes_on);
	tcase_add_test(t, one_that_does_not_begin_leaves_nothing);
	tcase_add_test(t, a_file_of_another_is_not_removed);
	tcase_add_test(t, a_frame_that_was_cut_off_is_as_it_was_received);
	tcase_add_test(t, pairs_on_several_threads_do_not_mix);
	tcase_add_test(t, a_full_disk_ends_the_capture_and_not_the_traffic);
	tcase_add_test(t, what_it_does_not_know_is_the_peer_behinds);
	tcase_add_test(t, a_file_that_cannot_be_is_told);
	tcase_add_test(t, tcpdump_reads_it);
	suite_add_tcase(s, t);
	return s;
}
