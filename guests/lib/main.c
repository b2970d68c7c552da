// SPDX-License-Identifier: MIT
/*
 * main.c - what runs before and after guest_main(). start.S comes from here, with the stack set up.
 */
#include "guest.h"

void lib_main(const struct hvm_start_info *info)
{
	serial_init();
	trap_init();
	acpi_read(info);
	apic_init();
	guest_main(info);
	power_off();
}

bool cmdline_has(const struct hvm_start_info *info, const char *word)
{
	const char *s = (const char *)info->cmdline_paddr;
	size_t len = strlen(word);

	while (s && *s) {
		size_t n = 0;

		while (s[n] && s[n] != ' ')
			n++;
		if (n == len && memcmp(s, word, n) == 0)
			return true;
		s += s[n] ? n + 1 : n;
	}
	return false;
}

u32 cmdline_number(const struct hvm_start_info *info, const char *name, u32 otherwise)
{
	const char *s = (const char *)info->cmdline_paddr;
	size_t len = strlen(name);

	while (s && *s) {
		if (memcmp(s, name, len) == 0 && s[len] == '=') {
			u32 n = 0;

			for (s += len + 1; *s >= '0' && *s <= '9'; s++)
				n = n * 10 + (*s - '0');
			return n;
		}
		while (*s && *s != ' ')
			s++;
		while (*s == ' ')
			s++;
	}
	return otherwise;
}
