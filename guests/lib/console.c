// SPDX-License-Identifier: MIT
/*
 * console.c - the serial port COM1, polled, and a small printf() on it.
 *
 * How it works: a 16550 takes a byte when its transmit register is empty, which bit 5 of the line
 * status register says. No interrupt is needed to write; the guest `echo` shows how to receive by
 * one. Any CPU may print: what one printf() prints stays together, thanks to `busy`.
 */
#include "guest.h"

#include <linux/serial_reg.h>

static u32 busy;

void serial_init(void)
{
	outb(UART_PORT + UART_IER, 0);
	outb(UART_PORT + UART_LCR, UART_LCR_DLAB);
	outb(UART_PORT + UART_DLL, 1); /* 115200 baud */
	outb(UART_PORT + UART_DLM, 0);
	outb(UART_PORT + UART_LCR, UART_LCR_WLEN8);
	outb(UART_PORT + UART_FCR, UART_FCR_ENABLE_FIFO);
	outb(UART_PORT + UART_MCR, UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT2);
}

void serial_put(char c)
{
	while (!(inb(UART_PORT + UART_LSR) & UART_LSR_THRE))
		cpu_relax();
	outb(UART_PORT + UART_TX, c);
}

static void put(char c)
{
	if (c == '\n')
		serial_put('\r');
	serial_put(c);
}

static void put_string(const char *s, u32 width)
{
	u32 len = strlen(s);

	for (; width > len; width--)
		put(' ');
	while (*s)
		put(*s++);
}

static void put_number(u64 v, u32 base, bool negative, u32 width, char pad)
{
	char digits[24];
	u32 n = 0;

	do {
		digits[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	if (negative)
		digits[n++] = '-';
	for (; width > n; width--)
		put(pad);
	while (n)
		put(digits[--n]);
}

void vprintf(const char *fmt, va_list ap)
{
	for (; *fmt; fmt++) {
		char pad = ' ';
		u32 width = 0;
		bool wide = false;
		int64_t v;

		if (*fmt != '%') {
			put(*fmt);
			continue;
		}
		if (*++fmt == '0')
			pad = '0';
		for (; *fmt >= '0' && *fmt <= '9'; fmt++)
			width = width * 10 + (*fmt - '0');
		for (; *fmt == 'l'; fmt++)
			wide = true;
		switch (*fmt) {
		case 'd':
			v = wide ? va_arg(ap, int64_t) : va_arg(ap, int);
			put_number(v < 0 ? -v : v, 10, v < 0, width, pad);
			break;
		case 'u':
			put_number(wide ? va_arg(ap, u64) : va_arg(ap, u32), 10, false, width, pad);
			break;
		case 'p':
			wide = true;
			/* fall through */
		case 'x':
			put_number(wide ? va_arg(ap, u64) : va_arg(ap, u32), 16, false, width, pad);
			break;
		case 's':
			put_string(va_arg(ap, const char *), width);
			break;
		case 'c':
			put(va_arg(ap, int));
			break;
		default:
			put(*fmt);
		}
	}
}

void printf(const char *fmt, ...)
{
	va_list ap;

	while (__atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE))
		cpu_relax();
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	__atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
}
