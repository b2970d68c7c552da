// SPDX-License-Identifier: MIT
/*
 * test_power.c - the two devices that ask for power-off and reset, and the power button.
 */
#include "minivmm/devices.h"
#include "minivmm/power_regs.h"
#include "tests/unit/unit.h"

#define BASE  0x600
#define GSI   9
#define I8042 0x64

static struct rig r;
static struct device *power, *i8042;

static void setup(void)
{
	rig_init(&r);
	ck_assert_int_eq(power_create(&power, &r.env, BASE, GSI), 0);
	ck_assert_int_eq(i8042_create(&i8042, &r.env, I8042), 0);
}

static void teardown(void)
{
	power->ops->destroy(power);
	i8042->ops->destroy(i8042);
	power = i8042 = NULL; /* else they would hide a leak */
	rig_free(&r);
}

START_TEST(sleep_state_5_switches_off)
{
	outb(&r, BASE + POWER_REG_SLEEP_CONTROL, POWER_SLEEP_ENABLE | POWER_SLEEP_TYPE_S5 << 2);
	ck_assert_uint_eq(r.power_offs, 1);
	ck_assert_uint_eq(r.power_resets, 0);
}

START_TEST(no_other_sleep_value_does)
{
	for (u32 value = 0; value < 256; value++) {
		bool off =
			(value & POWER_SLEEP_ENABLE) && ((value >> 2) & 7) == POWER_SLEEP_TYPE_S5;

		r.power_offs = 0;
		outb(&r, BASE + POWER_REG_SLEEP_CONTROL, value);
		ck_assert_uint_eq(r.power_offs, off);
	}
	ck_assert_uint_eq(r.power_resets, 0);
}

START_TEST(the_reset_value_resets_and_no_other)
{
	for (u32 value = 0; value < 256; value++)
		outb(&r, BASE + POWER_REG_RESET, value);
	ck_assert_uint_eq(r.power_resets, 1);
	ck_assert_uint_eq(r.power_offs, 0);
}

START_TEST(a_wide_write_counts_by_its_low_byte)
{
	bus_write(r.env.pio, BASE + POWER_REG_RESET, 2, 0xff00 | POWER_RESET_VALUE);
	ck_assert_uint_eq(r.power_resets, 1);
}

START_TEST(the_button_raises_its_line_until_the_events_are_read)
{
	ck_assert_uint_eq(inb(&r, BASE + POWER_REG_EVENTS), 0);
	power_press_button(power);
	power_press_button(power);
	ck_assert(r.vm.level[GSI]);
	ck_assert_uint_eq(inb(&r, BASE + POWER_REG_EVENTS), POWER_EVENT_BUTTON);
	ck_assert(!r.vm.level[GSI]);
	ck_assert_uint_eq(inb(&r, BASE + POWER_REG_EVENTS), 0);
	power_press_button(power);
	ck_assert(r.vm.level[GSI]);
	inb(&r, BASE + POWER_REG_EVENTS);
}

START_TEST(other_registers_read_zero_and_leave_the_events)
{
	power_press_button(power);
	ck_assert_uint_eq(inb(&r, BASE + POWER_REG_SLEEP_CONTROL), 0);
	ck_assert_uint_eq(inb(&r, BASE + POWER_REG_SLEEP_STATUS), 0);
	ck_assert_uint_eq(inb(&r, BASE + POWER_REG_RESET), 0);
	outb(&r, BASE + POWER_REG_EVENTS, 0xff);
	ck_assert(r.vm.level[GSI]);
	ck_assert_uint_eq(inb(&r, BASE + POWER_REG_EVENTS), POWER_EVENT_BUTTON);
}

START_TEST(a_reset_forgets_the_button)
{
	power_press_button(power);
	power->ops->reset(power);
	ck_assert(!r.vm.level[GSI]);
	ck_assert_uint_eq(inb(&r, BASE + POWER_REG_EVENTS), 0);
}

START_TEST(the_keyboard_controller_pulses_the_reset_line)
{
	for (u32 value = 0; value < 256; value++)
		outb(&r, I8042, value);
	ck_assert_uint_eq(r.power_resets, 1);
	outb(&r, I8042, 0xfe);
	ck_assert_uint_eq(r.power_resets, 2);
}

START_TEST(the_keyboard_controller_is_always_ready)
{
	ck_assert_uint_eq(inb(&r, I8042), 0);
	i8042->ops->reset(i8042);
	ck_assert_uint_eq(inb(&r, I8042), 0);
}

START_TEST(a_taken_address_is_refused)
{
	struct device *d;

	ck_assert_int_lt(power_create(&d, &r.env, BASE + 1, GSI), 0);
	ck_assert_int_lt(i8042_create(&d, &r.env, I8042), 0);
	ck_assert_int_lt(rtc_create(&d, &r.env, BASE - 1), 0);
}

Suite *power_suite(void)
{
	Suite *s = suite_create("power");
	TCase *t = tcase_create("power");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, sleep_state_5_switches_off);
	tcase_add_test(t, no_other_sleep_value_does);
	tcase_add_test(t, the_reset_value_resets_and_no_other);
	tcase_add_test(t, a_wide_write_counts_by_its_low_byte);
	tcase_add_test(t, the_button_raises_its_line_until_the_events_are_read);
	tcase_add_test(t, other_registers_read_zero_and_leave_the_events);
	tcase_add_test(t, a_reset_forgets_the_button);
	tcase_add_test(t, the_keyboard_controller_pulses_the_reset_line);
	tcase_add_test(t, the_keyboard_controller_is_always_ready);
	tcase_add_test(t, a_taken_address_is_refused);
	suite_add_tcase(s, t);
	return s;
}
