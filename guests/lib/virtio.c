// SPDX-License-Identifier: MIT
/*
 * virtio.c - what every virtio driver does, whatever the transport and the ring format: initialise
 * the device (VIRTIO 1.2, 3.1.1), set up its queues, take its interrupts.
 *
 * How it works: with MSI-X an interrupt's vector says which device and which queue it is for. A
 * wired interrupt may be shared: each device on the wire is asked for its reason, and "some queue"
 * is all it tells. Either way the handler only counts, in virtq.calls and virtio.config_calls; who
 * waits looks at the ring after each interrupt.
 *
 * Never sleep on a ring without looking first: ask for the interrupt, look whether there is a used
 * chain already, sleep. The device does it the other way round (publish, then look whether an
 * interrupt is asked for), so that one of the two sees the other.
 */
#include "virtio.h"

#define DEVICES_MAX	   8
#define VECTOR_ALARM	   0x3f
#define VECTOR_MSIX	   0x40 /* and up: 16 each device */
#define VECTORS_PER_DEVICE (1 + VIRTIO_QUEUES)
#define VECTOR_WIRE(gsi)   (VECTOR_FIRST + (gsi))

#define PATIENCE_MS	   4000
#define TSC_PATIENCE	   10000000000ULL /* about as long, where it is polled */

static struct virtio *device[DEVICES_MAX];
static u32 ndevices;
static volatile bool too_late;

/* ---- interrupts ---- */

static void handle_msix(u32 vector)
{
	struct virtio *v = device[(vector - VECTOR_MSIX) / VECTORS_PER_DEVICE];
	u32 i = (vector - VECTOR_MSIX) % VECTORS_PER_DEVICE;

	if (i == 0)
		v->config_calls++;
	else if (v->queue[i - 1])
		v->queue[i - 1]->calls++;
}

static void handle_wire(u32 vector)
{
	for (u32 n = 0; n < ndevices; n++) {
		struct virtio *v = device[n];
		u32 reason;

		if (v->msix_table || VECTOR_WIRE(v->gsi) != vector)
			continue;
		reason = v->transport->irq_reason(v);
		if (reason & VIRTIO_IRQ_CONFIG)
			v->config_calls++;
		for (u32 i = 0; i < VIRTIO_QUEUES && (reason & VIRTIO_IRQ_QUEUE); i++) {
			if (v->queue[i])
				v->queue[i]->calls++;
		}
	}
}

static void handle_alarm(u32 vector)
{
	(void)vector;
	too_late = true;
}

static void take_interrupts(struct virtio *v)
{
	irq_handle(VECTOR_ALARM, handle_alarm);
	v->vector = VECTOR_MSIX + VECTORS_PER_DEVICE * ndevices;
	device[ndevices++] = v;
	if (v->msix_table) {
		for (u32 i = 0; i < VECTORS_PER_DEVICE; i++)
			irq_handle(v->vector + i, handle_msix);
	} else {
		irq_handle(VECTOR_WIRE(v->gsi), handle_wire);
		ioapic_route(v->gsi, apic_id(), VECTOR_WIRE(v->gsi), v->trigger);
	}
}

bool virtio_wait_calls(volatile u32 *calls, u32 old)
{
	too_late = false;
	apic_alarm(VECTOR_ALARM, PATIENCE_MS);
	while (*calls == old && !too_late)
		irq_wait();
	apic_alarm(VECTOR_ALARM, 0);
	return *calls != old;
}

/* ---- the device ---- */

bool virtio_find(struct virtio *v, const struct hvm_start_info *info, u32 id, u32 n)
{
	static const struct virtio_transport *const transports[] = { &virtio_pci, &virtio_mmio };

	for (u32 t = 0; t < ARRAY_SIZE(transports); t++) {
		int found;

		*v = (struct virtio){ .transport = transports[t], .queue_size = VIRTQ_SIZE };
		v->no_msix = cmdline_has(info, "intx");
		if (cmdline_has(info, "split"))
			v->refuse |= VIRTIO_BIT(VIRTIO_F_RING_PACKED);
		if (cmdline_has(info, "no_event_idx"))
			v->refuse |= VIRTIO_BIT(VIRTIO_RING_F_EVENT_IDX);
		for (u32 place = 0; (found = v->transport->probe(v, place)) >= 0; place++) {
			if (found && v->id == id && n-- == 0 && ndevices < DEVICES_MAX) {
				v->transport->open(v);
				take_interrupts(v);
				return true;
			}
		}
	}
	return false;
}

u32 virtio_status(struct virtio *v)
{
	return v->transport->status(v);
}

static void add_status(struct virtio *v, u32 bits)
{
	v->transport->status_set(v, virtio_status(v) | bits);
}

/* 4.1.4.3.2: the reset is done when the status reads 0. */
void virtio_reset(struct virtio *v)
{
	v->transport->status_set(v, 0);
	while (virtio_status(v))
		cpu_relax();
	memset(v->queue, 0, sizeof(v->queue));
}

u64 virtio_offered(struct virtio *v)
{
	return (u64)v->transport->features(v, 1) << 32 | v->transport->features(v, 0);
}

bool virtio_try_features(struct virtio *v, u64 features)
{
	virtio_reset(v);
	v->transport->irq_setup(v);
	add_status(v, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	add_status(v, VIRTIO_CONFIG_S_DRIVER);
	v->transport->features_set(v, 0, features);
	v->transport->features_set(v, 1, features >> 32);
	add_status(v, VIRTIO_CONFIG_S_FEATURES_OK);
	v->features = features;
	return virtio_status(v) & VIRTIO_CONFIG_S_FEATURES_OK;
}

bool virtio_negotiate(struct virtio *v, u64 features)
{
	features |= VIRTIO_BIT(VIRTIO_F_VERSION_1) | VIRTIO_BIT(VIRTIO_F_RING_PACKED) |
		    VIRTIO_BIT(VIRTIO_RING_F_INDIRECT_DESC) | VIRTIO_BIT(VIRTIO_RING_F_EVENT_IDX) |
		    VIRTIO_BIT(VIRTIO_F_RING_RESET);
	return virtio_try_features(v, virtio_offered(v) & features & ~v->refuse);
}

void virtio_ready(struct virtio *v)
{
	add_status(v, VIRTIO_CONFIG_S_DRIVER_OK);
}

void virtio_print(const struct virtio *v, const char *name)
{
	printf("# %s: %s, %s, %s, %s\n", name, v->transport->name,
	       virtio_has(v, VIRTIO_F_RING_PACKED) ? "packed" : "split",
	       v->msix_table ? "MSI-X" : "wired",
	       virtio_has(v, VIRTIO_RING_F_EVENT_IDX) ? "event index" : "flags");
}

/* ---- queues ---- */

bool virtq_setup(struct virtq *q, struct virtio *v, u32 index)
{
	u32 max = v->transport->queue_max(v, index);

	if (max == 0 || index >= VIRTIO_QUEUES)
		return false;
	memset(q, 0, offsetof(struct virtq, indirect));
	q->dev = v;
	q->index = index;
	q->max = max;
	q->size = max < v->queue_size ? max : v->queue_size;
	q->free = q->size;
	for (u32 i = 0; i < q->size; i++)
		q->next_free[i] = i + 1;
	q->format = virtio_has(v, VIRTIO_F_RING_PACKED) ? &virtq_packed : &virtq_split;
	q->event_idx = virtio_has(v, VIRTIO_RING_F_EVENT_IDX);
	q->format->init(q);
	v->queue[index] = q;
	return v->transport->queue_enable(v, q);
}

void virtq_reset(struct virtq *q)
{
	q->dev->transport->queue_reset(q->dev, q->index);
	q->dev->queue[q->index] = NULL;
}

u32 virtq_places(const struct virtq *q, u32 n)
{
	return q->format == &virtq_packed && !q->use_indirect ? n : 1;
}

bool virtq_add(struct virtq *q, const struct virtq_buf *buf, u32 nout, u32 nin, void *token)
{
	if (q->free < (q->use_indirect ? 1 : nout + nin))
		return false;
	q->format->add(q, buf, nout, nin, token);
	return true;
}

bool virtq_kick(struct virtq *q)
{
	if (!q->format->wants_kick(q))
		return false;
	q->dev->transport->kick(q->dev, q);
	q->kicks++;
	return true;
}

void virtq_call_after(struct virtq *q, u32 places)
{
	q->format->call_after(q, places);
	/* Before the look into the ring that follows. Pairs with the device's barrier between
	 * publishing and looking whether an interrupt is asked for. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

bool virtq_wait(struct virtq *q)
{
	virtq_call_after(q, 1);
	while (!q->format->has_used(q)) {
		if (!virtio_wait_calls(&q->calls, q->calls))
			return false;
	}
	return true;
}

bool virtq_poll(struct virtq *q)
{
	u64 start = rdtsc();

	virtq_call_after(q, 0);
	while (!q->format->has_used(q)) {
		if (rdtsc() - start > TSC_PATIENCE)
			return false;
		cpu_relax();
	}
	return true;
}

void *virtq_take(struct virtq *q, u32 *len)
{
	void *token;
	u32 id;

	if (!q->format->has_used(q))
		return NULL;
	id = q->format->take(q, len);
	token = id < q->size ? q->token[id] : NULL;
	if (!token)
		printf("# queue %u: the device used chain %u, which it does not have\n", q->index,
		       id);
	else
		q->token[id] = NULL;
	return token;
}
