// SPDX-License-Identifier: MIT
/*
 * test_boot.c - what all boot protocols share: the files, the initrd's place, the command line, the
 * memory map, the tables the first instruction runs on.
 */
#include "tests/unit/guest.h"
#include "tests/unit/images.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RAM  (64 * MIB)
#define GZIP "\x1f\x8b"

static struct guest g;
static u8 bz[BZ_SIZE], elf[ELF_SIZE];
static struct setup_header *h;

static void setup(void)
{
	guest_init(&g, RAM);
	h = bz_build(bz);
	elf_build(elf, true);
}

static void teardown(void)
{
	guest_free(&g);
}

static int boot(void)
{
	return guest_boot(&g, bz, BZ_SIZE);
}

static struct boot_params *zero_page(void)
{
	return guest_at(&g, g.entry.arg, sizeof(struct boot_params));
}

static int boot_path(const char *kernel)
{
	g.files.kernel = kernel;
	return arch_boot(&g.mem, &g.files, &g.platform, &g.entry);
}

START_TEST(a_kernel_that_is_not_there_is_named)
{
	ck_assert_int_eq(boot_path("/nonexistent/kernel"), -ENOENT);
	expect_said("kernel /nonexistent/kernel: No such file");
}

START_TEST(a_directory_is_no_kernel)
{
	ck_assert_int_eq(boot_path("/"), -EINVAL);
	expect_said("kernel /: not a regular file");
}

START_TEST(a_device_is_no_kernel)
{
	ck_assert_int_eq(boot_path("/dev/zero"), -EINVAL);
	expect_said("not a regular file");
}

START_TEST(a_fifo_is_no_kernel_and_does_not_block)
{
	char path[] = "/tmp/minivmm-unit-XXXXXX";

	ck_assert_ptr_nonnull(mkdtemp(path));
	ck_assert_int_eq(rmdir(path), 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_int_eq(boot_path(path), -EINVAL);
	expect_said("not a regular file");
	unlink(path);
}

START_TEST(an_empty_file_is_no_kernel)
{
	ck_assert_int_eq(guest_boot(&g, "", 0), -EINVAL);
	expect_said("the file is empty");
}

START_TEST(a_kernel_that_may_not_be_read_is_named)
{
	char path[] = "/tmp/minivmm-unit-XXXXXX";
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_eq(chmod(path, 0), 0);
	if (access(path, R_OK) == 0) { /* root may */
		unlink(path);
		skip_test("root may read any file");
	}
	ck_assert_int_eq(boot_path(path), -EACCES);
	expect_said("Permission denied");
	unlink(path);
}

START_TEST(a_file_of_another_kind_is_no_kernel)
{
	static u8 junk[100000];

	for (u32 i = 0; i < sizeof(junk); i++)
		junk[i] = (i * 2654435761u) >> 13;
	ck_assert_int_eq(guest_boot(&g, junk, sizeof(junk)), -ENOEXEC);
	expect_said("neither a bzImage nor an x86-64 ELF");
	ck_assert_int_eq(guest_boot(&g, "#!/bin/sh\n", 10), -ENOEXEC);
	expect_said("neither a bzImage nor an x86-64 ELF");
}

/* Boot with an initrd of `len` bytes: the start of a gzip file, then each its offset. */
static int boot_with_initrd(u64 len)
{
	u8 *content = malloc(len + 2);
	char path[32];
	int fd, err;

	for (u64 i = 0; i < len; i++)
		content[i] = i;
	memcpy(content, GZIP, 2);
	fd = temp_file(content, len, path);
	free(content);
	g.files.initrd = path;
	err = boot();
	g.files.initrd = NULL;
	close(fd);
	return err;
}

START_TEST(the_initrd_stands_at_the_end_of_ram)
{
	const u8 *p;

	ck_assert_int_eq(boot_with_initrd(5000), 0);
	ck_assert_uint_eq(zero_page()->hdr.ramdisk_image, RAM - 8192);
	ck_assert_uint_eq(zero_page()->hdr.ramdisk_size, 5000);
	p = guest_at(&g, RAM - 8192, 8192);
	ck_assert_mem_eq(p, GZIP, 2);
	for (u32 i = 2; i < 5000; i++)
		ck_assert_uint_eq(p[i], i & 0xff);
	ck_assert_uint_eq(p[5000], 0);
}

START_TEST(a_kernels_initrd_limit_is_honoured)
{
	h->xloadflags = XLF_KERNEL_64;
	h->initrd_addr_max = 32 * MIB - 1;
	ck_assert_int_eq(boot_with_initrd(4096), 0);
	ck_assert_uint_eq(zero_page()->hdr.ramdisk_image, 32 * MIB - 4096);
}

START_TEST(an_initrd_fills_the_room_above_the_kernel_exactly)
{
	u64 room = RAM - BZ_PREF_ADDRESS - BZ_INIT_SIZE;

	ck_assert_int_eq(boot_with_initrd(room), 0);
	ck_assert_uint_eq(zero_page()->hdr.ramdisk_image, BZ_PREF_ADDRESS + BZ_INIT_SIZE);
	ck_assert_int_eq(boot_with_initrd(room + 1), -ENOMEM);
	expect_said("do not fit beside the kernel; give more --memory");
}

START_TEST(an_initrd_larger_than_ram_is_refused)
{
	char path[32];
	int fd = temp_file(GZIP, 2, path);

	ck_assert_int_eq(ftruncate(fd, 1024 * GIB), 0);
	g.files.initrd = path;
	ck_assert_int_eq(boot(), -ENOMEM);
	expect_said("give more --memory");
	close(fd);
}

START_TEST(bad_initrd_files_are_named)
{
	g.files.initrd = "/nonexistent/initrd";
	ck_assert_int_eq(boot(), -ENOENT);
	expect_said("initrd /nonexistent/initrd: No such file");
	g.files.initrd = "/";
	ck_assert_int_eq(boot(), -EINVAL);
	expect_said("initrd /: not a regular file");
	ck_assert_int_eq(boot_with_initrd(0), -EINVAL);
	expect_said("the file is empty");
}

START_TEST(what_linux_could_not_unpack_is_refused_only_for_linux)
{
	char path[32];
	int fd = temp_file("just some text", 14, path);

	g.files.initrd = path;
	ck_assert_int_eq(boot(), -EINVAL);
	expect_said("neither a cpio archive (newc) nor");
	ck_assert_int_eq(guest_boot(&g, elf, ELF_SIZE), -EINVAL);
	expect_said("neither a cpio archive (newc) nor");
	elf_build(elf, false);
	ck_assert_int_eq(guest_boot(&g, elf, ELF_SIZE), 0);
	ck_assert_mem_eq(guest_at(&g, RAM - 4096, 14), "just some text", 14);
	close(fd);
}

START_TEST(without_any_initrd_there_is_none)
{
	ck_assert_int_eq(boot(), 0);
	ck_assert_uint_eq(zero_page()->hdr.ramdisk_size, 0);
	ck_assert_uint_eq(zero_page()->hdr.ramdisk_image, 0);
	expect_silence();
}

/* A data directory with some of our own initramfs files, told apart by their size. */
static char dir[] = "/tmp/minivmm-unit-XXXXXX";

static void data_file(const char *name, u32 size)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, GZIP, 2), 2);
	ck_assert_int_eq(ftruncate(fd, size), 0);
	close(fd);
}

static void data_dir_begin(void)
{
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	g.files.data_dir = dir;
}

static void data_dir_end(void)
{
	static const char *const names[] = { "initramfs.cpio", "initramfs-" BZ_RELEASE ".cpio" };
	char path[64];

	for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	ck_assert_int_eq(rmdir(dir), 0);
}

START_TEST(our_own_initramfs_is_the_one_for_the_kernel)
{
	data_dir_begin();
	data_file("initramfs.cpio", 1000);
	data_file("initramfs-" BZ_RELEASE ".cpio", 2000);
	ck_assert_int_eq(boot(), 0);
	ck_assert_uint_eq(zero_page()->hdr.ramdisk_size, 2000);
	data_dir_end();
}

START_TEST(else_it_is_the_plain_one)
{
	data_dir_begin();
	data_file("initramfs.cpio", 1000);
	ck_assert_int_eq(boot(), 0);
	ck_assert_uint_eq(zero_page()->hdr.ramdisk_size, 1000);
	expect_silence();
	data_dir_end();
}

START_TEST(a_missing_own_initramfs_is_a_warning)
{
	data_dir_begin();
	ck_assert_int_eq(boot(), 0);
	ck_assert_uint_eq(zero_page()->hdr.ramdisk_size, 0);
	expect_said("give --initrd FILE");
	data_dir_end();
}

START_TEST(a_named_initrd_goes_before_our_own)
{
	data_dir_begin();
	data_file("initramfs.cpio", 1000);
	ck_assert_int_eq(boot_with_initrd(3000), 0);
	ck_assert_uint_eq(zero_page()->hdr.ramdisk_size, 3000);
	data_dir_end();
}

START_TEST(a_release_cannot_name_a_file_elsewhere)
{
	data_dir_begin();
	data_file("initramfs.cpio", 1000);
	strcpy((char *)bz + 0x280, "x/../initramfs");
	ck_assert_int_eq(boot(), 0);
	ck_assert_uint_eq(zero_page()->hdr.ramdisk_size, 1000);
	data_dir_end();
}

START_TEST(a_kernel_without_a_release_gets_the_plain_one)
{
	data_dir_begin();
	data_file("initramfs.cpio", 1000);
	h->kernel_version = 0;
	ck_assert_int_eq(boot(), 0);
	ck_assert_uint_eq(zero_page()->hdr.ramdisk_size, 1000);
	h->kernel_version = 0xffff; /* beyond the end of the file */
	ck_assert_int_eq(boot(), 0);
	ck_assert_uint_eq(zero_page()->hdr.ramdisk_size, 1000);
	data_dir_end();
}

START_TEST(a_bare_metal_guest_gets_no_initramfs_of_ours)
{
	data_dir_begin();
	data_file("initramfs.cpio", 1000);
	elf_build(elf, false);
	ck_assert_int_eq(guest_boot(&g, elf, ELF_SIZE), 0);
	ck_assert_uint_eq(((u32 *)guest_at(&g, g.entry.arg, 56))[3], 0); /* nr_modules */
	elf_build(elf, true);
	ck_assert_int_eq(guest_boot(&g, elf, ELF_SIZE), 0);
	ck_assert_uint_eq(((u32 *)guest_at(&g, g.entry.arg, 56))[3], 1);
	data_dir_end();
}

START_TEST(the_command_line_is_handed_over)
{
	g.files.cmdline = "console=ttyS0 quiet";
	ck_assert_int_eq(boot(), 0);
	ck_assert_str_eq(guest_at(&g, zero_page()->hdr.cmd_line_ptr, 100), "console=ttyS0 quiet");
}

START_TEST(a_command_line_too_long_for_the_kernel_is_refused)
{
	char longest[2049];

	memset(longest, 'x', sizeof(longest));
	longest[2047] = '\0';
	g.files.cmdline = longest;
	ck_assert_int_eq(boot(), 0); /* cmdline_size does not count the NUL */
	ck_assert_str_eq(guest_at(&g, zero_page()->hdr.cmd_line_ptr, 2048), longest);
	longest[2047] = 'x';
	longest[2048] = '\0';
	ck_assert_int_eq(boot(), -EINVAL);
	expect_said("2048 bytes are too long for this kernel, which takes 2047");
}

START_TEST(a_command_line_may_not_leave_its_place)
{
	static char longest[0x10001];

	memset(longest, 'x', sizeof(longest) - 1);
	g.files.cmdline = longest;
	h->cmdline_size = ~0u;
	ck_assert_int_eq(boot(), -EINVAL);
	expect_said("too long");
	longest[0xffff] = '\0';
	ck_assert_int_eq(boot(), 0);
}

/* Is [addr, addr + size) of that type, as the guest was told? */
static bool mapped(u64 addr, u64 size, u32 type)
{
	const struct boot_params *z = zero_page();

	for (u32 i = 0; i < z->e820_entries; i++) {
		if (range_inside(addr, size, z->e820_table[i].addr, z->e820_table[i].size))
			return z->e820_table[i].type == type;
	}
	return false;
}

START_TEST(the_memory_map_tells_ram_from_what_is_reserved)
{
	ck_assert_int_eq(boot(), 0);
	ck_assert(mapped(0, 0xa0000, 1));
	ck_assert(mapped(0xe0000, 0x20000, 2)); /* ACPI */
	ck_assert(mapped(1 * MIB, RAM - 1 * MIB, 1));
	ck_assert(mapped(g.platform.pci.ecam, 1 * MIB, 2));
	ck_assert(mapped(0xffff0, 16, 2)); /* the reset vector */
	ck_assert(!mapped(0xa0000, 1, 1));
	ck_assert(!mapped(RAM, 1, 1));
}

START_TEST(the_memory_map_is_sorted_and_does_not_overlap)
{
	guest_free(&g);
	guest_init(&g, 5 * GIB);
	ck_assert_int_eq(boot(), 0);
	ck_assert_uint_eq(zero_page()->e820_entries, 5);
	for (u32 i = 1; i < zero_page()->e820_entries; i++) {
		const struct boot_e820_entry *e = &zero_page()->e820_table[i];

		ck_assert_uint_ge(e->addr, e[-1].addr + e[-1].size);
	}
	ck_assert(mapped(1 * MIB, 3 * GIB - 1 * MIB, 1));
	ck_assert(mapped(4 * GIB, 2 * GIB, 1));
	ck_assert(!mapped(3 * GIB, 1, 1));
}

START_TEST(an_initrd_stays_below_3_gib_in_a_large_guest)
{
	guest_free(&g);
	guest_init(&g, 5 * GIB);
	ck_assert_int_eq(boot_with_initrd(4096), 0);
	ck_assert_uint_eq(zero_page()->hdr.ramdisk_image, 3 * GIB - 4096);
}

START_TEST(the_page_tables_map_the_first_gib_to_itself)
{
	u64 *pml4, *pdpt, *pd;

	ck_assert_int_eq(boot(), 0);
	pml4 = guest_at(&g, 0x9000, 3 * 4096);
	ck_assert_uint_eq(pml4[0] & 3, 3);
	pdpt = guest_at(&g, pml4[0] & ~0xfffULL, 4096);
	ck_assert_uint_eq(pdpt[0] & 3, 3);
	pd = guest_at(&g, pdpt[0] & ~0xfffULL, 4096);
	for (u64 i = 0; i < 512; i++)
		ck_assert_uint_eq(pd[i], i * 2 * MIB | 0x83);
	for (u32 i = 1; i < 512; i++)
		ck_assert_uint_eq(pml4[i] | pdpt[i], 0);
}

START_TEST(the_gdt_has_flat_code_and_data)
{
	u64 *gdt;

	ck_assert_int_eq(boot(), 0);
	gdt = guest_at(&g, 0x500, 5 * 8);
	ck_assert_uint_eq(gdt[0], 0);
	ck_assert_uint_eq(gdt[2], 0x00af9b000000ffff); /* 64-bit */
	ck_assert_uint_eq(gdt[3], 0x00cf93000000ffff);
	ck_assert_int_eq(guest_boot(&g, elf, ELF_SIZE), 0);
	ck_assert_uint_eq(gdt[2], 0x00cf9b000000ffff); /* 32-bit for PVH */
}

/* mov al, FEh; out 64h, al: the keyboard controller's reset line (8042). */
START_TEST(a_jump_to_the_bios_resets)
{
	ck_assert_int_eq(boot(), 0);
	ck_assert_mem_eq(guest_at(&g, 0xffff0, 4), "\xb0\xfe\xe6\x64", 4);
}

START_TEST(ram_below_3_gib_is_one_stretch)
{
	struct span ram[MEM_REGIONS_MAX];

	ck_assert_int_eq(arch_ram_layout(3 * GIB, ram), 1);
	ck_assert_uint_eq(ram[0].base, 0);
	ck_assert_uint_eq(ram[0].size, 3 * GIB);
	ck_assert_int_eq(arch_ram_layout(2 * MIB, ram), 1);
	ck_assert_uint_eq(ram[0].size, 2 * MIB);
}

START_TEST(more_ram_goes_on_at_4_gib)
{
	struct span ram[MEM_REGIONS_MAX];

	ck_assert_int_eq(arch_ram_layout(3 * GIB + 4096, ram), 2);
	ck_assert_uint_eq(ram[0].size, 3 * GIB);
	ck_assert_uint_eq(ram[1].base, 4 * GIB);
	ck_assert_uint_eq(ram[1].size, 4096);
}

START_TEST(too_little_and_too_much_ram_are_refused)
{
	struct span ram[MEM_REGIONS_MAX];

	ck_assert_int_eq(arch_ram_layout(2 * MIB - 4096, ram), -EINVAL);
	expect_said("too small");
	ck_assert_int_eq(arch_ram_layout(0, ram), -EINVAL);
	expect_said("too small");
	ck_assert_int_eq(arch_ram_layout(~0ULL - 4095, ram), -EINVAL);
	expect_said("address bits");
}

START_TEST(the_pci_windows_stay_clear_of_ram)
{
	for (u64 size = 2 * MIB; size <= 16 * GIB; size *= 2) {
		struct span ram[MEM_REGIONS_MAX];
		struct pci_map map;
		int n = arch_ram_layout(size, ram);

		arch_pci_map(ram, n, &map);
		ck_assert_uint_ge(map.mem32, ram[0].size);
		ck_assert(!ranges_overlap(map.mem32, map.mem32_size, map.ecam, 1 * MIB));
		ck_assert_uint_le(map.mem32 + map.mem32_size, 0xfec00000);
		if (n > 1 && map.mem64_size)
			ck_assert_uint_ge(map.mem64, ram[1].base + ram[1].size);
		ck_assert(!map.mem64_size || map.mem64 >= 4 * GIB);
	}
}

START_TEST(the_smallest_guest_boots)
{
	guest_free(&g);
	guest_init(&g, 2 * MIB);
	elf_build(elf, true);
	((struct elf_image *)elf)->load.p_paddr = 1 * MIB;
	((struct elf_image *)elf)->load.p_memsz = ELF_LOAD;
	elf[ELF_NOTES + 16 + 2] = 0x10; /* the entry: 100010h */
	ck_assert_int_eq(guest_boot(&g, elf, ELF_SIZE), 0);
	ck_assert_uint_eq(g.entry.pc, 1 * MIB + 0x10);
}

Suite *boot_suite(void)
{
	Suite *s = suite_create("boot");
	TCase *t = tcase_create("boot-kernel");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_kernel_that_is_not_there_is_named);
	tcase_add_test(t, a_directory_is_no_kernel);
	tcase_add_test(t, a_device_is_no_kernel);
	tcase_add_test(t, a_fifo_is_no_kernel_and_does_not_block);
	tcase_add_test(t, an_empty_file_is_no_kernel);
	tcase_add_test(t, a_kernel_that_may_not_be_read_is_named);
	tcase_add_test(t, a_file_of_another_kind_is_no_kernel);
	suite_add_tcase(s, t);

	t = tcase_create("boot-initrd");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, the_initrd_stands_at_the_end_of_ram);
	tcase_add_test(t, a_kernels_initrd_limit_is_honoured);
	tcase_add_test(t, an_initrd_fills_the_room_above_the_kernel_exactly);
	tcase_add_test(t, an_initrd_larger_than_ram_is_refused);
	tcase_add_test(t, bad_initrd_files_are_named);
	tcase_add_test(t, what_linux_could_not_unpack_is_refused_only_for_linux);
	tcase_add_test(t, without_any_initrd_there_is_none);
	tcase_add_test(t, our_own_initramfs_is_the_one_for_the_kernel);
	tcase_add_test(t, else_it_is_the_plain_one);
	tcase_add_test(t, a_missing_own_initramfs_is_a_warning);
	tcase_add_test(t, a_named_initrd_goes_before_our_own);
	tcase_add_test(t, a_release_cannot_name_a_file_elsewhere);
	tcase_add_test(t, a_kernel_without_a_release_gets_the_plain_one);
	tcase_add_test(t, a_bare_metal_guest_gets_no_initramfs_of_ours);
	tcase_add_test(t, an_initrd_stays_below_3_gib_in_a_large_guest);
	suite_add_tcase(s, t);

	t = tcase_create("boot-tables");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, the_command_line_is_handed_over);
	tcase_add_test(t, a_command_line_too_long_for_the_kernel_is_refused);
	tcase_add_test(t, a_command_line_may_not_leave_its_place);
	tcase_add_test(t, the_memory_map_tells_ram_from_what_is_reserved);
	tcase_add_test(t, the_memory_map_is_sorted_and_does_not_overlap);
	tcase_add_test(t, the_page_tables_map_the_first_gib_to_itself);
	tcase_add_test(t, the_gdt_has_flat_code_and_data);
	tcase_add_test(t, a_jump_to_the_bios_resets);
	suite_add_tcase(s, t);

	t = tcase_create("boot-layout");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, ram_below_3_gib_is_one_stretch);
	tcase_add_test(t, more_ram_goes_on_at_4_gib);
	tcase_add_test(t, too_little_and_too_much_ram_are_refused);
	tcase_add_test(t, the_pci_windows_stay_clear_of_ram);
	tcase_add_test(t, the_smallest_guest_boots);
	suite_add_tcase(s, t);
	return s;
}
