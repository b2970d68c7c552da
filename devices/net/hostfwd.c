// SPDX-License-Identifier: MIT
/*
 * hostfwd.c - reads a port forward. See hostfwd.h.
 */
#include "devices/net/hostfwd.h"
#include "minivmm/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* "[ADDRESS]:PORT", up to `end`. Returns 0 or -EINVAL. */
static int parse_end(const char *text, const char *end, struct in_addr *addr, u16 *port)
{
	const char *colon = memchr(text, ':', end - text);
	char word[INET_ADDRSTRLEN] = "";
	u32 value = 0;

	if (!colon || (size_t)(colon - text) >= sizeof(word) || colon + 1 == end)
		return -EINVAL;
	memcpy(word, text, colon - text);
	addr->s_addr = INADDR_ANY;
	if (*word && inet_pton(AF_INET, word, addr) != 1)
		return -EINVAL;
	for (const char *p = colon + 1; p < end; p++) {
		if (*p < '0' || *p > '9')
			return -EINVAL;
		value = 10 * value + *p - '0';
		if (value > 0xffff)
			return -EINVAL;
	}
	*port = value;
	return value ? 0 : -EINVAL;
}

int hostfwd_parse(const char *text, struct hostfwd *f)
{
	const char *dash = strchr(text, '-');

	*f = (struct hostfwd){ .udp = strncmp(text, "udp:", 4) == 0 };
	if ((f->udp || strncmp(text, "tcp:", 4) == 0) && dash && dash > text + 4 &&
	    parse_end(text + 4, dash, &f->host, &f->host_port) == 0 &&
	    parse_end(dash + 1, dash + strlen(dash), &f->guest, &f->guest_port) == 0)
		return 0;
	log_err("hostfwd=%s: give tcp|udp:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT, such as "
		"tcp:127.0.0.1:2222-:22",
		text);
	return -EINVAL;
}
