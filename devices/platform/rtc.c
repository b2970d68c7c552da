// SPDX-License-Identifier: MIT
/*
 * rtc.c - the PC's clock and CMOS RAM: an MC146818, without alarm or periodic interrupts.
 *
 * How it works: port 0 selects one of 128 bytes, port 1 reads or writes it. Bytes 0 to 9 and 32h
 * are the host's time (UTC, BCD, 24 hours) plus an offset; the guest sets the clock by changing
 * them, which changes the offset and never the host. The update-in-progress bit is never seen,
 * since a read takes all of the time at one moment.
 *
 * Threads: `lock` guards the state. Source: Motorola MC146818 data sheet; byte 32h is the PC's.
 */
#include "minivmm/bus.h"
#include "minivmm/devices.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RTC_SECONDS 0x00
#define RTC_MINUTES 0x02
#define RTC_HOURS   0x04
#define RTC_WEEKDAY 0x06 /* 1: Sunday */
#define RTC_DAY	    0x07
#define RTC_MONTH   0x08
#define RTC_YEAR    0x09
#define RTC_A	    0x0a
#define RTC_B	    0x0b
#define RTC_C	    0x0c
#define RTC_D	    0x0d
#define RTC_CENTURY 0x32
#define RTC_A_32KHZ 0x26
#define RTC_B_SET   0x80 /* the guest is setting the clock: it stands still */
#define RTC_B_24H   0x02
#define RTC_D_VALID 0x80

struct rtc {
	struct device dev;
	struct bus_range range;

	pthread_mutex_t lock; /* guards all below */
	u8 index;
	u8 cmos[128];
	int64_t offset; /* guest's time - host's time, seconds */
};

static u8 to_bcd(int v)
{
	return (v / 10) << 4 | v % 10;
}

static int from_bcd(u8 v)
{
	return (v >> 4) * 10 + (v & 0xf);
}

/* Bring the time bytes up to date. */
static void load_time(struct rtc *r)
{
	time_t now = time(NULL) + r->offset;
	struct tm tm;
	int year;

	if ((r->cmos[RTC_B] & RTC_B_SET) || !gmtime_r(&now, &tm))
		return;
	r->cmos[RTC_SECONDS] = to_bcd(tm.tm_sec);
	r->cmos[RTC_MINUTES] = to_bcd(tm.tm_min);
	r->cmos[RTC_HOURS] = to_bcd(tm.tm_hour);
	r->cmos[RTC_WEEKDAY] = to_bcd(tm.tm_wday + 1);
	r->cmos[RTC_DAY] = to_bcd(tm.tm_mday);
	r->cmos[RTC_MONTH] = to_bcd(tm.tm_mon + 1);
	year = ((tm.tm_year + 1900LL) % 10000 + 10000) % 10000; /* four digits, whatever was set */
	r->cmos[RTC_YEAR] = to_bcd(year % 100);
	r->cmos[RTC_CENTURY] = to_bcd(year / 100);
}

/* The guest changed the time bytes: what is the offset now? */
static void store_time(struct rtc *r)
{
	struct tm tm = {
		.tm_sec = from_bcd(r->cmos[RTC_SECONDS]),
		.tm_min = from_bcd(r->cmos[RTC_MINUTES]),
		.tm_hour = from_bcd(r->cmos[RTC_HOURS]),
		.tm_mday = from_bcd(r->cmos[RTC_DAY]),
		.tm_mon = from_bcd(r->cmos[RTC_MONTH]) - 1,
		.tm_year =
			from_bcd(r->cmos[RTC_CENTURY]) * 100 + from_bcd(r->cmos[RTC_YEAR]) - 1900,
	};

	r->offset = timegm(&tm) - time(NULL);
}

static bool is_time(u8 index)
{
	return index == RTC_SECONDS || index == RTC_MINUTES || index == RTC_HOURS ||
	       (index >= RTC_WEEKDAY && index <= RTC_YEAR) || index == RTC_CENTURY;
}

static u8 cmos_read(struct rtc *r)
{
	if (is_time(r->index))
		load_time(r);
	return r->cmos[r->index];
}

static void cmos_write(struct rtc *r, u8 value)
{
	bool was_set = r->cmos[RTC_B] & RTC_B_SET;

	if (r->index == RTC_A || r->index == RTC_C || r->index == RTC_D)
		return;
	if (is_time(r->index))
		load_time(r); /* the bytes that this write does not change */
	if (r->index == RTC_B) {
		load_time(r);
		value = (value & RTC_B_SET) | RTC_B_24H;
	}
	r->cmos[r->index] = value;
	if (is_time(r->index) || (r->index == RTC_B && was_set && !(value & RTC_B_SET)))
		store_time(r);
}

static u64 rtc_read(void *owner, u64 off, u32 len)
{
	struct rtc *r = owner;
	u8 value;

	(void)len;
	pthread_mutex_lock(&r->lock);
	value = off ? cmos_read(r) : 0xff; /* the index is write-only */
	pthread_mutex_unlock(&r->lock);
	return value;
}

static void rtc_write(void *owner, u64 off, u32 len, u64 value)
{
	struct rtc *r = owner;

	(void)len;
	pthread_mutex_lock(&r->lock);
	if (off)
		cmos_write(r, value);
	else
		r->index = value & 0x7f; /* bit 7 masks the NMI, which we never send */
	pthread_mutex_unlock(&r->lock);
}

static const struct bus_ops rtc_bus_ops = {
	.read = rtc_read,
	.write = rtc_write,
};

/* A battery keeps time and CMOS RAM: only the index goes. */
static void rtc_reset(struct device *dev)
{
	struct rtc *r = container_of(dev, struct rtc, dev);

	r->index = 0;
	r->cmos[RTC_B] = RTC_B_24H;
}

static void rtc_destroy(struct device *dev)
{
	struct rtc *r = container_of(dev, struct rtc, dev);

	bus_del(&r->range);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static const struct device_ops rtc_ops = {
	.name = "rtc",
	.reset = rtc_reset,
	.destroy = rtc_destroy,
};

int rtc_create(struct device **dev, const struct machine_env *env, u64 base)
{
	struct rtc *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	r->dev.ops = &rtc_ops;
	pthread_mutex_init(&r->lock, NULL);
	r->cmos[RTC_A] = RTC_A_32KHZ;
	r->cmos[RTC_D] = RTC_D_VALID;
	rtc_reset(&r->dev);
	r->range = (struct bus_range){
		.name = "rtc", .ops = &rtc_bus_ops, .owner = r, .base = base, .len = 2
	};
	err = bus_add(env->pio, &r->range);
	if (err) {
		rtc_destroy(&r->dev);
		return err;
	}
	*dev = &r->dev;
	return 0;
}
