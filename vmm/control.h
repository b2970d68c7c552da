/* SPDX-License-Identifier: MIT */
/*
 * control.h - the control socket: who connects to it may stop, ask and change the machine while it runs.
 *
 * The protocol is QMP, QEMU's: JSON objects, commands one way, answers and events the other. So its
 * clients work here, too, with the commands that there are (control_commands.c). Ours that QEMU does not
 * have begin with x-minivmm-.
 *
 *	client ── socket ──> control.c		clients, buffers, events
 *			     control_input.c	cuts the bytes into JSON texts
 *			     control_qmp.c	negotiation, a request and its answer
 *			     control_commands.c	the table of commands
 *			     control_stats.c	statistics
 *			       │ struct control_ops
 *			     the machine	machine_control.c
 *
 * A client is not trusted to behave: what it sends and does not read is bounded, nothing waits for it.
 *
 * Threads: all of it is the main loop's.
 */
#ifndef VMM_CONTROL_H
#define VMM_CONTROL_H

#include "minivmm/base.h"
#include "minivmm/vq.h"
#include "vmm/config.h"

#include <sys/types.h>

struct control;
struct kvm_stat;
struct loop;
struct trace_result;

struct control_cpu {
	pid_t tid;
	u32 nexits; /* to this process, by reason */
	const char *const *exit_name;
	u64 exits[8];
};

/* How long nobody served a device that was moved, in nanoseconds. */
struct control_switch {
	u64 quiesce, hand_over, restart;
};

struct control_device {
	const struct device_config *cfg; /* with its id */
	const char *type;		 /* "virtio-net" */
	const char *datapath;		 /* "inproc" */
	u64 offered, negotiated;	 /* features; `negotiated` is 0 before FEATURES_OK */
	u32 status;			 /* VIRTIO_CONFIG_S_... */
	u32 nqueues;
	u64 sectors; /* of a disk, 512 bytes each, if `capacity_known` */
	bool capacity_known;
	bool net; /* it has a link, a filter, and frames */
	bool link;
	u64 switches; /* live ones so far */
	struct control_switch last_gap;
	u64 longest_gap; /* ns */
};

struct control_queue {
	char name[16]; /* "rx0" */
	u32 size;      /* at most */
	bool inproc;   /* we serve it, so it counts; others do not tell */
	struct vq_stats ring;
	/* Of a network device's, that moves frames. */
	bool net;
	u64 frames, bytes, dropped, filtered;
};

/* What a network device's driver wants to receive (5.1.6.5.1). */
struct control_rx_filter {
	u8 mac[6];
	bool promiscuous, broadcast;
	enum { RX_ALL, RX_NORMAL, RX_NONE } unicast, multicast, vlan;
	bool unicast_overflow, multicast_overflow;
	u32 nunicast, nmulticast;
	u8 unicast_table[64][6], multicast_table[64][6];
	u64 vlan_bits[4096 / 64]; /* with vlan == RX_NORMAL */
};

/* What the socket's commands ask of a machine. Main loop's thread. */
struct control_ops {
	bool (*running)(void *m);
	/* Returns true if the guest is stopped; else control_stopped() will be called. */
	bool (*stop)(void *m);
	void (*cont)(void *m);
	void (*powerdown)(void *m);
	/* These two return before it has happened. */
	void (*reset)(void *m);
	void (*quit)(void *m);

	u32 (*ncpus)(void *m);
	void (*cpu)(void *m, u32 i, struct control_cpu *c);
	/* As kvm_stats_each(), for CPU `i`, or -1: the whole machine. */
	int (*kvm_stats)(void *m, int i, void (*each)(void *ctx, const struct kvm_stat *s),
			 void *ctx);

	u32 (*ndevices)(void *m);
	void (*device)(void *m, u32 i, struct control_device *d);
	void (*queue)(void *m, u32 i, u32 q, struct control_queue *queue);
	/* Of a network device. */
	void (*rx_filter)(void *m, u32 i, struct control_rx_filter *f);
	void (*set_link)(void *m, u32 i, bool up);
	/* Move device `i` to the data path `to`, with the back end at `socket` or NULL. Returns 0, or -errno and the
	 * reason in `why`. */
	int (*switch_datapath)(void *m, u32 i, const char *to, const char *socket,
			       struct control_switch *s, char *why, size_t size);

	/* Return 0, or -errno and the reason in `why`. The file is complete when control_traced() is called. */
	int (*trace_start)(void *m, const char *path, char *why, size_t size);
	int (*trace_stop)(void *m, char *why, size_t size);
};

/*
 * Listen at `path`, for this process's user alone. `ops` and `loop`, the main loop, outlive it. Returns 0,
 * or -errno after one line.
 */
int control_create(struct control **c, struct loop *loop, const char *path,
		   const struct control_ops *ops, void *machine);

/* Send what clients still take at once, and end; the socket's file is removed, if it is still ours. NULL is
 * allowed. */
void control_destroy(struct control *c);

/* The stop that ops->stop() began has come about. */
void control_stopped(struct control *c);

/* The file of the trace that was stopped is complete, or could not be written. NULL is allowed for `c`. */
void control_traced(struct control *c, const struct trace_result *r);

/* Tell all clients that a device has been moved to another data path, and why. NULL is allowed for `c`. */
void control_event_switch(struct control *c, const char *device, const char *from, const char *to,
			  const char *reason, const struct control_switch *s);

/* Tell all clients that something has happened. NULL is allowed for `c`. */
void control_event(struct control *c, const char *name);
/* ... RESET or SHUTDOWN: was it the guest's doing? `reason` as QMP's enum ShutdownCause has it. */
void control_event_end(struct control *c, const char *name, bool guest, const char *reason);

#endif
