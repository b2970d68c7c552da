// SPDX-License-Identifier: MIT
/*
 * test_rtc.c - the clock: it shows the host's time, and can be set without changing the host's.
 */
#include "minivmm/devices.h"
#include "tests/unit/unit.h"

#include <time.h>

#define BASE	0x70
#define SECONDS 0x00
#define MINUTES 0x02
#define HOURS	0x04
#define WEEKDAY 0x06
#define DAY	0x07
#define MONTH	0x08
#define YEAR	0x09
#define REG_A	0x0a
#define REG_B	0x0b
#define REG_C	0x0c
#define REG_D	0x0d
#define CENTURY 0x32
#define B_SET	0x80

static struct rig r;
static struct device *rtc;

static u8 get(u8 index)
{
	outb(&r, BASE, index);
	return inb(&r, BASE + 1);
}

static void set(u8 index, u8 value)
{
	outb(&r, BASE, index);
	outb(&r, BASE + 1, value);
}

static int number(u8 bcd)
{
	ck_assert_uint_lt(bcd & 0xf, 10);
	ck_assert_uint_lt(bcd >> 4, 10);
	return (bcd >> 4) * 10 + (bcd & 0xf);
}

/* The clock's time, read as a driver does: again if the second changed meanwhile. */
static time_t clock_now(void)
{
	struct tm tm;
	u8 sec;

	do {
		sec = get(SECONDS);
		tm = (struct tm){
			.tm_sec = number(sec),
			.tm_min = number(get(MINUTES)),
			.tm_hour = number(get(HOURS)),
			.tm_mday = number(get(DAY)),
			.tm_mon = number(get(MONTH)) - 1,
			.tm_year = number(get(CENTURY)) * 100 + number(get(YEAR)) - 1900,
		};
	} while (get(SECONDS) != sec);
	return timegm(&tm);
}

/* As a driver sets it: stop, write, go. All BCD: 0x1999 is the year 1999. */
static void clock_set(u32 year, u8 month, u8 day, u8 hour, u8 min, u8 sec)
{
	set(REG_B, B_SET | 2);
	set(CENTURY, year >> 8);
	set(YEAR, year);
	set(MONTH, month);
	set(DAY, day);
	set(HOURS, hour);
	set(MINUTES, min);
	set(SECONDS, sec);
	set(REG_B, 2);
}

static bool shows(u32 year, u8 month, u8 day)
{
	return get(CENTURY) == year >> 8 && get(YEAR) == (year & 0xff) && get(MONTH) == month &&
	       get(DAY) == day;
}

static void setup(void)
{
	rig_init(&r);
	ck_assert_int_eq(rtc_create(&rtc, &r.env, BASE), 0);
}

static void teardown(void)
{
	rtc->ops->destroy(rtc);
	rtc = NULL; /* else it would hide a leak */
	rig_free(&r);
}

START_TEST(it_shows_the_hosts_time)
{
	time_t before = time(NULL), now = clock_now(), after = time(NULL);

	ck_assert_int_ge(now, before);
	ck_assert_int_le(now, after);
}

START_TEST(it_says_how_it_counts)
{
	ck_assert_uint_eq(get(REG_A), 0x26); /* 32 kHz; no update in progress */
	ck_assert_uint_eq(get(REG_B), 0x02); /* BCD, 24 hours, no interrupts */
	ck_assert_uint_eq(get(REG_C), 0);
	ck_assert_uint_eq(get(REG_D), 0x80); /* valid */
	set(REG_A, 0xff);
	set(REG_B, 0x7f);
	set(REG_C, 0xff);
	set(REG_D, 0);
	ck_assert_uint_eq(get(REG_A), 0x26);
	ck_assert_uint_eq(get(REG_B), 0x02);
	ck_assert_uint_eq(get(REG_C), 0);
	ck_assert_uint_eq(get(REG_D), 0x80);
}

START_TEST(it_can_be_set)
{
	struct tm tm = {
		.tm_year = 99, .tm_mon = 11, .tm_mday = 31, .tm_hour = 23, .tm_min = 58, .tm_sec = 7
	};
	time_t then = timegm(&tm), start = time(NULL), now;

	clock_set(0x1999, 0x12, 0x31, 0x23, 0x58, 0x07);
	now = clock_now();
	ck_assert_int_ge(now, then);
	ck_assert_int_le(now, then + (time(NULL) - start));
	ck_assert_uint_eq(get(WEEKDAY), 6); /* a Friday; 1 is Sunday */
}

START_TEST(it_stands_still_while_it_is_set)
{
	set(REG_B, B_SET | 2);
	ck_assert_uint_eq(get(REG_B), B_SET | 2);
	set(YEAR, 0x42);
	set(SECONDS, 0x59);
	ck_assert_uint_eq(get(YEAR), 0x42);
	ck_assert_uint_eq(get(SECONDS), 0x59);
}

START_TEST(leap_days_are_known)
{
	clock_set(0x2024, 0x02, 0x29, 0x12, 0, 0);
	ck_assert(shows(0x2024, 0x02, 0x29));
	clock_set(0x2100, 0x02, 0x29, 0x12, 0, 0); /* not a leap year */
	ck_assert(shows(0x2100, 0x03, 0x01));
}

START_TEST(every_year_of_four_digits_can_be_set)
{
	clock_set(0x9999, 0x12, 0x31, 0x12, 0, 0);
	ck_assert(shows(0x9999, 0x12, 0x31));
	clock_set(0x1901, 0x06, 0x15, 0x12, 0, 0);
	ck_assert(shows(0x1901, 0x06, 0x15));
	clock_set(0x1850, 0x06, 0x15, 0x12, 0, 0);
	ck_assert(shows(0x1850, 0x06, 0x15));
	clock_set(0x0001, 0x06, 0x15, 0x12, 0, 0);
	ck_assert(shows(0x0001, 0x06, 0x15));
}

START_TEST(nonsense_in_the_time_is_survived)
{
	static const u8 nonsense[] = { 0x00, 0xff, 0x80, 0x0f, 0xa5, 0x99 };

	for (u32 i = 0; i < ARRAY_SIZE(nonsense); i++) {
		u8 n = nonsense[i];

		clock_set(n << 8 | n, n, n, n, n, n);
		clock_now(); /* checks that all of it is BCD */
	}
}

START_TEST(one_byte_can_be_set_by_itself)
{
	clock_set(0x2020, 0x05, 0x05, 0x05, 0x05, 0x05);
	set(HOURS, 0x17);
	ck_assert_uint_eq(get(HOURS), 0x17);
	ck_assert_uint_eq(get(MINUTES), 0x05);
	ck_assert(shows(0x2020, 0x05, 0x05));
}

START_TEST(cmos_ram_keeps_its_bytes)
{
	for (u32 i = 0x33; i < 0x80; i++)
		set(i, i ^ 0x5a);
	for (u32 i = 0x33; i < 0x80; i++)
		ck_assert_uint_eq(get(i), i ^ 0x5a);
}

START_TEST(the_alarm_bytes_are_not_the_time)
{
	clock_set(0x2020, 0x05, 0x05, 0x05, 0x05, 0x05);
	for (u32 alarm = 1; alarm <= 5; alarm += 2) {
		set(alarm, 0xc0 | alarm); /* "any hour" */
		ck_assert_uint_eq(get(alarm), 0xc0 | alarm);
	}
	ck_assert(shows(0x2020, 0x05, 0x05));
	ck_assert_uint_eq(get(HOURS), 0x05);
}

START_TEST(the_nmi_bit_is_no_part_of_the_index)
{
	set(0x40, 1);
	set(0x80 | 0x40, 2);
	ck_assert_uint_eq(get(0x40), 2);
}

START_TEST(the_index_cannot_be_read)
{
	outb(&r, BASE, 0x40);
	ck_assert_uint_eq(inb(&r, BASE), 0xff);
}

START_TEST(a_battery_carries_it_over_a_reset)
{
	set(0x40, 0x77);
	clock_set(0x2001, 0x01, 0x01, 0x12, 0, 0);
	rtc->ops->reset(rtc);
	ck_assert_uint_eq(get(0x40), 0x77);
	ck_assert(shows(0x2001, 0x01, 0x01));
	ck_assert_uint_eq(get(REG_B), 0x02);
}

START_TEST(a_reset_selects_byte_0)
{
	set(0x40, 0x77);
	rtc->ops->reset(rtc);
	outb(&r, BASE + 1, 0x33);
	ck_assert_uint_eq(get(0x40), 0x77);
	ck_assert_uint_ge(get(SECONDS), 0x33);
}

Suite *rtc_suite(void)
{
	Suite *s = suite_create("rtc");
	TCase *t = tcase_create("rtc");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, it_shows_the_hosts_time);
	tcase_add_test(t, it_says_how_it_counts);
	tcase_add_test(t, it_can_be_set);
	tcase_add_test(t, it_stands_still_while_it_is_set);
	tcase_add_test(t, leap_days_are_known);
	tcase_add_test(t, every_year_of_four_digits_can_be_set);
	tcase_add_test(t, nonsense_in_the_time_is_survived);
	tcase_add_test(t, one_byte_can_be_set_by_itself);
	tcase_add_test(t, cmos_ram_keeps_its_bytes);
	tcase_add_test(t, the_alarm_bytes_are_not_the_time);
	tcase_add_test(t, the_nmi_bit_is_no_part_of_the_index);
	tcase_add_test(t, the_index_cannot_be_read);
	tcase_add_test(t, a_battery_carries_it_over_a_reset);
	tcase_add_test(t, a_reset_selects_byte_0);
	suite_add_tcase(s, t);
	return s;
}
