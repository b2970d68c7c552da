// SPDX-License-Identifier: MIT
/*
 * uart16550.c - the PC's serial port: a 16550A UART with its FIFOs.
 *
 *	offset	read			write
 *	0	RBR received byte	THR byte to send	(DLAB: divisor low)
 *	1	IER enabled interrupts	IER			(DLAB: divisor high)
 *	2	IIR why it interrupts	FCR FIFO control
 *	3	LCR line control, bit 7 is DLAB
 *	4	MCR modem control, bit 4 is loop-back
 *	5	LSR line status
 *	6	MSR modem status
 *	7	SCR scratch
 *
 * How it works: the line has no speed. A byte that the guest sends goes to the stream at once; only
 * when the stream has no room does it wait in the transmit FIFO, THRE goes low, and the guest waits
 * as it would for a slow line. Input is read from the stream only as the receive FIFO has room, so
 * nothing is lost however slow the guest.
 *
 * Threads: vCPUs call the register ops, the main loop the stream's hooks; `lock` guards all state.
 * Source: National Semiconductor PC16550D data sheet, section 8.
 */
#include "minivmm/bus.h"
#include "minivmm/devices.h"
#include "minivmm/irq.h"
#include "minivmm/stream.h"

#include <errno.h>
#include <linux/serial_reg.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define FIFO_SIZE   16
#define MSR_PRESENT (UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS) /* a peer is always there */

struct fifo {
	u8 byte[FIFO_SIZE];
	u32 len;
};

struct uart {
	struct device dev;
	struct bus_range range;
	struct stream *stream; /* fixed after create */
	struct irq_line irq;

	pthread_mutex_t lock; /* guards all below */
	struct fifo rx, tx;
	bool thr_event; /* THR became empty and nobody has seen it yet */
	u8 ier, lcr, mcr, scr, fcr, dll, dlm;
};

static void fifo_take(struct fifo *f, u32 n)
{
	f->len -= n;
	memmove(f->byte, f->byte + n, f->len);
}

static bool rx_event(const struct uart *u)
{
	return (u->ier & UART_IER_RDI) && u->rx.len;
}

static bool thr_event(const struct uart *u)
{
	return (u->ier & UART_IER_THRI) && u->thr_event;
}

static void update_irq(struct uart *u)
{
	irq_line_set(&u->irq, rx_event(u) || thr_event(u));
}

/* Send what waits. The lock is held. */
static void flush_tx(struct uart *u)
{
	u32 n = stream_write(u->stream, u->tx.byte, u->tx.len);

	fifo_take(&u->tx, n);
	if (!u->tx.len)
		u->thr_event = true;
	stream_want_write(u->stream, u->tx.len > 0);
}

/* The stream has input. Main loop's thread. */
static void uart_readable(struct stream *s)
{
	struct uart *u = s->owner;

	pthread_mutex_lock(&u->lock);
	u->rx.len += stream_read(s, u->rx.byte + u->rx.len, FIFO_SIZE - u->rx.len);
	stream_want_read(s, u->rx.len < FIFO_SIZE);
	update_irq(u);
	pthread_mutex_unlock(&u->lock);
}

/* The stream has room again. Main loop's thread. */
static void uart_writable(struct stream *s)
{
	struct uart *u = s->owner;

	pthread_mutex_lock(&u->lock);
	flush_tx(u);
	update_irq(u);
	pthread_mutex_unlock(&u->lock);
}

static u8 read_byte(struct uart *u)
{
	u8 value = 0;

	if (u->rx.len) {
		value = u->rx.byte[0];
		fifo_take(&u->rx, 1);
		stream_want_read(u->stream, true);
	}
	return value;
}

static void send_byte(struct uart *u, u8 value)
{
	struct fifo *f = u->mcr & UART_MCR_LOOP ? &u->rx : &u->tx;

	if (f->len < FIFO_SIZE) /* else overrun: the guest did not wait for THRE */
		f->byte[f->len++] = value;
	u->thr_event = false;
	if (u->mcr & UART_MCR_LOOP)
		u->thr_event = true;
	else
		flush_tx(u);
}

/* Table 4 of the data sheet: the highest event; reading it settles an empty THR. */
static u8 read_iir(struct uart *u)
{
	u8 fifos = u->fcr & UART_FCR_ENABLE_FIFO ? 0xc0 : 0;

	if (rx_event(u))
		return fifos | UART_IIR_RDI;
	if (thr_event(u)) {
		u->thr_event = false;
		return fifos | UART_IIR_THRI;
	}
	return fifos | UART_IIR_NO_INT;
}

static u8 read_lsr(const struct uart *u)
{
	return (u->rx.len ? UART_LSR_DR : 0) | (u->tx.len ? 0 : UART_LSR_THRE | UART_LSR_TEMT);
}

/* In loop-back the modem's outputs are its inputs. */
static u8 read_msr(const struct uart *u)
{
	u8 m = u->mcr;

	if (!(m & UART_MCR_LOOP))
		return MSR_PRESENT;
	return (m & UART_MCR_RTS ? UART_MSR_CTS : 0) | (m & UART_MCR_DTR ? UART_MSR_DSR : 0) |
	       (m & UART_MCR_OUT1 ? UART_MSR_RI : 0) | (m & UART_MCR_OUT2 ? UART_MSR_DCD : 0);
}

static u8 reg_read(struct uart *u, u64 off)
{
	bool dlab = u->lcr & UART_LCR_DLAB;

	switch (off) {
	case UART_RX:
		return dlab ? u->dll : read_byte(u);
	case UART_IER:
		return dlab ? u->dlm : u->ier;
	case UART_IIR:
		return read_iir(u);
	case UART_LCR:
		return u->lcr;
	case UART_MCR:
		return u->mcr;
	case UART_LSR:
		return read_lsr(u);
	case UART_MSR:
		return read_msr(u);
	default:
		return u->scr;
	}
}

static void write_ier(struct uart *u, u8 value)
{
	if ((value & UART_IER_THRI) && !(u->ier & UART_IER_THRI) && !u->tx.len)
		u->thr_event = true; /* enabling it while THR is empty interrupts at once */
	u->ier = value & 0x0f;
}

static void write_fcr(struct uart *u, u8 value)
{
	if (value & UART_FCR_CLEAR_RCVR) {
		u->rx.len = 0;
		stream_want_read(u->stream, true);
	}
	u->fcr = value;
}

static void reg_write(struct uart *u, u64 off, u8 value)
{
	bool dlab = u->lcr & UART_LCR_DLAB;

	switch (off) {
	case UART_TX:
		if (dlab)
			u->dll = value;
		else
			send_byte(u, value);
		break;
	case UART_IER:
		if (dlab)
			u->dlm = value;
		else
			write_ier(u, value);
		break;
	case UART_FCR:
		write_fcr(u, value);
		break;
	case UART_LCR:
		u->lcr = value;
		break;
	case UART_MCR:
		u->mcr = value & 0x1f;
		break;
	case UART_SCR:
		u->scr = value;
		break;
	}
}

/* The registers are bytes: a wider access is one of its first byte. */
static u64 uart_read(void *owner, u64 off, u32 len)
{
	struct uart *u = owner;
	u8 value;

	(void)len;
	pthread_mutex_lock(&u->lock);
	value = reg_read(u, off);
	update_irq(u);
	pthread_mutex_unlock(&u->lock);
	return value;
}

static void uart_write(void *owner, u64 off, u32 len, u64 value)
{
	struct uart *u = owner;

	(void)len;
	pthread_mutex_lock(&u->lock);
	reg_write(u, off, value);
	update_irq(u);
	pthread_mutex_unlock(&u->lock);
}

static const struct bus_ops uart_bus_ops = {
	.read = uart_read,
	.write = uart_write,
};

static void uart_reset(struct device *dev)
{
	struct uart *u = container_of(dev, struct uart, dev);

	pthread_mutex_lock(&u->lock);
	flush_tx(u); /* what was sent is sent; the rest is lost with the power */
	stream_want_write(u->stream, false);
	u->tx.len = 0;
	u->rx.len = 0;
	u->ier = u->lcr = u->mcr = u->scr = u->fcr = u->dll = u->dlm = 0;
	u->thr_event = false;
	stream_want_read(u->stream, true);
	update_irq(u);
	pthread_mutex_unlock(&u->lock);
}

static void uart_destroy(struct device *dev)
{
	struct uart *u = container_of(dev, struct uart, dev);

	bus_del(&u->range);
	stream_want_read(u->stream, false);
	stream_want_write(u->stream, false);
	pthread_mutex_destroy(&u->lock);
	free(u);
}

static const struct device_ops uart_ops = {
	.name = "uart16550",
	.reset = uart_reset,
	.destroy = uart_destroy,
};

int uart16550_create(struct device **dev, const struct machine_env *env, u64 base, u32 gsi,
		     struct stream *stream)
{
	struct uart *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	u->dev.ops = &uart_ops;
	u->stream = stream;
	pthread_mutex_init(&u->lock, NULL);
	irq_line_init(&u->irq, env->irqchip, gsi);
	stream->owner = u;
	stream->readable = uart_readable;
	stream->writable = uart_writable;
	u->range = (struct bus_range){
		.name = "uart16550", .ops = &uart_bus_ops, .owner = u, .base = base, .len = 8
	};
	err = bus_add(env->pio, &u->range);
	if (err) {
		uart_destroy(&u->dev);
		return err;
	}
	stream_want_read(stream, true);
	*dev = &u->dev;
	return 0;
}
