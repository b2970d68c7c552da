/* SPDX-License-Identifier: MIT */
/*
 * hostfwd.h - "tcp|udp:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT", as with QEMU: what comes in at a
 * port of the host goes to one of the guest.
 */
#ifndef DEVICES_NET_HOSTFWD_H
#define DEVICES_NET_HOSTFWD_H

#include "minivmm/base.h"

#include <netinet/in.h>

struct hostfwd {
	bool udp;
	struct in_addr host;  /* 0.0.0.0: all of the host's addresses */
	struct in_addr guest; /* 0.0.0.0: the first that DHCP gives */
	u16 host_port, guest_port;
};

/* Returns 0, or -EINVAL after one line that says what is wrong. */
int hostfwd_parse(const char *text, struct hostfwd *f);

#endif
