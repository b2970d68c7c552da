// SPDX-License-Identifier: MIT
/*
 * config_net.c - the option that adds a network device: --net.
 *
 * The first word says what the device is connected to; what stands behind it must fit to that.
 */
#include "minivmm/log.h"
#include "minivmm/peer.h"
#include "vmm/auto_path.h"
#include "vmm/config_devices.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define MTU_MIN	     68	   /* VIRTIO 1.2, 5.1.4.1 */
#define USER_MTU_MAX 65521 /* libslirp's */
#define FD_MIN	     3	   /* behind standard input, output and error */
#define POLL_US_MAX  1000000
#define AUTO_MAX     10000000 /* frames a second */

/* clang-format off: one setting a line */
static const struct subopt net_subopts[] = {
	STRING("mac", net.mac_text),
	STRING("socket", net.back_end),
	CHOICE("datapath", net.datapath, "inproc|vhost-net|vhost-user"),
	STRING("switch", switch_text),
	SWITCH("auto", net.automatic),
	{ .name = "auto-up", .type = SUBOPT_NUMBER, TO(net.auto_up), .min = 2, .max = AUTO_MAX },
	{ .name = "auto-down",
	  .type = SUBOPT_NUMBER,
	  TO(net.auto_down),
	  .min = 1,
	  .max = AUTO_MAX },
	{ .name = "queues", .type = SUBOPT_NUMBER, TO(queues), .min = 1, .max = PEER_PAIRS_MAX },
	{ .name = "mtu", .type = SUBOPT_NUMBER, TO(net.mtu), .min = MTU_MIN, .max = 65535 },
	CHOICE("link", net.link_down, "up|down"),
	SWITCH("antispoof", net.antispoof),
	{ .name = "rate", .type = SUBOPT_AMOUNT, TO(net.bits) },
	{ .name = "pps", .type = SUBOPT_AMOUNT, TO(net.frames) },
	{ .name = "burst", .type = SUBOPT_SIZE, TO(net.burst) },
	STRING("pcap", net.pcap),
	{ .name = "poll-us", .type = SUBOPT_NUMBER, TO(net.poll_us), .min = 0, .max = POLL_US_MAX },
	SWITCH("csum", net.csum),
	SWITCH("tso", net.tso),
	SWITCH("uso", net.uso),
	SWITCH("mrg", net.mrg),
	{ .name = "speed", .type = SUBOPT_NUMBER, TO(net.speed), .min = 1, .max = INT_MAX },
	CHOICE("duplex", net.duplex, "unknown|half|full"),
	{ .name = "hostfwd", .type = SUBOPT_LIST, TO(net.hostfwd) },
	SWITCH("restrict", net.restricted),
	SWITCH("server", net.server),
	SWITCH("source", net.source),
	VIRTIO_SUBOPTS,
	{ .name = NULL },
};
/* clang-format on */

/* What the device is connected to. */
static int parse_peer(const char *word, struct net_config *net)
{
	const char *rest;
	u64 n;

	if (strcmp(word, "user") == 0) {
		net->peer = NET_USER;
	} else if (strcmp(word, "null") == 0) {
		net->peer = NET_NULL;
	} else if (strcmp(word, "echo") == 0) {
		net->peer = NET_ECHO;
	} else if (strcmp(word, "datapath=vhost-user") == 0) {
		net->peer = NET_BACK_END;
		net->datapath = PATH_VHOST_USER;
	} else if (strncmp(word, "tap=", 4) == 0 && word[4]) {
		net->peer = NET_TAP;
		net->target = word + 4;
	} else if (strncmp(word, "socket=", 7) == 0 && word[7]) {
		net->peer = NET_SOCKET;
		net->target = word + 7;
	} else if (strncmp(word, "fd=", 3) == 0) {
		net->peer = NET_FD;
		if (number_parse(word + 3, &n, &rest) || *rest || n < FD_MIN || n > INT_MAX) {
			log_err("--net %s: give the number of an open file descriptor, from %d on",
				word, FD_MIN);
			return -EINVAL;
		}
		net->fd = n;
	} else {
		log_err("--net %s: give tap=NAME, fd=N, user, socket=PATH, null, echo or "
			"datapath=vhost-user",
			word);
		return -EINVAL;
	}
	return 0;
}

/* With datapath=vhost-user a socket is the back end's, wherever it stands. Without one we start it. */
static int find_back_end(struct net_config *net)
{
	const char *problem = NULL;

	if (net->datapath == PATH_VHOST_USER && net->peer == NET_SOCKET && !net->back_end) {
		net->peer = NET_BACK_END;
		net->back_end = net->target;
	}
	if (net->peer == NET_BACK_END && net->datapath != PATH_VHOST_USER)
		problem = "datapath= is given twice";
	else if (net->peer == NET_BACK_END && !net->back_end)
		problem = "datapath=vhost-user: give socket=PATH, where the back end is; or, in "
			  "front of it, tap=NAME, fd=N or user, for a process of minivmm's own";
	else if (net->back_end && net->peer != NET_BACK_END)
		problem = "socket=PATH is what the device is connected to, or its back end: give "
			  "it first, or behind datapath=vhost-user";
	if (problem) {
		log_err("--net: %s", problem);
		return -EINVAL;
	}
	if (net->back_end)
		net->target = net->back_end;
	return 0;
}

static int digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

/* Six bytes of two digits each. */
static int parse_mac(const char *text, u8 mac[6])
{
	if (strlen(text) != 17)
		return -EINVAL;
	for (u32 i = 0; i < 6; i++) {
		const char *p = text + 3 * i;

		if (digit(p[0]) < 0 || digit(p[1]) < 0 || (p[2] && p[2] != ':'))
			return -EINVAL;
		mac[i] = digit(p[0]) << 4 | digit(p[1]);
	}
	return 0;
}

/* The address of the n-th network device, as with QEMU. */
static void default_mac(u32 n, u8 mac[6])
{
	static const u8 first[6] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };

	memcpy(mac, first, 6);
	mac[5] += n;
}

static int set_mac(struct net_config *net, u32 n)
{
	static const u8 none[6];

	if (!net->mac_text) {
		default_mac(n, net->mac);
		return 0;
	}
	if (parse_mac(net->mac_text, net->mac)) {
		log_err("--net: mac=%s: give six bytes such as 52:54:00:12:34:56", net->mac_text);
		return -EINVAL;
	}
	if (net->mac[0] & 1 || memcmp(net->mac, none, 6) == 0) {
		log_err("--net: mac=%s: not an address of one device; the first byte must be even, "
			"such as 52",
			net->mac_text);
		return -EINVAL;
	}
	return 0;
}

/* What no two network devices may both have: a tap, a capture, an address. */
static int check_two(const struct net_config *net, const struct net_config *other)
{
	if (net->peer == NET_FD && other->peer == NET_FD && net->fd == other->fd) {
		log_err("--net: fd=%u is given twice; each device needs a tap of its own", net->fd);
		return -EINVAL;
	}
	if (net->peer == NET_TAP && other->peer == NET_TAP &&
	    strcmp(net->target, other->target) == 0) {
		log_err("--net: tap=%s is given twice; each device needs a tap of its own",
			net->target);
		return -EINVAL;
	}
	if (net->pcap && other->pcap && strcmp(net->pcap, other->pcap) == 0) {
		log_err("--net: pcap=%s is given twice; each device needs a file of its own",
			net->pcap);
		return -EINVAL;
	}
	if (memcmp(net->mac, other->mac, 6) == 0) {
		log_err("--net: two devices have the address %02x:%02x:%02x:%02x:%02x:%02x; "
			"give one of them another mac=",
			net->mac[0], net->mac[1], net->mac[2], net->mac[3], net->mac[4],
			net->mac[5]);
		return -EINVAL;
	}
	return 0;
}

static int check_unique(const struct config *cfg, const struct net_config *net)
{
	int err = 0;

	for (u32 i = 0; i + 1 < cfg->ndevices && !err; i++) {
		if (cfg->device[i].kind == DEVICE_NET)
			err = check_two(net, &cfg->device[i].net);
	}
	return err;
}

/* What fits only to some connections. */
static int check_peer(const struct device_config *d)
{
	const struct net_config *net = &d->net;

	if (d->queues > 1 && net->peer != NET_TAP && net->peer != NET_BACK_END) {
		log_err("--net: queues=%u: only a tap=NAME and a vhost-user back end have several "
			"pairs of queues",
			d->queues);
		return -EINVAL;
	}
	if (net->server && net->peer != NET_SOCKET && net->peer != NET_BACK_END) {
		log_err("--net: server=on is for socket=PATH");
		return -EINVAL;
	}
	if ((net->hostfwd.n || net->restricted) && net->peer != NET_USER) {
		log_err("--net: hostfwd= and restrict= are for user");
		return -EINVAL;
	}
	if (net->source && net->peer != NET_NULL) {
		log_err("--net: source=on is for null");
		return -EINVAL;
	}
	if (net->peer == NET_USER && net->mtu > USER_MTU_MAX) {
		log_err("--net: mtu=%u: with user it is at most %d", net->mtu, USER_MTU_MAX);
		return -EINVAL;
	}
	if (net->burst && !net->bits) {
		log_err("--net: burst= needs a rate=");
		return -EINVAL;
	}
	return 0;
}

/* To be moved to another data path, the device has to be connected to what all of them can use. */
static int check_switch(const struct device_config *d)
{
	const struct net_config *net = &d->net;

	if (!d->switches)
		return 0;
	if (net->peer != NET_TAP && net->peer != NET_FD) {
		log_err("--net: switch= is for tap=NAME or fd=N, which can change hands");
		return -EINVAL;
	}
	if (d->switches >> PATH_VHOST_USER & 1 && d->queues > 1) {
		log_err("--net: switch=%s: with vhost-user there can be only one pair of queues; "
			"use queues=1",
			d->switch_text);
		return -EINVAL;
	}
	return 0;
}

/* It needs both ends of the way, and thresholds that are apart. */
static int check_auto(const struct device_config *d)
{
	const u32 both = 1U << PATH_INPROC | 1U << PATH_VHOST_NET;
	const struct net_config *net = &d->net;
	const char *problem = NULL;

	if (!net->automatic && (net->auto_up || net->auto_down))
		problem = "auto-up= and auto-down= go with auto=on";
	else if (net->automatic && (d->switches & both) != both)
		problem = "auto=on goes with switch=inproc:vhost-net";
	if (problem) {
		log_err("--net: %s", problem);
		return -EINVAL;
	}
	return 0;
}

static int set_auto(struct net_config *net)
{
	if (!net->automatic)
		return 0;
	if (!net->auto_up)
		net->auto_up = AUTO_UP_DEFAULT;
	if (!net->auto_down) /* below in any case */
		net->auto_down =
			net->auto_up > AUTO_DOWN_DEFAULT ? AUTO_DOWN_DEFAULT : net->auto_up / 2;
	if (net->auto_down >= net->auto_up) {
		log_err("--net: auto-down=%u: it must be less than auto-up=%u", net->auto_down,
			net->auto_up);
		return -EINVAL;
	}
	return 0;
}

/* The kernel or another process moves the frames: nothing of ours can look at them. */
static int check_datapath(const struct device_config *d, u32 datapath)
{
	const struct net_config *net = &d->net;
	const struct {
		bool given;
		const char *name;
	} ours[] = {
		{ net->pcap, "pcap=" },	      { net->bits, "rate=" },
		{ net->frames, "pps=" },      { net->antispoof, "antispoof=on" },
		{ net->poll_us, "poll-us=" },
	};

	if (datapath == PATH_INPROC)
		return 0;
	if (datapath == PATH_VHOST_USER && (net->peer == NET_NULL || net->peer == NET_ECHO)) {
		log_err("--net: null and echo are for datapath=inproc; for another process start "
			"minivmm device net --peer null, and give datapath=vhost-user,socket=PATH");
		return -EINVAL;
	}
	if (datapath == PATH_VHOST_NET && net->peer != NET_TAP && net->peer != NET_FD) {
		log_err("--net: datapath=vhost-net is for tap=NAME or fd=N; with user and "
			"socket=PATH "
			"use datapath=inproc");
		return -EINVAL;
	}
	if (datapath == PATH_VHOST_NET && d->packed) {
		log_err("--net: packed=on: vhost-net has no packed rings; use packed=off, or "
			"datapath=inproc");
		return -EINVAL;
	}
	for (u32 i = 0; i < ARRAY_SIZE(ours); i++) {
		if (ours[i].given) {
			log_err("--net: %s is not for datapath=%s, where minivmm does not see "
				"the frames; use datapath=inproc",
				ours[i].name, config_path_name(datapath));
			return -EINVAL;
		}
	}
	return 0;
}

static u32 count_nets(const struct config *cfg)
{
	u32 n = 0;

	for (u32 i = 0; i < cfg->ndevices; i++)
		n += cfg->device[i].kind == DEVICE_NET;
	return n;
}

int config_net(struct config *cfg, const char *arg)
{
	char *text;
	struct device_config *d = config_add_device(cfg, "net", arg, DEVICE_NET, &text);
	int err;

	if (!d)
		return -EINVAL;
	d->net.csum = d->net.tso = d->net.uso = d->net.mrg = true;
	err = parse_peer(subopts_word(&text), &d->net);
	if (!err)
		err = subopts_parse("net", text, net_subopts, d);
	if (!err)
		err = find_back_end(&d->net);
	if (!err)
		err = check_peer(d);
	if (!err)
		err = config_switches("net", d);
	if (!err)
		err = check_switch(d);
	if (!err)
		err = check_auto(d);
	if (!err)
		err = set_auto(&d->net);
	if (!err)
		err = check_datapath(d, d->net.datapath);
	for (u32 i = 0; i < PATH_KINDS && !err; i++) {
		if (d->switches >> i & 1)
			err = check_datapath(d, i);
	}
	if (!err)
		err = set_mac(&d->net, count_nets(cfg) - 1);
	return err ? err : check_unique(cfg, &d->net);
}
