// SPDX-License-Identifier: MIT
/*
 * mem_log_rig.c - see mem_log_rig.h.
 */
#include "tests/unit/mem_log_rig.h"

u32 marks_take(const struct mem_log *log, u64 gpa, u64 end)
{
	u32 n = 0;

	for (; gpa < end; gpa += MEM_LOG_PAGE)
		n += mem_log_take(log, gpa);
	return n;
}

u32 marks_take_all(const struct mem_log *log)
{
	return marks_take(log, 0, log->size * 8 * MEM_LOG_PAGE);
}

u64 marks_request(struct vdrv *d, u32 q)
{
	struct ring_buf pair[2];

	for (u32 i = 0; i < 2; i++) {
		d->next = ALIGN_UP(d->next, MEM_LOG_PAGE);
		pair[i] = (struct ring_buf){ vdrv_alloc(d, 100), 100 };
	}
	ck_assert_uint_eq(vdrv_request(d, q, pair, 1, 1), 100);
	return pair[1].gpa;
}

void marks_expect(struct vdrv *d, const struct mem_log *log)
{
	u64 gpa[2];

	marks_take_all(log);
	for (u32 i = 0; i < 2; i++)
		gpa[i] = marks_request(d, i);
	for (u32 i = 0; i < 2; i++) {
		ck_assert(mem_log_take(log, gpa[i]));
		ck_assert(mem_log_take(log, d->q[i].ring.cfg.device));
	}
	ck_assert_uint_le(marks_take_all(log), 4); /* the rest of the rings */
}

void marks_expect_none(struct vdrv *d, const struct mem_log *log)
{
	marks_take_all(log);
	marks_request(d, 0);
	marks_request(d, 1);
	ck_assert_uint_eq(marks_take_all(log), 0);
}
