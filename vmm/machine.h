/* SPDX-License-Identifier: MIT */
/*
 * machine.h - a whole machine: what it is made of, its life from power-on to power-off.
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include "minivmm/arch.h"
#include "minivmm/device.h"
#include "minivmm/loop.h"
#include "minivmm/mem.h"
#include "minivmm/peer.h"
#include "minivmm/stream.h"
#include "minivmm/virtio.h"
#include "vmm/auto_path.h"
#include "vmm/config.h"
#include "vmm/kvm.h"

#include <stdatomic.h>

struct child;
struct datapath;
struct control;
struct peer;
struct trace;
struct trace_track;
struct image;
struct vcpus;
struct vhost_user_process;
struct virtio_dev;
struct virtio_options;

/* Why a run of the guest ended. */
enum machine_end {
	END_NONE,    /* it runs */
	END_OFF,     /* the guest switched itself off */
	END_RESET,   /* the guest asked for a reset */
	END_CRASHED, /* triple fault, or KVM can't go on; already reported */
	END_KILLED,  /* a second signal */
	END_QUIT,    /* the user's escape key, or the control socket's word */
};

/* A device's data path of those that it can be moved to, and what belongs to it (machine_switch.c). */
struct machine_path {
	struct datapath *path; /* NULL: in-process */
	struct peer *stand_in;
	struct vhost_user_process *process;
	char *socket;
};

/* The live switches of a device so far. */
struct machine_moves {
	u64 n;
	struct virtio_switch last;
	u64 longest_ns; /* without service */
};

/* What a network device has that changes its data path by itself (machine_auto.c). */
struct machine_auto {
	struct machine *m;
	bool gone;    /* its back end has, and nobody has taken its place yet */
	u64 retry_ms; /* when that is tried again; 0: it has not been tried */
	struct auto_state state;
	u64 sampled_ms;		      /* when; 0: not lately */
	u32 running;		      /* which rings ran then (bit i: ring i), */
	u16 used[2 * PEER_PAIRS_MAX]; /* and their used indices */
};

/* Does the guest run, as far as it is the user's to say? */
enum machine_pause { MACHINE_RUNS, MACHINE_PAUSING, MACHINE_PAUSED };

struct machine {
	/* Fixed after machine_create(). */
	const struct config *cfg;
	struct machine_env env;
	struct mem mem;
	struct bus *pio, *mmio;
	struct irqchip *irqchip;
	struct loop *loop;
	struct platform platform;
	struct pci_host *pci;
	struct device *devices; /* newest first */
	struct device *power_dev;
	struct stream serial;
	struct stream *port; /* the consoles' ports, in the order of the configuration */
	u32 nports;
	struct peer
		*capture[CONFIG_DEVICES_MAX]; /* the captures of network devices, which own them */
	u32 ncaptures;
	struct virtio_dev *virtio[CONFIG_DEVICES_MAX]; /* as in cfg->device; NULL: not yet made */
	/* Of network devices and disks that can be moved, which own them. */
	struct peer *tap[CONFIG_DEVICES_MAX];
	struct image *image[CONFIG_DEVICES_MAX];
	struct machine_path path[CONFIG_DEVICES_MAX];
	struct machine_moves moves[CONFIG_DEVICES_MAX];
	struct child *children;	   /* newest first (machine_child.c) */
	struct virtio_dev *window; /* the console on our terminal, or NULL */
	struct stream *window_stream;
	u32 niothreads;
	struct loop **iothread;	       /* running, until the devices are gone */
	struct trace_track *cpu_track; /* one a CPU */
	struct trace *trace;	       /* from the devices on */

	/* Of one life, from reset to reset. */
	struct vm vm;
	struct vcpus *vcpus;

	struct power power;	      /* what devices ask through */
	_Atomic enum machine_end end; /* the first reason wins */
	struct loop_fd ended;	      /* eventfd: `end` was set */

	/* Main loop's. */
	enum machine_pause pause;
	struct machine_auto automatic[CONFIG_DEVICES_MAX];
	struct loop_fd auto_timer; /* timerfd */
	struct control *control;   /* NULL: there is no such socket */
	enum machine_end asked;	   /* by the control socket, END_NONE: nothing */
	_Atomic u32 notices;	   /* MACHINE_... below */
	struct loop_fd noticed;	   /* eventfd: some are there */
	struct loop_fd signals;
	int signal; /* the first one that came, 0: none */
};

/*
 * Run the guest that `cfg` describes until it ends, through all its reboots. The calling thread
 * becomes the main loop's. SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGWINCH must be blocked.
 * Returns the process's exit status, as the manual has it.
 */
int machine_run(const struct config *cfg);

/* Any thread: the run ends, for this reason if there is none yet; the user's end overrides the
 * guest's reset. All vCPUs pause. */
void machine_end(struct machine *m, enum machine_end why);

/*
 * Stop the guest before its next instruction on any CPU, and let it go on; its clocks stand still
 * meanwhile. Devices complete what is in flight. A pause outlives a reset. It has come about when m->pause is
 * MACHINE_PAUSED, and then the control socket's clients are told. Only what has come about can be resumed. Main loop's
 * thread.
 */
void machine_pause(struct machine *m);
void machine_resume(struct machine *m);

/* All vCPUs have parked. Any thread. */
void machine_parked(struct machine *m);

/* Press the guest's power button. Any thread. */
void machine_press_button(struct machine *m);

/*
 * The control socket (machine_control.c), if there is to be one. machine_open_control() returns 0, or -errno
 * after a message. machine_tell_end() tells its clients why this run of the guest has ended. Main loop's
 * thread.
 */
int machine_open_control(struct machine *m);
void machine_tell_end(struct machine *m);

/*
 * The trace (machine_trace.c). machine_open_trace() makes it, before the devices, and opens what --trace names;
 * machine_begin_trace() follows them, and starts it. Return 0, or -errno after a message. machine_trace_start() and machine_trace_stop() return 0, or -errno and
 * why. After the stop the file is being written, and machine_trace_written() is called when it is complete: it
 * tells the control socket's clients. machine_end_trace() waits for that, when no thread writes events any more.
 * Main loop's thread.
 */
int machine_open_trace(struct machine *m);
int machine_begin_trace(struct machine *m);
int machine_trace_start(struct machine *m, const char *path, char *why, size_t size);
int machine_trace_stop(struct machine *m, char *why, size_t size);
void machine_trace_written(struct machine *m);
void machine_end_trace(struct machine *m);
/* It is complete. Any thread. */
void machine_notice_trace(struct machine *m);

/* What queue `q` of virtio device `i` is called: "rx0", in 16 bytes. */
void machine_name_queue(const struct machine *m, u32 i, u32 q, char name[16]);

/*
 * The board, one per architecture (board_<arch>.c): which devices stand at which addresses.
 * board_describe() fills in m->platform; board_build() makes the devices, by machine_add().
 * Return 0 or -errno after a message.
 */
int board_describe(struct machine *m);
int board_build(struct machine *m);

/*
 * The virtio devices of the configuration (machine_virtio.c), between board_build()'s own ones and
 * what it opens last. machine_describe_virtio() adds their MMIO transports to m->platform: the n-th
 * at base + n * 4 KiB, interrupt gsi + n % 4. Return 0, or -errno after a message.
 */
int machine_describe_virtio(struct machine *m, u64 base, u32 gsi);
int machine_build_virtio(struct machine *m);

/* Say why the device that --option asked for can't be made. Returns `err`. */
int machine_refused(const char *option, int err);

/* A network device and all that it is connected to (machine_net.c). Returns 0, or -errno after a
 * message. */
int machine_create_net(struct machine *m, const struct device_config *d,
		       const struct virtio_options *o, struct virtio_dev **v);

/* All has been made, the guest is about to run: the captures begin, if they have not before. Returns 0,
 * or -errno after a message. */
int machine_begin_captures(struct machine *m);

/* Log what the network devices' queues have done. Main loop's thread. */
void machine_report_net(struct machine *m);

/* Tell the console on our terminal how large the window is now. Main loop's thread. */
void machine_window_changed(struct machine *m);

/* Open a stream that was begun by stream_init(). Returns 0, or -errno after a message. */
int machine_open_stream(struct machine *m, struct stream *s, const struct stream_config *cfg);

/* The machine owns `d` from now on. */
void machine_add(struct machine *m, struct device *d);

#endif
