// SPDX-License-Identifier: MIT
/*
 * footprint.c - give back, before the guest runs, the pages of libc that only the start needed.
 *
 * How it works: a page fault on a file that is in the page cache maps up to 16 pages around the
 * one wanted, so the start alone has most of libc in our page tables, 1.1 MB of it; a running
 * machine needs some 0.3. What is given back stays in the page cache, and comes back by a minor fault
 * when it is wanted. Our own program keeps its pages: a debugger's breakpoints are in them.
 */
#include "vmm/footprint.h"
#include "minivmm/base.h"

#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int drop_text(struct dl_phdr_info *info, size_t size, void *arg)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

	(void)size, (void)arg;
	if (!strstr(info->dlpi_name, "/libc.so"))
		return 0;
	for (u32 i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t start = (info->dlpi_addr + ph->p_vaddr) & ~(page - 1);
		uintptr_t end = info->dlpi_addr + ph->p_vaddr + ph->p_memsz;

		if (ph->p_type == PT_LOAD && !(ph->p_flags & PF_W))
			madvise((void *)start, end - start, MADV_DONTNEED);
	}
	return 1;
}

void footprint_trim(void)
{
	dl_iterate_phdr(drop_text, NULL);
}
