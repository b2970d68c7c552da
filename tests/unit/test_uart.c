// SPDX-License-Identifier: MIT
/*
 * test_uart.c - the 16550 between a guest (inb, outb) and two pipes.
 */
#include "minivmm/devices.h"
#include "minivmm/stream.h"
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <linux/serial_reg.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BASE 0x3f8
#define GSI  4

static struct rig r;
static struct stream s;
static struct device *uart;
static int in[2], out[2]; /* we write to in[1] and read from out[0] */

static u8 get(u32 reg)
{
	return inb(&r, BASE + reg);
}

static void set(u32 reg, u8 value)
{
	outb(&r, BASE + reg, value);
}

static bool line(void)
{
	return r.vm.level[GSI];
}

static void setup(void)
{
	rig_init(&r);
	ck_assert_int_eq(pipe(in), 0);
	ck_assert_int_eq(pipe(out), 0);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	stdio_begin(in[0], out[1]);
	stream_init(&s, r.env.loop);
	ck_assert_int_eq(stream_open_stdio(&s), 0);
	stdio_end();
	ck_assert_int_eq(uart16550_create(&uart, &r.env, BASE, GSI, &s), 0);
}

static void teardown(void)
{
	uart->ops->destroy(uart);
	uart = NULL; /* else it would hide a leak */
	stream_close(&s);
	for (u32 i = 0; i < 2; i++) {
		close(in[i]);
		close(out[i]);
	}
	rig_free(&r);
}

static void type(const char *text)
{
	ck_assert_int_eq(write(in[1], text, strlen(text)), strlen(text));
	loop_settle(r.env.loop);
}

/* What the guest has sent since the last time. */
static const char *sent(void)
{
	static char text[100];
	ssize_t n = read(out[0], text, sizeof(text) - 1);

	text[n < 0 ? 0 : n] = '\0';
	return text;
}

/* Fill the output pipe from outside. */
static void fill_output(void)
{
	static char chunk[4096];
	int fd = dup(out[1]);

	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (write(fd, chunk, sizeof(chunk)) > 0)
		;
	while (write(fd, chunk, 1) > 0)
		;
	fcntl(fd, F_SETFL, 0);
	close(fd);
}

static void empty_output(void)
{
	static char chunk[4096];

	while (read(out[0], chunk, sizeof(chunk)) > 0)
		;
	loop_settle(r.env.loop);
}

START_TEST(at_power_on_it_is_idle)
{
	ck_assert_uint_eq(get(UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
	ck_assert_uint_eq(get(UART_IIR), UART_IIR_NO_INT);
	ck_assert_uint_eq(get(UART_MSR), UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
	ck_assert_uint_eq(get(UART_IER), 0);
	ck_assert_uint_eq(get(UART_RX), 0);
	ck_assert(!line());
}

START_TEST(a_byte_sent_comes_out)
{
	set(UART_TX, 'h');
	set(UART_TX, 'i');
	ck_assert_str_eq(sent(), "hi");
	ck_assert_uint_eq(get(UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
}

START_TEST(a_string_sent_port_by_port_is_not_wider_than_a_byte)
{
	bus_write(r.env.pio, BASE, 4, 0x64636261);
	ck_assert_str_eq(sent(), "a");
}

START_TEST(a_byte_typed_comes_in)
{
	type("ok");
	ck_assert_uint_eq(get(UART_LSR) & UART_LSR_DR, UART_LSR_DR);
	ck_assert_uint_eq(get(UART_RX), 'o');
	ck_assert_uint_eq(get(UART_RX), 'k');
	ck_assert_uint_eq(get(UART_LSR) & UART_LSR_DR, 0);
}

START_TEST(more_input_than_the_fifo_holds_waits_in_the_pipe)
{
	static const char text[] = "the quick brown fox jumps over the lazy dog";

	type(text);
	for (u32 i = 0; i < strlen(text); i++) {
		ck_assert_uint_eq(get(UART_LSR) & UART_LSR_DR, UART_LSR_DR);
		ck_assert_uint_eq(get(UART_RX), text[i]);
		loop_settle(r.env.loop);
	}
	ck_assert_uint_eq(get(UART_LSR) & UART_LSR_DR, 0);
}

START_TEST(received_data_interrupts_while_it_is_there)
{
	type("ab");
	ck_assert(!line()); /* not enabled */
	set(UART_IER, UART_IER_RDI);
	ck_assert(line());
	ck_assert_uint_eq(get(UART_IIR), UART_IIR_RDI);
	ck_assert(line()); /* reading IIR does not settle it */
	get(UART_RX);
	ck_assert(line());
	get(UART_RX);
	ck_assert(!line());
	ck_assert_uint_eq(get(UART_IIR), UART_IIR_NO_INT);
	type("c");
	ck_assert(line());
}

START_TEST(an_empty_transmitter_interrupts_when_that_is_enabled)
{
	set(UART_IER, UART_IER_THRI);
	ck_assert(line());
	ck_assert_uint_eq(get(UART_IIR), UART_IIR_THRI);
	ck_assert(!line()); /* reading IIR settles it */
	ck_assert_uint_eq(get(UART_IIR), UART_IIR_NO_INT);
	set(UART_TX, 'x');
	ck_assert(line());
	set(UART_IER, 0);
	ck_assert(!line());
	set(UART_IER, UART_IER_THRI);
	ck_assert(line());
}

START_TEST(received_data_goes_before_an_empty_transmitter)
{
	type("a");
	set(UART_IER, UART_IER_RDI | UART_IER_THRI);
	ck_assert_uint_eq(get(UART_IIR), UART_IIR_RDI);
	get(UART_RX);
	ck_assert(line());
	ck_assert_uint_eq(get(UART_IIR), UART_IIR_THRI);
	ck_assert(!line());
}

START_TEST(a_full_output_makes_the_guest_wait)
{
	fill_output();
	set(UART_IER, UART_IER_THRI);
	get(UART_IIR); /* settle the one of enabling */
	set(UART_TX, 'x');
	ck_assert_uint_eq(get(UART_LSR) & (UART_LSR_THRE | UART_LSR_TEMT), 0);
	ck_assert_uint_eq(get(UART_IIR), UART_IIR_NO_INT);
	ck_assert(!line());
	empty_output();
	ck_assert_str_eq(sent(), "x");
	ck_assert_uint_eq(get(UART_LSR) & UART_LSR_THRE, UART_LSR_THRE);
	ck_assert(line());
	ck_assert_uint_eq(get(UART_IIR), UART_IIR_THRI);
}

START_TEST(up_to_16_bytes_wait_for_the_output_in_order)
{
	fill_output();
	for (char c = 'a'; c < 'a' + 16; c++)
		set(UART_TX, c);
	set(UART_TX, '!'); /* overrun */
	empty_output();
	ck_assert_str_eq(sent(), "abcdefghijklmnop");
}

START_TEST(the_fifos_are_announced_when_they_are_enabled)
{
	ck_assert_uint_eq(get(UART_IIR) & 0xc0, 0);
	set(UART_FCR, UART_FCR_ENABLE_FIFO);
	ck_assert_uint_eq(get(UART_IIR) & 0xc0, 0xc0);
	set(UART_FCR, 0);
	ck_assert_uint_eq(get(UART_IIR) & 0xc0, 0);
}

START_TEST(the_receive_fifo_can_be_cleared)
{
	type("abc");
	set(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	ck_assert_uint_eq(get(UART_LSR) & UART_LSR_DR, 0);
	type("d");
	ck_assert_uint_eq(get(UART_RX), 'd');
}

START_TEST(a_full_receive_fifo_that_is_cleared_fills_again)
{
	type("0123456789abcdefghij");
	set(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	loop_settle(r.env.loop);
	ck_assert_uint_eq(get(UART_RX), 'g');
}

START_TEST(dlab_shows_the_divisor_instead)
{
	type("z");
	set(UART_IER, UART_IER_RDI);
	set(UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
	set(UART_DLL, 0x34);
	set(UART_DLM, 0x12);
	ck_assert_uint_eq(get(UART_DLL), 0x34);
	ck_assert_uint_eq(get(UART_DLM), 0x12);
	set(UART_LCR, UART_LCR_WLEN8);
	ck_assert_uint_eq(get(UART_LCR), UART_LCR_WLEN8);
	ck_assert_uint_eq(get(UART_IER), UART_IER_RDI);
	ck_assert_uint_eq(get(UART_RX), 'z');
	ck_assert_str_eq(sent(), "");
}

START_TEST(registers_keep_what_a_16550_keeps)
{
	set(UART_SCR, 0x5a);
	ck_assert_uint_eq(get(UART_SCR), 0x5a);
	set(UART_IER, 0xff);
	ck_assert_uint_eq(get(UART_IER), 0x0f);
	set(UART_MCR, 0xff);
	ck_assert_uint_eq(get(UART_MCR), 0x1f);
	set(UART_LSR, 0xff); /* read-only */
	set(UART_MSR, 0xff);
	ck_assert_uint_eq(get(UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
}

START_TEST(loop_back_returns_what_is_sent)
{
	set(UART_MCR, UART_MCR_LOOP);
	set(UART_TX, 'q');
	ck_assert_uint_eq(get(UART_LSR) & UART_LSR_DR, UART_LSR_DR);
	ck_assert_uint_eq(get(UART_RX), 'q');
	ck_assert_str_eq(sent(), "");
	for (u32 i = 0; i < 40; i++)
		set(UART_TX, 'a' + i);
	for (u32 i = 0; i < 16; i++)
		ck_assert_uint_eq(get(UART_RX), 'a' + i);
	ck_assert_uint_eq(get(UART_LSR) & UART_LSR_DR, 0);
}

START_TEST(loop_back_turns_the_modem_lines_around)
{
	static const struct {
		u8 mcr, msr;
	} wires[] = {
		{ UART_MCR_RTS, UART_MSR_CTS },
		{ UART_MCR_DTR, UART_MSR_DSR },
		{ UART_MCR_OUT1, UART_MSR_RI },
		{ UART_MCR_OUT2, UART_MSR_DCD },
	};

	for (u32 i = 0; i < ARRAY_SIZE(wires); i++) {
		set(UART_MCR, UART_MCR_LOOP | wires[i].mcr);
		ck_assert_uint_eq(get(UART_MSR), wires[i].msr);
	}
}

START_TEST(the_end_of_the_input_leaves_it_working)
{
	type("a");
	close(in[1]);
	in[1] = -1;
	loop_settle(r.env.loop);
	ck_assert_uint_eq(get(UART_RX), 'a');
	loop_settle(r.env.loop);
	ck_assert_uint_eq(get(UART_LSR) & UART_LSR_DR, 0);
	set(UART_TX, 'x');
	ck_assert_str_eq(sent(), "x");
}

START_TEST(a_reset_brings_it_back_to_power_on)
{
	type("abc");
	set(UART_IER, UART_IER_RDI | UART_IER_THRI);
	set(UART_LCR, UART_LCR_DLAB);
	set(UART_DLL, 9);
	set(UART_MCR, UART_MCR_LOOP);
	set(UART_SCR, 7);
	uart->ops->reset(uart);
	ck_assert(!line());
	ck_assert_uint_eq(get(UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
	ck_assert_uint_eq(get(UART_IIR), UART_IIR_NO_INT);
	ck_assert_uint_eq(get(UART_IER) | get(UART_LCR) | get(UART_MCR) | get(UART_SCR), 0);
	set(UART_LCR, UART_LCR_DLAB);
	ck_assert_uint_eq(get(UART_DLL), 0);
	set(UART_LCR, 0);
	type("d");
	ck_assert_uint_eq(get(UART_RX), 'd');
}

START_TEST(a_reset_with_a_full_fifo_goes_on_reading)
{
	type("0123456789abcdefghij");
	uart->ops->reset(uart);
	loop_settle(r.env.loop);
	ck_assert_uint_eq(get(UART_RX), 'g');
}

START_TEST(a_reset_drops_what_could_not_be_sent)
{
	fill_output();
	set(UART_TX, 'x');
	uart->ops->reset(uart);
	ck_assert_uint_eq(get(UART_LSR) & UART_LSR_THRE, UART_LSR_THRE);
	empty_output();
	ck_assert_str_eq(sent(), "");
}

START_TEST(a_taken_address_is_refused)
{
	struct stream other;
	struct device *second;

	stream_init(&other, r.env.loop);
	ck_assert_int_lt(uart16550_create(&second, &r.env, BASE + 4, 3, &other), 0);
}

#define CHARS 3000

/* The guest: echo CHARS bytes. */
static void *echo(void *arg)
{
	(void)arg;
	for (u32 n = 0; n < CHARS;) {
		u8 c;

		if (!(get(UART_LSR) & UART_LSR_DR))
			continue;
		c = get(UART_RX);
		while (!(get(UART_LSR) & UART_LSR_THRE))
			;
		set(UART_TX, c);
		n++;
	}
	return NULL;
}

START_TEST(vcpu_and_loop_lose_no_byte_between_them)
{
	static u8 text[CHARS], back[CHARS];
	pthread_t vcpu;
	u32 n = 0;

	for (u32 i = 0; i < CHARS; i++)
		text[i] = i * 31 + i / 256;
	fcntl(out[0], F_SETFL, 0);
	set(UART_IER, UART_IER_RDI | UART_IER_THRI);
	ck_assert_int_eq(loop_start(r.env.loop, "unit"), 0);
	pthread_create(&vcpu, NULL, echo, NULL);
	ck_assert_int_eq(write(in[1], text, CHARS), CHARS);
	while (n < CHARS) {
		ssize_t got = read(out[0], back + n, CHARS - n);

		ck_assert_int_gt(got, 0);
		n += got;
	}
	pthread_join(vcpu, NULL);
	loop_stop(r.env.loop);
	ck_assert_mem_eq(back, text, CHARS);
}

Suite *uart_suite(void)
{
	Suite *su = suite_create("uart");
	TCase *t = tcase_create("uart");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, at_power_on_it_is_idle);
	tcase_add_test(t, a_byte_sent_comes_out);
	tcase_add_test(t, a_string_sent_port_by_port_is_not_wider_than_a_byte);
	tcase_add_test(t, a_byte_typed_comes_in);
	tcase_add_test(t, more_input_than_the_fifo_holds_waits_in_the_pipe);
	tcase_add_test(t, received_data_interrupts_while_it_is_there);
	tcase_add_test(t, an_empty_transmitter_interrupts_when_that_is_enabled);
	tcase_add_test(t, received_data_goes_before_an_empty_transmitter);
	tcase_add_test(t, a_full_output_makes_the_guest_wait);
	tcase_add_test(t, up_to_16_bytes_wait_for_the_output_in_order);
	tcase_add_test(t, the_fifos_are_announced_when_they_are_enabled);
	tcase_add_test(t, the_receive_fifo_can_be_cleared);
	tcase_add_test(t, a_full_receive_fifo_that_is_cleared_fills_again);
	tcase_add_test(t, dlab_shows_the_divisor_instead);
	tcase_add_test(t, registers_keep_what_a_16550_keeps);
	tcase_add_test(t, loop_back_returns_what_is_sent);
	tcase_add_test(t, loop_back_turns_the_modem_lines_around);
	tcase_add_test(t, the_end_of_the_input_leaves_it_working);
	tcase_add_test(t, a_reset_brings_it_back_to_power_on);
	tcase_add_test(t, a_reset_with_a_full_fifo_goes_on_reading);
	tcase_add_test(t, a_reset_drops_what_could_not_be_sent);
	tcase_add_test(t, a_taken_address_is_refused);
	tcase_add_test(t, vcpu_and_loop_lose_no_byte_between_them);
	suite_add_tcase(su, t);
	return su;
}
