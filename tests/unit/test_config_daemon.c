// SPDX-License-Identifier: MIT
/*
 * test_config_daemon.c - the command line of `minivmm device`.
 */
#include "tests/unit/config_rig.h"
#include "vmm/config_daemon.h"

#include <string.h>

static struct daemon_config cfg;

static int parse(const char *line)
{
	char *argv[CONFIG_WORDS_MAX] = { "device" };
	int argc = config_words(argv, 1, line);

	daemon_config_free(&cfg);
	return daemon_config_parse(&cfg, argc, argv);
}

static void good(const char *line)
{
	config_expect_good(parse(line), line);
}

static void bad(const char *line, const char *why)
{
	config_expect_bad(parse(line), line, why);
}

static void teardown(void)
{
	daemon_config_free(&cfg);
}

START_TEST(a_user_has_a_name_or_a_number_and_a_group)
{
	good("net --socket s --peer null");
	ck_assert(!cfg.user.given);
	good("net --socket s --peer null --user root");
	ck_assert(cfg.user.given);
	ck_assert_uint_eq(cfg.user.uid, 0);
	ck_assert_uint_eq(cfg.user.gid, 0);
	good("net --socket s --peer null --user root:12");
	ck_assert_uint_eq(cfg.user.gid, 12);
	good("net --socket s --peer null --user 123456:7");
	ck_assert_uint_eq(cfg.user.uid, 123456);
	ck_assert_uint_eq(cfg.user.gid, 7);
	bad("net --socket s --peer null --user :1", "give a user's name or number");
	bad("net --socket s --peer null --user no-such-user-here", "no user of this name");
	bad("net --socket s --peer null --user 4000000001", "give its group, too");
	bad("net --socket s --peer null --user 4294967295", "no user of this name");
	bad("net --socket s --peer null --user root:", "give a group's number");
	bad("net --socket s --peer null --user root:wheel", "give a group's number");
	bad("net --socket s --peer null --user root:4294967295", "give a group's number");
}

START_TEST(a_device_is_net_or_blk)
{
	bad("", "give net or blk");
	bad("scsi --socket s", "device scsi: give net or blk");
	good("net --socket s --peer null");
	ck_assert_int_eq(cfg.kind, DEVICE_NET);
	ck_assert_int_eq(cfg.peer, DAEMON_NULL);
	ck_assert_str_eq(cfg.socket, "s");
	ck_assert_uint_eq(cfg.queues, 1);
	ck_assert(cfg.packed);
	ck_assert(cfg.sandbox);
	good("blk --socket s --file "
	     "a,,b,readonly=on,aio=threads,cache=writethrough,serial=x,share=on");
	ck_assert_int_eq(cfg.kind, DEVICE_DISK);
	ck_assert_str_eq(cfg.disk.file, "a,b");
	ck_assert(cfg.disk.readonly && cfg.disk.writethrough && cfg.disk.discard);
	ck_assert_str_eq(cfg.disk.serial, "x");
	ck_assert(cfg.disk.share);
	ck_assert_uint_eq(cfg.nfile_fds, 0);
	good("blk --socket s --file fd=5:6,direct=on");
	ck_assert_uint_eq(cfg.nfile_fds, 2);
	ck_assert_uint_eq(cfg.file_fd[0], 5);
	ck_assert_uint_eq(cfg.file_fd[1], 6);
	bad("blk --socket s --file fd=5:6:7", "give up to 2 numbers");
	bad("blk --socket s --file fd=x", "give up to 2 numbers");
	good("blk --socket s --file ./fd=5");
	ck_assert_uint_eq(cfg.nfile_fds, 0);
}

START_TEST(each_device_has_what_it_needs_and_nothing_else)
{
	bad("net --peer null", "give --socket PATH");
	bad("net --socket s --fd 5 --peer null", "but not both");
	bad("net --socket s", "needs a --peer");
	bad("blk --socket s", "needs a --file");
	bad("net --socket s --peer null --file x", "--file is for a disk");
	bad("blk --socket s --peer null --file x", "--peer is for a network device");
	good("blk --fd 5 --file x");
	ck_assert_ptr_null(cfg.socket);
	ck_assert_uint_eq(cfg.fd, 5);
}

START_TEST(the_peer_is_one_there_can_be)
{
	good("net --socket s --peer tap=vm0,mtu=9000 --queues 8");
	ck_assert_int_eq(cfg.peer, DAEMON_TAP);
	ck_assert_str_eq(cfg.target, "vm0");
	ck_assert_uint_eq(cfg.mtu, 9000);
	ck_assert_uint_eq(cfg.queues, 8);
	good("net --socket s --peer fd=7");
	ck_assert_uint_eq(cfg.peer_fd[0], 7);
	ck_assert_uint_eq(cfg.npeer_fds, 1);
	good("net --socket s --peer fd=7:9,mtu=1000 --queues 2");
	ck_assert_uint_eq(cfg.peer_fd[0], 7);
	ck_assert_uint_eq(cfg.peer_fd[1], 9);
	ck_assert_uint_eq(cfg.npeer_fds, 2);
	bad("net --socket s --peer fd=7:9", "as many descriptors as --queues has pairs");
	bad("net --socket s --peer fd=7 --queues 2", "as many descriptors as --queues has pairs");
	bad("net --socket s --peer fd=7:", "give up to 8 numbers of open file descriptors");
	bad("net --socket s --peer fd=7:2", "from 3 on");
	bad("net --socket s --peer fd=7,8", "'8' is not one of its settings");
	bad("net --socket s --peer fd=3:4:5:6:7:8:9:10:11 --queues 8", "give up to 8");
	good("net --socket s --peer socket=x,server=on");
	ck_assert(cfg.server);
	good("net --socket s --peer user,restrict=on,hostfwd=tcp::1-:2,hostfwd=tcp::3-:4");
	ck_assert(cfg.restricted);
	ck_assert_uint_eq(cfg.hostfwd.n, 2);
	bad("net --socket s --peer nobody", "--peer nobody: give tap=NAME, fd=N, user");
	bad("net --socket s --peer fd=2", "from 3 on");
	bad("net --socket s --peer null,server=on", "server=on is for socket=PATH");
	bad("net --socket s --peer null,restrict=on", "are for user");
	bad("net --socket s --peer user,mtu=65535", "at most 65521");
	bad("net --socket s --peer user --queues 2", "have several pairs");
	bad("net --socket s --peer null,color=red", "'color' is not one of its settings");
}

START_TEST(numbers_and_switches_are_checked)
{
	bad("net --socket s --peer null --queues 9", "--queues 9: give a number from 1 to 8");
	bad("blk --socket s --file x --queues 0", "--queues 0: give a number from 1 to 63");
	bad("blk --socket s --file x --queues 1x", "--queues 1x: ");
	bad("blk --socket s --file x --packed yes", "--packed yes: give on or off");
	bad("blk --fd 1 --file x", "--fd 1: give the number of an open");
	bad("blk --socket s --file x,serial=123456789012345678901", "at most 20 bytes");
	bad("blk --socket s --file ,readonly=on", "give the image's path");
	bad("blk --socket s --file x --file y", "--file is given twice");
	bad("blk --socket s --file x --frob", "unknown option --frob; see minivmm device --help");
	bad("blk --socket s --file x frob", "'frob' is not an option");
	bad("blk --socket", "--socket needs a value");
	good("blk --socket s --file x --packed off --sandbox off");
	ck_assert(!cfg.sandbox);
	ck_assert(!cfg.packed);
}

START_TEST(polling_is_bound_to_cpus_or_not)
{
	good("net --socket s --peer null");
	ck_assert(!cfg.poll);
	good("net --socket s --peer null,source=on --poll");
	ck_assert(cfg.poll && cfg.source);
	ck_assert_uint_eq(cfg.npoll_cpus, 0);
	good("blk --socket s --file x --poll=3,0");
	ck_assert(cfg.poll);
	ck_assert_uint_eq(cfg.npoll_cpus, 2);
	ck_assert_uint_eq(cfg.poll_cpu[0], 3);
	ck_assert_uint_eq(cfg.poll_cpu[1], 0);
	bad("blk --socket s --file x --poll=", "--poll=: give the numbers");
	bad("blk --socket s --file x --poll=1,", "--poll=1,: give the numbers");
	bad("blk --socket s --file x --poll=1-2", "--poll=1-2: give the numbers");
	bad("blk --socket s --file x --poll=8192", "--poll=8192: give the numbers");
	bad("net --socket s --peer user,source=on", "source=on is for null");
	good("net --socket s --peer echo --queues 8");
	ck_assert_int_eq(cfg.peer, DAEMON_ECHO);
	bad("net --socket s --peer echo,source=on", "source=on is for null");
}

Suite *config_daemon_suite(void)
{
	Suite *s = suite_create("config_daemon");
	TCase *t = tcase_create("device");

	tcase_add_checked_fixture(t, NULL, teardown);
	tcase_add_test(t, a_device_is_net_or_blk);
	tcase_add_test(t, a_user_has_a_name_or_a_number_and_a_group);
	tcase_add_test(t, each_device_has_what_it_needs_and_nothing_else);
	tcase_add_test(t, the_peer_is_one_there_can_be);
	tcase_add_test(t, numbers_and_switches_are_checked);
	tcase_add_test(t, polling_is_bound_to_cpus_or_not);
	suite_add_tcase(s, t);
	return s;
}
