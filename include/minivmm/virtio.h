/* SPDX-License-Identifier: MIT */
/*
 * virtio.h - a virtio device: what a device type (blk, console, rng, ...) brings, and what every
 * one has in common. Virtual I/O Device (VIRTIO) 1.2, chapters 2, 3 and 5.
 *
 *	transport        registers as the guest sees them: virtio over PCI (4.1) or MMIO (4.2)
 *	   │
 *	struct virtio_dev    status, features, configuration space, queue set-up: virtio.c
 *	   │            │
 *	device type     data path: who serves the rings (devices/datapath/)
 *
 * A device type embeds a `struct virtio_dev` and gives a table of hooks. It knows neither its
 * transport nor who runs its data path; with the in-process one, serve() is called.
 *
 * Threads: registers are accessed by vCPUs, under `lock`, and so are the hooks called that run on a
 * vCPU's thread. Each queue belongs to one event loop, on which serve() and quiesce() run. A thread
 * that holds `lock` waits for those loops, so a loop never takes it: what a loop needs of the common
 * part (status, configuration space) is atomic or under `config_lock`, behind which nobody waits for
 * anything.
 */
#ifndef MINIVMM_VIRTIO_H
#define MINIVMM_VIRTIO_H

#include "minivmm/base.h"
#include "minivmm/device.h"
#include "minivmm/irq.h"
#include "minivmm/loop.h"
#include "minivmm/trace.h"
#include "minivmm/vq.h"

#include <pthread.h>

#define VIRTIO_QUEUES_MAX   63 /* one MSI-X vector and doorbell each, and one for the configuration */
#define VIRTIO_CONFIG_MAX   256
#define VIRTIO_FEATURE(bit) (1ULL << (bit))

/* Interrupt status: the same bits in both transports (4.1.4.5, 4.2.2). */
#define VIRTIO_ISR_QUEUE  1
#define VIRTIO_ISR_CONFIG 2

struct datapath;
struct mem_log;
struct virtio_dev;
struct virtio_queue;

/* What the user may choose for every virtio device. */
struct virtio_options {
	bool packed;	/* offer the packed ring format */
	u16 queues;	/* 0: the device type's default */
	u16 queue_size; /* the largest; 0: the default. A power of two */
	u32 iothread;	/* the first queue's; the others follow round-robin (loop_queues) */
	bool pages; /* each queue's doorbell is in a page of its own, if the transport is PCI's */
};

struct virtio_ops {
	const char *name; /* "virtio-blk" */
	u32 id;		  /* device ID (5) */
	u32 pci_class;	  /* as in struct pci_id */
	u32 loop_queues;  /* so many queues after one another share an event loop; 0: 1 */

	/* May the driver have this set of features, a subset of those offered? NULL: any. vCPU's
	 * thread. */
	bool (*features_ok)(struct virtio_dev *v, u64 features);
	/* The driver is ready (DRIVER_OK); the queues start right after. v->features is final. NULL:
	 * nothing to do. vCPU's thread. */
	void (*driver_ok)(struct virtio_dev *v);
	/* The driver has written [off, off + len) of the configuration space, which already has the
	 * new bytes (the device restores what is read-only: see config_writable). vCPU's thread. */
	void (*config_written)(struct virtio_dev *v, u32 off, u32 len);
	/*
	 * There may be chains in queue q->index: take them, and vq_rearm() when there are no more.
	 * Also called right after the start, and spuriously. Queue's loop.
	 */
	void (*serve)(struct virtio_dev *v, struct virtio_queue *q);
	/*
	 * Come to rest: on return no chain is in flight, all are put or given back, and nothing of
	 * the device touches guest memory for this queue. NULL: serve() never keeps one. Queue's
	 * loop.
	 */
	void (*quiesce)(struct virtio_dev *v, struct virtio_queue *q);
	/* Does the device have something in hand for this queue that it has not told the driver of, such as a
	 * frame that waits for chains? It would be lost if somebody else went on with the queue, which is
	 * stopped. NULL: never. Main loop's thread. */
	bool (*in_hand)(const struct virtio_dev *v, const struct virtio_queue *q);
	/* The data path is about to become `next` (NULL: in-process); all queues are stopped. Tell it what it
	 * has to know. Returns 0, or -errno after a message: only the old one can serve the device. NULL:
	 * nothing to do. Main loop's thread. */
	int (*path_changes)(struct virtio_dev *v, struct datapath *next);
	/* Status 0 was written or the machine is reset: state and v->config (under config_lock) as
	 * after creation. The queues are stopped. NULL: nothing to do. */
	void (*reset)(struct virtio_dev *v);
	/* Free what the type has, and `v` itself. Queues are stopped, virtio_dev_destroy() is the
	 * hook's to call. */
	void (*destroy)(struct virtio_dev *v);
};

struct virtio_queue {
	/* Fixed after virtio_dev_init(). */
	struct virtio_dev *dev;
	u32 index;
	u16 size_max;
	struct loop *loop;
	int kickfd;	  /* the driver's kicks: the transport's doorbell writes it */
	struct irq *call; /* calls the driver; the transport's, from virtio_attach() on */
	bool polled;  /* no kick is waited for; changed by the transport while it does not run */
	bool discard; /* a transmit queue's frames go nowhere; changed while it does not run */

	/* Under v->lock: as the driver sets it up. */
	u16 size;
	u64 desc, driver, device;
	bool enabled;
	bool running;	       /* it has been started and not stopped */
	struct vq_pos pos;     /* where it stands while it does not run */
	u32 rings;	       /* how many the driver has set up here; serve() may read it, too */
	bool ending;	       /* in-process: it has been asked to stop, */
	bool ended;	       /* it has (atomic), */
	struct vq_pos end_pos; /* and stands here */

	/* Queue's loop, while it runs. */
	struct vq vq;
	struct loop_fd kick;
	struct loop_poll poll;
	struct loop_post begin, end;
	u64 begun_ns; /* when the loop has begun to serve it: now_ns() */
};

enum { VIRTIO_NOT_SWITCHING, VIRTIO_SWITCHING, VIRTIO_SWITCH_FAILED };

struct virtio_dev {
	/* Fixed after virtio_dev_init(). */
	const struct virtio_ops *ops;
	const struct machine_env *env;
	u64 offered; /* features; the type adds its own before virtio_attach() */
	u32 nqueues;
	u32 config_len; /* bytes of configuration space */
	struct virtio_queue *queue;
	struct irq *config_irq; /* the transport's, from virtio_attach() on */
	struct datapath *path;	/* who serves path->queues; NULL: all are served in-process */
	bool pages;		/* as in virtio_options */
	/* The transport's, or NULL: have a page in the place of queue `index`'s doorbell. See bus_page_set(). */
	int (*set_page)(void *transport, u32 index, void *page);
	void *transport;

	/* Under `lock`. */
	pthread_mutex_t lock;
	u64 driver_features; /* as written so far */
	bool paused;
	const struct mem_log *log; /* what is written is marked there, or NULL */
	struct trace_track track;  /* of the data path: what the live switch does */

	u32 switching; /* atomic: enum below; the host's failures are the switch's business meanwhile */

	/* Read atomically. */
	u64 features; /* negotiated, 0 until FEATURES_OK; written under `lock` */
	u32 status;   /* VIRTIO_CONFIG_S_...; written under `config_lock` */
	u32 isr;      /* VIRTIO_ISR_...; bits are set under `config_lock` */

	/* Under `config_lock`. */
	pthread_mutex_t config_lock;
	u8 config[VIRTIO_CONFIG_MAX];
	u8 config_writable[VIRTIO_CONFIG_MAX]; /* the bits that the driver may write */
	u32 config_generation;
	bool config_changed; /* since the driver last read some of it */
	u32 complaints;	     /* lines logged about the driver */
};

/* ---- for device types ---- */

/*
 * Begin a device: `nqueues` queues (1 to VIRTIO_QUEUES_MAX) of at most `queue_size` descriptors
 * (o->queue_size if that is set), on the loops of `env`, and the features that all devices offer.
 * `ops` and `env` outlive it. Returns 0 or -errno; then nothing is left.
 */
int virtio_dev_init(struct virtio_dev *v, const struct virtio_ops *ops,
		    const struct machine_env *env, const struct virtio_options *o, u32 nqueues,
		    u16 queue_size, u32 config_len);
void virtio_dev_destroy(struct virtio_dev *v);

/*
 * Have the queues of `path` served by it; the device offers only what `path` can serve, too, and destroys it
 * at its end. After the type has added its features, before virtio_attach().
 */
void virtio_set_path(struct virtio_dev *v, struct datapath *path);

/* Offer only what `path` can serve, too: it may serve the device later. At the same time. */
void virtio_limit_features(struct virtio_dev *v, struct datapath *path);

/* What these feature bits are called: "MRG_RXBUF (15), MQ (22)", as much of it as `size` bytes hold. */
void virtio_feature_names(const struct virtio_dev *v, u64 features, char *buf, size_t size);

/* Has the driver accepted feature `bit`? From driver_ok() on; any thread until reset. */
static inline bool virtio_has_feature(const struct virtio_dev *v, u32 bit)
{
	return __atomic_load_n(&v->features, __ATOMIC_RELAXED) & VIRTIO_FEATURE(bit);
}

/* Change [off, off + len) of the configuration space and tell the driver. Any thread. */
void virtio_config_update(struct virtio_dev *v, u32 off, const void *buf, u32 len);

/*
 * The driver broke a rule: DEVICE_NEEDS_RESET, a notification, one line in the log (the first time
 * since its reset). serve() is not called any more. Any thread, but none that holds config_lock; a
 * broken ring is reported by the data path itself.
 */
void virtio_needs_reset(struct virtio_dev *v, const char *why);

/* Likewise, but it is the host that can't go on. */
void virtio_host_failed(struct virtio_dev *v, const char *why);

/*
 * Have the driver's kicks of queue `index` written to the page at `page`, wherever in it, in the place of its
 * kick eventfd; NULL: no longer, and on return nobody has that page any more. Before and after, and if the machine
 * can't, they come by the eventfd. Returns 0, -EOPNOTSUPP (the transport has no pages) or -errno. Any thread but
 * one that holds a bus's lock.
 */
int virtio_queue_set_page(struct virtio_dev *v, u32 index, void *page);

/* ---- for transports ---- */

/* Interrupts: one for changes of the configuration, one a queue. */
void virtio_attach(struct virtio_dev *v, struct irq *config_irq);
void virtio_attach_queue(struct virtio_dev *v, u32 index, struct irq *call);

/*
 * A signal for the driver has arrived that is no message: set `bit` in v->isr. Returns false if a
 * reset has overtaken it; then nothing is set. After a reset none of before it gets in any more. Main
 * loop.
 */
bool virtio_isr_set(struct virtio_dev *v, u32 bit);

/* Features offered and accepted, 32 bits at a time: `sel` 0 is bits 0-31; from 2 on there are
 * none. */
u32 virtio_features_read(struct virtio_dev *v, u32 sel);
u32 virtio_driver_features_read(struct virtio_dev *v, u32 sel);
void virtio_driver_features_write(struct virtio_dev *v, u32 sel, u32 value);

/*
 * The status register (2.1). Writing 0 resets: on return no queue runs and nothing touches guest
 * memory. vCPU's thread, or the main loop's while no vCPU runs.
 */
u32 virtio_status_read(struct virtio_dev *v);
void virtio_status_write(struct virtio_dev *v, u32 status);

/* Configuration space: any width and alignment; what lies beyond reads as zero. `buf` gets `len`
 * bytes, 1 to 8. */
void virtio_config_read(struct virtio_dev *v, u32 off, void *buf, u32 len);
void virtio_config_write(struct virtio_dev *v, u32 off, const void *buf, u32 len);
u32 virtio_config_generation(struct virtio_dev *v);

/* The registers of queue `index`; one that is not there reads as zero, and ignores writes, as does
 * one that is enabled. */
enum virtio_area { VIRTIO_DESC, VIRTIO_DRIVER, VIRTIO_DEVICE };

u32 virtio_queue_size_max(struct virtio_dev *v, u32 index);
u32 virtio_queue_size(struct virtio_dev *v, u32 index);
void virtio_queue_size_write(struct virtio_dev *v, u32 index, u32 size);
u64 virtio_queue_area(struct virtio_dev *v, u32 index, enum virtio_area area);
/* `shift` is 0 for the low half of the address and 32 for the high one. */
void virtio_queue_area_write(struct virtio_dev *v, u32 index, enum virtio_area area, u32 shift,
			     u32 value);
bool virtio_queue_enabled(struct virtio_dev *v, u32 index);
void virtio_queue_enable(struct virtio_dev *v, u32 index);
/* Stop this queue and take its registers back to the start (2.6.1). On return nothing of it touches
 * guest memory. */
void virtio_queue_reset(struct virtio_dev *v, u32 index);

/* The driver kicked queue `index`, by a way that is not a doorbell; or serve() wants to be called
 * again, after the loop's other work. Any thread. */
void virtio_queue_kick(struct virtio_dev *v, u32 index);

/* ---- for whoever moves the rings elsewhere ---- */

/*
 * Stop all queues, each where it stands (q->pos), without the driver noticing: its kicks wait. Until
 * virtio_resume() none runs, whatever the driver writes. Threads as virtio_status_write().
 */
void virtio_pause(struct virtio_dev *v);
void virtio_resume(struct virtio_dev *v);

/*
 * Mark each page that the device writes from now on, in whichever queue and by whichever data path, in `log`
 * (mem_log_create()); NULL: no longer. The log outlives this until then. The queues that are served in-process
 * are stopped and started again. Returns 0; -EINVAL (it has no room for the guest's memory), -EOPNOTSUPP (the
 * data path can't) or -errno: then it is as it was. Threads as virtio_status_write().
 */
int virtio_log_dirty(struct virtio_dev *v, const struct mem_log *log);

/* Who serves the device: "inproc", "vhost-net", ... Main loop's thread. */
const char *virtio_path_name(const struct virtio_dev *v);

/* How many chains of queue `index`, a split ring, are done, modulo 2^16, whoever serves it: as the ring itself says, so
 * a guest may make it say anything. Returns 0, -ENOENT: the queue does not run, -EOPNOTSUPP: its ring is packed, or -EAGAIN:
 * a driver is at the registers. Main loop's thread. */
int virtio_queue_used(struct virtio_dev *v, u32 index, u16 *used);

/* How a live switch went. The first three are what the driver may have felt: no queue was served. */
struct virtio_switch {
	u64 quiesce_ns, hand_over_ns, restart_ns;
	u64 missing; /* -EOPNOTSUPP: the features that the new path can't serve */
};

/*
 * Have the queues of *path served by it from now on (NULL: all in-process), without the driver noticing. Returns
 * 0, and in *path the old one, which is the caller's now; or what stood in the way, and nothing has changed:
 *	-EOPNOTSUPP	it can't serve s->missing
 *	-EIO		it could not be prepared, after a line in the log, or can't mark what it writes while
 *			that is asked for (virtio_log_dirty())
 *	-EBUSY		requests are in flight that it can't take over, or a driver is at the registers: try again
 *	-ENOTRECOVERABLE	the device waits for its driver to reset it, or has to now: its old path has failed
 *	other		it could not start a queue
 * If not even the old one can start any more, the device needs a reset. Main loop's thread.
 */
int virtio_switch_path(struct virtio_dev *v, struct datapath **path, struct virtio_switch *s);

#endif
