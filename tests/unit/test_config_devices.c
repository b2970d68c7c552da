// SPDX-License-Identifier: MIT
/*
 * test_config_devices.c - the options that add devices: --disk, --console, --port, --rng; who gets
 * standard input and output; what that does to the kernel's command line.
 */
#include "minivmm/image.h"
#include "tests/unit/config_rig.h"
#include "vmm/subopts.h"

#include <stdio.h>
#include <string.h>

#define cfg  config_rig
#define good config_good
#define bad  config_bad

START_TEST(a_disk_needs_a_file_and_no_more)
{
	const struct device_config *d = &cfg.device[0];

	good("--disk file=a.img");
	ck_assert_uint_eq(cfg.ndevices, 1);
	ck_assert_int_eq(d->kind, DEVICE_DISK);
	ck_assert_str_eq(d->disk.file, "a.img");
	ck_assert(!d->disk.readonly && !d->disk.direct && d->disk.discard && !d->packed);
	ck_assert_uint_eq(d->disk.aio, IMAGE_AIO_AUTO);
	ck_assert_uint_eq(d->disk.writethrough, 0);
	ck_assert_uint_eq(d->bus, DEVICE_ON_PCI);
	ck_assert_uint_eq(d->queues, 0);
	ck_assert_uint_eq(d->queue_size, 0);
	bad("--disk readonly=on", "give file=PATH");
	bad("--disk file=", "file= needs a value");
}

START_TEST(a_disk_can_be_a_back_ends)
{
	const struct device_config *d = &cfg.device[0];

	good("--disk datapath=vhost-user,socket=s,queues=2,server=on");
	ck_assert_int_eq(d->kind, DEVICE_DISK);
	ck_assert_uint_eq(d->disk.datapath, DISK_VHOST_USER);
	ck_assert_str_eq(d->disk.socket, "s");
	ck_assert(d->disk.server);
	ck_assert_uint_eq(d->queues, 2);
	good("--disk datapath=vhost-user,file=a,readonly=on,direct=on,queues=3"); /* ours */
	ck_assert_ptr_null(d->disk.socket);
	ck_assert_uint_eq(d->disk.datapath, DISK_VHOST_USER);
	bad("--disk datapath=vhost-user", "give file=PATH, the image, or socket=PATH");
	bad("--disk datapath=vhost-user,file=a,server=on", "go with datapath=vhost-user and each");
	bad("--disk datapath=vhost-user,socket=s,file=a", "the back end's to know");
	bad("--disk datapath=vhost-user,socket=s,readonly=on", "the back end's to know");
	bad("--disk file=a,socket=s", "go with datapath=vhost-user");
	bad("--disk file=a,server=on", "go with datapath=vhost-user");
	bad("--disk datapath=other,socket=s", "datapath=other");
}

START_TEST(a_disk_may_be_moved_where_switch_says)
{
	const struct device_config *d = &cfg.device[0];

	good("--disk file=a");
	ck_assert_uint_eq(d->switches, 0);
	good("--disk file=a,switch=inproc:vhost-user");
	ck_assert_uint_eq(d->switches, 1 << PATH_INPROC | 1 << PATH_VHOST_USER);
	ck_assert_uint_eq(config_path(d), PATH_INPROC);
	ck_assert(!d->disk.share);
	good("--disk file=a,switch=inproc,datapath=vhost-user,share=on");
	ck_assert_uint_eq(d->switches, 1 << PATH_INPROC | 1 << PATH_VHOST_USER);
	ck_assert_uint_eq(config_path(d), PATH_VHOST_USER);
	ck_assert(d->disk.share);
	good("--disk file=a,switch=vhost-user,packed=on,direct=on,readonly=on");
	bad("--disk file=a,switch=vhost-net", "switch=vhost-net: give inproc and vhost-user, with");
	bad("--disk file=a,switch=inproc:", "switch=inproc:: give inproc and vhost-user");
	bad("--disk datapath=vhost-user,socket=s,switch=inproc", "switch= is for file=PATH");
	bad("--disk file=a,share=on", "share=on is for switch=");
	bad("--disk file=a,switch=vhost-user,share=on,readonly=on", "not for readonly=on");
}

START_TEST(a_device_of_any_type_can_be_a_back_ends)
{
	const struct device_config *d = cfg.device;

	good("--vhost-user type=fs,socket=s,tag=t,queues=3 --vhost-user type=scsi,socket=s "
	     "--vhost-user "
	     "type=63,socket=s,config-size=8,server=on,bus=mmio,packed=on,queue-size=64");
	ck_assert_int_eq(d[0].kind, DEVICE_VHOST_USER);
	ck_assert_uint_eq(d[0].vhost_user.id, 26);
	ck_assert_str_eq(d[0].vhost_user.tag, "t");
	ck_assert_str_eq(d[0].vhost_user.socket, "s");
	ck_assert_uint_eq(d[0].queues, 3);
	ck_assert_uint_eq(d[1].vhost_user.id, 8);
	ck_assert_uint_eq(d[2].vhost_user.id, 63);
	ck_assert_uint_eq(d[2].vhost_user.config_size, 8);
	ck_assert(d[2].vhost_user.server && d[2].packed && d[2].bus == DEVICE_ON_MMIO);
	ck_assert_uint_eq(d[2].queue_size, 64);
	bad("--vhost-user type=fs", "give type= and socket=PATH");
	bad("--vhost-user socket=s", "give type= and socket=PATH");
	bad("--vhost-user type=disk,socket=s", "type=disk: give fs, blk");
	bad("--vhost-user type=0,socket=s", "type=0");
	bad("--vhost-user type=64,socket=s", "type=64");
	bad("--vhost-user type=fs,socket=s,queues=1", "type=fs has 2 at least");
	bad("--vhost-user type=blk,socket=s,tag=t", "the name of a file system");
	bad("--vhost-user type=fs,socket=s,tag=0123456789012345678901234567890123456",
	    "at most 36 bytes");
	bad("--vhost-user type=1,socket=s,config-size=257", "config-size=257");
	bad("--vhost-user type=1,socket=s,queues=64", "queues=64");
}

START_TEST(every_setting_of_a_disk_is_taken)
{
	const struct device_config *d = &cfg.device[0];

	good("--disk serial=s,queues=4,queue-size=64,packed=on,bus=mmio,discard=off,"
	     "cache=writethrough,aio=threads,direct=on,readonly=on,file=a,,b=c");
	ck_assert_str_eq(d->disk.file, "a,b=c");
	ck_assert_str_eq(d->disk.serial, "s");
	ck_assert(d->disk.readonly && d->disk.direct && !d->disk.discard && d->packed);
	ck_assert_uint_eq(d->disk.aio, IMAGE_AIO_THREADS);
	ck_assert_uint_eq(d->disk.writethrough, 1);
	ck_assert_uint_eq(d->bus, DEVICE_ON_MMIO);
	ck_assert_uint_eq(d->queues, 4);
	ck_assert_uint_eq(d->queue_size, 64);
	good("--disk file=a,aio=io_uring,cache=writeback");
	ck_assert_uint_eq(d->disk.aio, IMAGE_AIO_IO_URING);
}

START_TEST(a_bad_setting_is_named)
{
	bad("--disk file=a,color=red", "'color' is not one of its settings (file, ");
	bad("--disk file=a,readonly", "readonly needs a value");
	bad("--disk file=a,readonly=yes", "readonly=yes: give on or off");
	bad("--disk file=a,bus=isa", "bus=isa: give one of pci|mmio");
	bad("--disk file=a,bus=pci|mmio", "give one of");
	bad("--disk file=a,bus=pc", "give one of");
	bad("--disk file=a,queues=0", "queues=0: give a number from 1 to");
	bad("--disk file=a,queues=64", "give a number from 1 to 63");
	bad("--disk file=a,queues=-1", "give a number");
	bad("--disk file=a,queues=2x", "give a number");
	bad("--disk file=a,queue-size=100", "give a power of two from 2 to 32768");
	bad("--disk file=a,queue-size=65536", "give a power of two");
	bad("--disk file=a,file=b", "file= is given twice");
	bad("--disk file=a,", "'' is not one of its settings");
	bad("--disk a.img", "'a.img' is not one of its settings");
	bad("--disk file=a,serial=012345678901234567890", "at most 20 bytes");
	bad("--disk file=a,queue-size=2", "give 4 or more");
	bad("--rng on,queues=2", "queues=2: give a number from 1 to 1");
	bad("--console none,queues=2", "'queues' is not one of its settings");
}

START_TEST(devices_keep_their_order)
{
	good("--rng on,bus=mmio --disk file=a --console none --port pty,name=p --disk file=b");
	ck_assert_uint_eq(cfg.ndevices, 4);
	ck_assert_int_eq(cfg.device[0].kind, DEVICE_RNG);
	ck_assert_uint_eq(cfg.device[0].bus, DEVICE_ON_MMIO);
	ck_assert_str_eq(cfg.device[1].disk.file, "a");
	ck_assert_int_eq(cfg.device[2].kind, DEVICE_CONSOLE);
	ck_assert_str_eq(cfg.device[3].disk.file, "b");
}

START_TEST(a_port_belongs_to_the_console_before_it)
{
	const struct console_config *c = &cfg.device[0].console;

	good("--console unix=s,packed=on --port file=f,name=log --port none,name=n");
	ck_assert(cfg.device[0].packed);
	ck_assert_uint_eq(c->nports, 3);
	ck_assert_ptr_null(c->port[0].name);
	ck_assert_int_eq(c->port[0].stream.kind, STREAM_UNIX);
	ck_assert_str_eq(c->port[0].stream.path, "s");
	ck_assert_str_eq(c->port[1].name, "log");
	ck_assert_str_eq(c->port[1].stream.path, "f");
	ck_assert_str_eq(c->port[2].name, "n");
	bad("--port none,name=n", "after the --console");
	bad("--console none --rng on --port none,name=n", "after the --console");
	bad("--console none --port none", "give it a name");
	bad("--console none --port none,name=n --port none,name=n", "name=n is given twice");
	bad("--console tty", "give stdio, none, pty, file=PATH or unix=PATH");
}

START_TEST(rng_is_on_or_off)
{
	good("--rng off");
	ck_assert_uint_eq(cfg.ndevices, 0);
	bad("--rng maybe", "give on or off");
}

START_TEST(there_is_room_for_so_many_devices)
{
	char line[1024] = "";

	for (u32 i = 0; i < CONFIG_DEVICES_MAX; i++)
		strcat(line, "--rng on ");
	good(line);
	strcat(line, "--rng on");
	bad(line, "there is room for");
}

START_TEST(a_console_takes_stdio_from_the_serial_port)
{
	good("--console stdio");
	ck_assert_int_eq(cfg.serial.kind, STREAM_NONE);
	ck_assert_str_eq(cfg.cmdline, "console=hvc0");
	good("--console none --port stdio,name=p");
	ck_assert_int_eq(cfg.serial.kind, STREAM_NONE);
	good("--console pty");
	ck_assert_int_eq(cfg.serial.kind, STREAM_STDIO);
	ck_assert_str_eq(cfg.cmdline, "console=ttyS0");
	good("--console stdio --serial file=f --cmdline quiet");
	ck_assert_int_eq(cfg.serial.kind, STREAM_FILE);
	ck_assert_str_eq(cfg.cmdline, "console=ttyS0 quiet");
	bad("--console stdio --serial stdio", "only one of");
	bad("--console stdio --port stdio,name=p", "only one of");
}

START_TEST(with_a_disk_there_is_no_initramfs_of_ours)
{
	good("--disk file=a");
	ck_assert_ptr_null(cfg.data_dir);
	good("--rng on");
	ck_assert_ptr_nonnull(cfg.data_dir);
}

START_TEST(iothreads_is_a_number)
{
	good("--rng on");
	ck_assert_uint_eq(cfg.iothreads, 1);
	good("--iothreads 0");
	ck_assert_uint_eq(cfg.iothreads, 0);
	bad("--iothreads 65", "give a number from 0 to 64");
	bad("--iothreads x", "give a number");
}

START_TEST(a_device_has_a_name_that_no_other_has)
{
	good("--rng on --disk file=a --net user --disk file=b --console none,id=con --rng "
	     "on,id=r.1_-");
	ck_assert_str_eq(cfg.device[0].id, "rng0");
	ck_assert_str_eq(cfg.device[1].id, "disk0");
	ck_assert_str_eq(cfg.device[2].id, "net0");
	ck_assert_str_eq(cfg.device[3].id, "disk1");
	ck_assert_str_eq(cfg.device[4].id, "con");
	ck_assert_str_eq(cfg.device[5].id, "r.1_-");
	bad("--disk file=a,id=x --rng on,id=x", "--rng: id=x is given twice");
	bad("--disk file=a,id=disk1 --disk file=b",
	    "is the name that another device has by default");
	bad("--disk file=a --disk file=b,id=disk0", "--disk: id=disk0 is the name that another");
	bad("--rng on,id=1x", "a name is a letter, and then");
	bad("--rng on,id=a/b", "a name is a letter");
	bad("--rng on,id=a234567890123456789012345678901x", "up to 30 letters");
	good("--rng on,id=a234567890123456789012345678901");
}

START_TEST(a_trace_has_a_file)
{
	good("");
	ck_assert_ptr_null(cfg.trace);
	good("--trace /tmp/x");
	ck_assert_str_eq(cfg.trace, "/tmp/x");
	bad("--trace a --trace b", "--trace is given twice");
	bad("--trace=", "needs the path");
}

START_TEST(a_control_socket_has_a_path)
{
	good("--rng on");
	ck_assert_ptr_null(cfg.control);
	good("--control /tmp/x");
	ck_assert_str_eq(cfg.control, "/tmp/x");
	bad("--control a --control b", "--control is given twice");
	bad("--control=", "needs the path");
}

START_TEST(a_double_comma_is_one_of_the_value)
{
	char text[] = "a,,b,c,,,d,", *rest = text;

	ck_assert_str_eq(subopts_word(&rest), "a,b");
	ck_assert_str_eq(subopts_word(&rest), "c,");
	ck_assert_str_eq(subopts_word(&rest), "d");
	ck_assert_str_eq(subopts_word(&rest), "");
	ck_assert_ptr_null(rest);
}

Suite *config_devices_suite(void)
{
	Suite *s = suite_create("config-devices");
	TCase *t = tcase_create("config-devices");

	tcase_add_checked_fixture(t, config_rig_init, config_rig_free);
	tcase_add_test(t, a_disk_needs_a_file_and_no_more);
	tcase_add_test(t, a_disk_can_be_a_back_ends);
	tcase_add_test(t, a_disk_may_be_moved_where_switch_says);
	tcase_add_test(t, a_device_of_any_type_can_be_a_back_ends);
	tcase_add_test(t, every_setting_of_a_disk_is_taken);
	tcase_add_test(t, a_bad_setting_is_named);
	tcase_add_test(t, devices_keep_their_order);
	tcase_add_test(t, a_port_belongs_to_the_console_before_it);
	tcase_add_test(t, rng_is_on_or_off);
	tcase_add_test(t, there_is_room_for_so_many_devices);
	tcase_add_test(t, a_console_takes_stdio_from_the_serial_port);
	tcase_add_test(t, with_a_disk_there_is_no_initramfs_of_ours);
	tcase_add_test(t, iothreads_is_a_number);
	tcase_add_test(t, a_device_has_a_name_that_no_other_has);
	tcase_add_test(t, a_control_socket_has_a_path);
	tcase_add_test(t, a_trace_has_a_file);
	tcase_add_test(t, a_double_comma_is_one_of_the_value);
	suite_add_tcase(s, t);
	return s;
}
