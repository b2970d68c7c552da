// SPDX-License-Identifier: MIT
/*
 * echo.c - serial input by interrupt: each character comes back in upper case; 'q' ends it.
 *
 * How it works: the UART holds its wire high as long as there is a byte in its receive FIFO, and
 * the wire is an edge-triggered interrupt, as on every PC. So the handler must empty the FIFO: a
 * byte that it leaves makes no new edge, and nothing would ever come again.
 */
#include "guest.h"

#include <linux/serial_reg.h>

#define UART_GSI    4
#define VECTOR_UART 0x40

static volatile u32 received, interrupts;
static volatile bool done;

static void handle_uart(u32 vector)
{
	(void)vector;
	interrupts++;
	while (inb(UART_PORT + UART_LSR) & UART_LSR_DR) {
		char c = inb(UART_PORT + UART_RX);

		received++;
		if (c == 'q') {
			done = true;
			return;
		}
		serial_put(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
	}
}

void guest_main(const struct hvm_start_info *info)
{
	(void)info;
	irq_handle(VECTOR_UART, handle_uart);
	ioapic_route(UART_GSI, apic_id(), VECTOR_UART, EDGE_HIGH);
	printf("ready\n");
	outb(UART_PORT + UART_IER, UART_IER_RDI);
	while (!done)
		irq_wait();
	outb(UART_PORT + UART_IER, 0);
	printf("\n%u characters in %u interrupt(s)\n", received, interrupts);
}
