// SPDX-License-Identifier: MIT
/*
 * test_config_net.c - the option that adds a network device: --net.
 */
#include "tests/unit/config_rig.h"

#include <string.h>

#define cfg  config_rig
#define good config_good
#define bad  config_bad
static const struct net_config *net = &cfg.device[0].net;

START_TEST(the_first_word_is_what_it_is_connected_to)
{
	good("--net user");
	ck_assert_int_eq(cfg.device[0].kind, DEVICE_NET);
	ck_assert_int_eq(net->peer, NET_USER);
	good("--net tap=vm0");
	ck_assert_int_eq(net->peer, NET_TAP);
	ck_assert_str_eq(net->target, "vm0");
	good("--net fd=7");
	ck_assert_int_eq(net->peer, NET_FD);
	ck_assert_uint_eq(net->fd, 7);
	good("--net socket=/tmp/a,,b");
	ck_assert_int_eq(net->peer, NET_SOCKET);
	ck_assert_str_eq(net->target, "/tmp/a,b");
	good("--net null,source=on");
	ck_assert_int_eq(net->peer, NET_NULL);
	ck_assert(net->source);
	good("--net echo");
	ck_assert_int_eq(net->peer, NET_ECHO);
	ck_assert(!net->source);
	bad("--net echo,source=on", "source=on is for null");
	bad("--net null,datapath=vhost-user", "null and echo are for datapath=inproc");
	bad("--net echo,datapath=vhost-user", "null and echo are for datapath=inproc");
	bad("--net echo,datapath=vhost-net", "vhost-net is for tap=NAME or fd=N");
	bad("--net slirp", "give tap=NAME, fd=N, user, "
			   "socket=PATH, null, echo or datapath=vhost-user");
	bad("--net tap", "give tap=NAME");
	bad("--net tap=", "give tap=NAME");
	bad("--net socket=", "give tap=NAME");
	bad("--net user=on", "give tap=NAME");
	bad("--net mac=52:54:00:00:00:01,user", "give tap=NAME");
	bad("--net fd=", "give the number of an open file descriptor, from 3 on");
	bad("--net fd=2", "from 3 on");
	bad("--net fd=x", "from 3 on");
	bad("--net fd=99999999999", "from 3 on");
}

START_TEST(the_defaults_are_what_the_manual_says)
{
	static const u8 mac[6] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };

	good("--net user");
	ck_assert_mem_eq(net->mac, mac, 6);
	ck_assert(net->csum && net->tso && net->uso && net->mrg);
	ck_assert(!net->antispoof && !net->restricted && !net->server && !net->link_down);
	ck_assert_uint_eq(net->mtu + net->bits + net->frames + net->burst + net->poll_us, 0);
	ck_assert_uint_eq(net->speed, 0);
	ck_assert_uint_eq(net->duplex, NET_DUPLEX_UNKNOWN);
	ck_assert_str_eq(cfg.device[0].id, "net0");
	ck_assert_ptr_null(net->pcap);
	ck_assert_uint_eq(net->hostfwd.n, 0);
	ck_assert_uint_eq(cfg.device[0].queues, 0);
	ck_assert_uint_eq(cfg.device[0].bus, DEVICE_ON_PCI);
}

START_TEST(every_setting_is_taken)
{
	static const u8 mac[6] = { 0x02, 0xaa, 0xBB, 0x00, 0x01, 0xff };
	const struct device_config *d = &cfg.device[0];

	good("--net tap=t,id=net0,mac=02:aa:BB:00:01:ff,queues=8,mtu=9000,packed=on,bus=mmio,"
	     "queue-size=512,rate=100M,pps=2K,burst=64K,pcap=f.pcap,antispoof=on,link=down,"
	     "poll-us=50,csum=off,tso=off,uso=off,mrg=off,speed=10000,duplex=full");
	ck_assert_str_eq(d->id, "net0");
	ck_assert_mem_eq(net->mac, mac, 6);
	ck_assert_uint_eq(d->queues, 8);
	ck_assert_uint_eq(d->queue_size, 512);
	ck_assert_uint_eq(d->bus, DEVICE_ON_MMIO);
	ck_assert(d->packed);
	ck_assert_uint_eq(net->mtu, 9000);
	ck_assert_uint_eq(net->bits, 100000000);
	ck_assert_uint_eq(net->frames, 2000);
	ck_assert_uint_eq(net->burst, 65536);
	ck_assert_str_eq(net->pcap, "f.pcap");
	ck_assert(net->antispoof);
	ck_assert_uint_eq(net->link_down, 1);
	ck_assert_uint_eq(net->poll_us, 50);
	ck_assert(!net->csum && !net->tso && !net->uso && !net->mrg);
	ck_assert_uint_eq(net->speed, 10000);
	ck_assert_uint_eq(net->duplex, NET_DUPLEX_FULL);
	good("--net socket=s,server=on,link=up,duplex=half");
	ck_assert(net->server && !net->link_down);
	ck_assert_uint_eq(net->duplex, NET_DUPLEX_HALF);
}

START_TEST(user_takes_several_forwards)
{
	char line[4096] = "--net user,restrict=on";

	good("--net user,hostfwd=tcp::2222-:22,hostfwd=udp:127.0.0.1:53-:53,restrict=on");
	ck_assert_uint_eq(net->hostfwd.n, 2);
	ck_assert_str_eq(net->hostfwd.item[0], "tcp::2222-:22");
	ck_assert_str_eq(net->hostfwd.item[1], "udp:127.0.0.1:53-:53");
	ck_assert(net->restricted);
	for (u32 i = 0; i < SUBOPT_LIST_MAX; i++)
		strcat(line, ",hostfwd=tcp::1-:1");
	good(line);
	strcat(line, ",hostfwd=tcp::1-:1");
	bad(line, "hostfwd= can be given 16 times");
	bad("--net user,hostfwd=", "hostfwd= needs a value");
}

START_TEST(what_fits_to_another_connection_is_refused)
{
	bad("--net user,queues=2", "have several pairs of queues");
	bad("--net fd=5,queues=2", "have several pairs of queues");
	bad("--net socket=s,queues=2", "have several pairs of queues");
	good("--net user,queues=1");
	bad("--net user,server=on", "server=on is for socket=PATH");
	bad("--net tap=t,hostfwd=tcp::1-:1", "are for user");
	bad("--net socket=s,restrict=on", "are for user");
	bad("--net user,mtu=65535", "with user it is at most 65521");
	bad("--net user,burst=1K", "burst= needs a rate=");
	bad("--net user,pps=5,burst=1K", "burst= needs a rate=");
}

START_TEST(vhost_net_is_for_taps_and_what_the_kernel_can)
{
	good("--net tap=t");
	ck_assert_uint_eq(net->datapath, PATH_INPROC);
	good("--net tap=t,datapath=inproc,packed=on,pcap=f");
	good("--net "
	     "tap=t,datapath=vhost-net,queues=8,bus=mmio,csum=off,mrg=off,link=down,mtu=9000");
	ck_assert_uint_eq(net->datapath, PATH_VHOST_NET);
	good("--net fd=7,datapath=vhost-net,packed=off,antispoof=off,poll-us=0");
	ck_assert_uint_eq(net->datapath, PATH_VHOST_NET);
	bad("--net tap=t,datapath=vhost", "datapath=vhost: give one of inproc|vhost-net");
	bad("--net user,datapath=vhost-net", "is for tap=NAME or fd=N");
	bad("--net socket=s,datapath=vhost-net", "is for tap=NAME or fd=N");
	bad("--net tap=t,datapath=vhost-net,packed=on", "packed=on: vhost-net has no packed rings");
	bad("--net tap=t,datapath=vhost-net,pcap=f", "pcap= is not for datapath=vhost-net");
	bad("--net tap=t,datapath=vhost-net,rate=1M", "rate= is not for");
	bad("--net tap=t,datapath=vhost-net,pps=1", "pps= is not for");
	bad("--net tap=t,datapath=vhost-net,antispoof=on", "antispoof=on is not for");
	bad("--net fd=5,datapath=vhost-net,poll-us=5", "poll-us= is not for");
}

START_TEST(a_vhost_user_back_end_is_at_a_socket)
{
	good("--net datapath=vhost-user,socket=/tmp/s");
	ck_assert_int_eq(net->peer, NET_BACK_END);
	ck_assert_uint_eq(net->datapath, PATH_VHOST_USER);
	ck_assert_str_eq(net->target, "/tmp/s");
	good("--net socket=/tmp/s,datapath=vhost-user,queues=8,server=on,packed=on,mtu=9000");
	ck_assert_int_eq(net->peer, NET_BACK_END);
	ck_assert_str_eq(net->target, "/tmp/s");
	ck_assert(net->server);
	good("--net datapath=vhost-user,csum=off,mrg=off,link=down,socket=s,bus=mmio,id=a");
	bad("--net datapath=vhost-user", "give socket=PATH, where the back end is");
	bad("--net datapath=vhost-net,tap=t", "give tap=NAME");
	bad("--net datapath=vhost-user,socket=", "socket= needs a value");
	bad("--net datapath=vhost-user,socket=s,datapath=inproc", "datapath= is given twice");
	bad("--net datapath=vhost-user,socket=s,tap=t", "'tap' is not one of its settings");
	bad("--net tap=t,socket=s", "give it first");
	bad("--net tap=t,datapath=vhost-user,socket=s", "give it first");
	good("--net tap=t,datapath=vhost-user,queues=4,packed=on"); /* ours */
	ck_assert_int_eq(net->peer, NET_TAP);
	ck_assert_uint_eq(net->datapath, PATH_VHOST_USER);
	good("--net user,datapath=vhost-user,hostfwd=tcp::1-:1,restrict=on,mtu=9000");
	good("--net fd=5,datapath=vhost-user");
	bad("--net tap=t,datapath=vhost-user,server=on", "server=on is for socket=PATH");
	bad("--net tap=t,datapath=vhost-user,pcap=f", "pcap= is not for");
	bad("--net socket=a,datapath=vhost-user,socket=b", "give it first");
	bad("--net datapath=vhost-user,socket=s,hostfwd=tcp::1-:1", "are for user");
	bad("--net datapath=vhost-user,socket=s,pcap=f", "pcap= is not for datapath=vhost-user");
	bad("--net datapath=vhost-user,socket=s,rate=1M", "rate= is not for");
	bad("--net datapath=vhost-user,socket=s,pps=1", "pps= is not for");
	bad("--net datapath=vhost-user,socket=s,antispoof=on", "antispoof=on is not for");
	bad("--net datapath=vhost-user,socket=s,poll-us=5", "poll-us= is not for");
}

START_TEST(it_may_be_moved_where_switch_says)
{
	good("--net tap=t");
	ck_assert_uint_eq(cfg.device[0].switches, 0);
	good("--net tap=t,switch=inproc:vhost-net");
	ck_assert_uint_eq(cfg.device[0].switches, 1 << PATH_INPROC | 1 << PATH_VHOST_NET);
	ck_assert_uint_eq(net->datapath, PATH_INPROC);
	good("--net fd=7,datapath=vhost-net,switch=vhost-user,packed=off");
	ck_assert_uint_eq(cfg.device[0].switches, 1 << PATH_VHOST_NET | 1 << PATH_VHOST_USER);
	good("--net tap=t,switch=vhost-net,queues=8");
	bad("--net tap=t,switch=vhost",
	    "switch=vhost: give some of inproc, vhost-net and vhost-user");
	bad("--net tap=t,switch=inproc:", "switch=inproc:: give some of");
	bad("--net tap=t,switch=inproc:vhost-network", "give some of");
	bad("--net user,switch=inproc:vhost-user", "switch= is for tap=NAME or fd=N");
	bad("--net datapath=vhost-user,socket=s,switch=inproc", "switch= is for tap=NAME or fd=N");
	bad("--net tap=t,switch=vhost-user,queues=2", "with vhost-user there can be only one pair");
	bad("--net tap=t,switch=vhost-net,packed=on", "vhost-net has no packed rings");
	good("--net tap=t,switch=inproc:vhost-net,auto=on");
	ck_assert(net->automatic);
	ck_assert_uint_eq(net->auto_up, 20000);
	ck_assert_uint_eq(net->auto_down, 2000);
	good("--net tap=t,switch=vhost-net,auto=on,auto-up=10"); /* inproc is where it begins */
	ck_assert_uint_eq(net->auto_down, 5);
	good("--net tap=t,switch=inproc:vhost-net,auto=on,auto-up=10,auto-down=9");
	ck_assert_uint_eq(net->auto_down, 9);
	bad("--net tap=t,auto=on", "auto=on goes with switch=inproc:vhost-net");
	bad("--net tap=t,switch=inproc:vhost-user,auto=on", "auto=on goes with switch=inproc:");
	bad("--net tap=t,switch=vhost-net,auto-up=5", "auto-up= and auto-down= go with auto=on");
	bad("--net tap=t,switch=vhost-net,auto=on,auto-up=5,auto-down=5", "must be less than");
	bad("--net tap=t,switch=vhost-net,auto=on,auto-up=1", "auto-up=1: give a number from 2");
	bad("--net tap=t,switch=vhost-net,rate=1M", "rate= is not for datapath=vhost-net");
	bad("--net tap=t,switch=vhost-user,pcap=f", "pcap= is not for datapath=vhost-user");
}

START_TEST(bad_values_are_named)
{
	bad("--net user,queues=0", "queues=0: give a number from 1 to 8");
	bad("--net tap=t,queues=9", "queues=9: give a number from 1 to 8");
	bad("--net user,mtu=67", "mtu=67: give a number from 68 to 65535");
	bad("--net user,mtu=65536", "give a number from 68 to 65535");
	bad("--net user,link=on", "link=on: give one of up|down");
	bad("--net user,rate=0", "rate=0: give a number");
	bad("--net user,rate=", "give a number, or one with K, M or G");
	bad("--net user,rate=1T", "give a number, or one with K, M or G");
	bad("--net user,rate=1.5M", "give a number");
	bad("--net user,rate=1Mb", "give a number");
	bad("--net user,rate=-1", "give a number");
	bad("--net user,rate=1001G", "up to 1000G");
	bad("--net user,pps=99999999999999999999", "give a number");
	good("--net user,rate=1000G,pps=1g");
	bad("--net user,antispoof=maybe", "give on or off");
	bad("--net user,poll-us=1000001", "give a number from 0 to 1000000");
	bad("--net user,speed=0", "give a number");
	bad("--net user,duplex=quarter", "give one of");
	bad("--net user,queue-size=100", "give a power of two");
	bad("--net user,color=red",
	    "'color' is not one of its settings (mac, socket, datapath, switch, ");
	bad("--net user,pcap=", "pcap= needs a value");
	bad("--net user,mtu=1500,mtu=1500", "mtu= is given twice");
}

START_TEST(an_address_is_that_of_one_device)
{
	bad("--net user,mac=52:54:00:12:34", "give six bytes such as 52:54:00:12:34:56");
	bad("--net user,mac=52:54:00:12:34:56:78", "give six bytes");
	bad("--net user,mac=52-54-00-12-34-56", "give six bytes");
	bad("--net user,mac=52:54:00:12:34:5g", "give six bytes");
	bad("--net user,mac=525:4:00:12:34:56", "give six bytes");
	bad("--net user,mac=52:54:00:12:34:5", "give six bytes");
	bad("--net user,mac=x", "give six bytes");
	bad("--net user,mac=", "mac= needs a value");
	bad("--net user,mac=53:54:00:12:34:56", "not an address of one device");
	bad("--net user,mac=ff:ff:ff:ff:ff:ff", "not an address of one device");
	bad("--net user,mac=00:00:00:00:00:00", "not an address of one device");
}

START_TEST(each_device_has_its_own_address_and_name)
{
	good("--net user --rng on --net tap=t --net user");
	ck_assert_uint_eq(cfg.device[2].net.mac[5], 0x57);
	ck_assert_uint_eq(cfg.device[3].net.mac[5], 0x58);
	bad("--net user --net user,mac=52:54:00:12:34:56", "two devices have the address "
							   "52:54:00:12:34:56");
	bad("--net user,mac=52:54:00:12:34:57 --net user", "give one of them another mac=");
	bad("--net user,id=a --net user,id=a", "id=a is given twice");
	good("--net user,id=a --net user,id=b");
	bad("--net fd=7 --net user --net fd=7", "fd=7 is given twice; each device needs a tap");
	good("--net fd=7 --net fd=8");
	bad("--net tap=t,queues=2 --net tap=t,queues=2",
	    "tap=t is given twice; each device needs a tap");
	good("--net tap=t --net tap=u --net socket=t");
	bad("--net user,pcap=f --net user,pcap=f",
	    "pcap=f is given twice; each device needs a file");
	good("--net user,pcap=f --net user,pcap=g");
}

Suite *config_net_suite(void)
{
	Suite *s = suite_create("config-net");
	TCase *t = tcase_create("config-net");

	tcase_add_checked_fixture(t, config_rig_init, config_rig_free);
	tcase_add_test(t, the_first_word_is_what_it_is_connected_to);
	tcase_add_test(t, the_defaults_are_what_the_manual_says);
	tcase_add_test(t, every_setting_is_taken);
	tcase_add_test(t, user_takes_several_forwards);
	tcase_add_test(t, what_fits_to_another_connection_is_refused);
	tcase_add_test(t, vhost_net_is_for_taps_and_what_the_kernel_can);
	tcase_add_test(t, a_vhost_user_back_end_is_at_a_socket);
	tcase_add_test(t, it_may_be_moved_where_switch_says);
	tcase_add_test(t, bad_values_are_named);
	tcase_add_test(t, an_address_is_that_of_one_device);
	tcase_add_test(t, each_device_has_its_own_address_and_name);
	suite_add_tcase(s, t);
	return s;
}
