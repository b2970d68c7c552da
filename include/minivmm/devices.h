/* SPDX-License-Identifier: MIT */
/*
 * devices.h - how each kind of device is made. Only the machine (vmm/machine.c and the boards)
 * includes this file.
 *
 * Each function makes the device, puts its registers on the buses of `env`, which outlives it, and
 * returns 0 and the device in *dev, or -errno, which the caller reports.
 */
#ifndef MINIVMM_DEVICES_H
#define MINIVMM_DEVICES_H

#include "minivmm/device.h"

struct image;
struct pci_host;
struct peer;
struct stream;

/* A 16550A at ports [base, base + 8), interrupt at `gsi`, talking to `stream`, which the caller
 * keeps and closes after the device is gone. */
int uart16550_create(struct device **dev, const struct machine_env *env, u64 base, u32 gsi,
		     struct stream *stream);

/* An MC146818 clock and CMOS RAM at ports [base, base + 2). */
int rtc_create(struct device **dev, const struct machine_env *env, u64 base);

/* The keyboard controller, of which a PC needs the reset line: port `base`. */
int i8042_create(struct device **dev, const struct machine_env *env, u64 base);

/* Sleep, reset and the power button (power_regs.h) at ports [base, base + POWER_REGS_LEN). */
int power_create(struct device **dev, const struct machine_env *env, u64 base, u32 gsi);

/* Press the button. Any thread. */
void power_press_button(struct device *dev);

/* The PCI test device (testdev_regs.h) in the first free slot. */
int testdev_create(struct device **dev, const struct machine_env *env, struct pci_host *host);

/*
 * Virtio device types (virtio.h): each returns the device in *v, which virtio_destroy() frees as long
 * as no transport has it. The paths and streams of the options outlive the call; streams, the device.
 */
struct virtio_dev;
struct virtio_options;

int virtio_rng_create(struct virtio_dev **v, const struct machine_env *env,
		      const struct virtio_options *o);

struct virtio_blk_options {
	struct image *image; /* the device's from now on, also on error */
	bool writethrough;   /* until the driver chooses otherwise */
	bool discard;	     /* offer discard and write-zeroes */
	const char *serial;  /* what GET_ID tells, at most 20 bytes; NULL: empty */
	u32 seg_max; /* as told to the driver, if the queue allows so many; 0: the default */
	/* The driver is told of no more than other programs that serve disks can do, too: in their requests it is
	 * as qemu-storage-daemon. */
	bool modest;
};
int virtio_blk_create(struct virtio_dev **v, const struct machine_env *env,
		      const struct virtio_options *o, const struct virtio_blk_options *blk);

/* Its image's file, which stays the image's. Any thread. */
int virtio_blk_fd(const struct virtio_dev *v);

struct virtio_console_port {
	const char *name;      /* NULL: a console; else a port of this name */
	struct stream *stream; /* the caller's, closed after the device is gone */
};
/* Port 0 is a console. `nports` is at most VIRTIO_CONSOLE_PORTS_MAX. */
#define VIRTIO_CONSOLE_PORTS_MAX 30
int virtio_console_create(struct virtio_dev **v, const struct machine_env *env,
			  const struct virtio_options *o, const struct virtio_console_port *ports,
			  u32 nports);

/* The window of console port `port` has this size now. Main loop's thread. */
void virtio_console_resize(struct virtio_dev *v, u32 port, u16 columns, u16 rows);

struct virtio_net_options {
	struct peer *peer; /* the device's from now on, also on error */
	u8 mac[6];
	bool antispoof;	  /* send only what comes from `mac`, which the driver then can't change */
	u32 npairs;	  /* of queues: 1 to peer->npairs (virtio_options.queues means nothing) */
	u16 mtu;	  /* as told to the driver: 68 at least, or 0: nothing is told */
	u32 poll_us;	  /* how long to look out for work before sleeping; 0: not at all */
	u32 speed;	  /* Mbit/s; VIRTIO_NET_UNKNOWN_SPEED */
	u8 duplex;	  /* 0: half, 1: full, 0xff: unknown */
	u64 features_off; /* feature bits of the device type not to offer */
	/* Somebody else has the control queue and the configuration (vhost-user): the device offers what
	 * concerns the other queues alone, and has no more of them. */
	bool rings_only;
};
#define VIRTIO_NET_UNKNOWN_SPEED 0xffffffff
#define VIRTIO_NET_QUEUE_SIZE	 256 /* unless virtio_options.queue_size is set */
int virtio_net_create(struct virtio_dev **v, const struct machine_env *env,
		      const struct virtio_options *o, const struct virtio_net_options *net);

/* Was it made by virtio_net_create()? What follows is for such a device. */
bool virtio_is_net(const struct virtio_dev *v);

/* Plug the cable in or pull it out. The driver sees a link while it is in and the peer has one. Without
 * the cable all frames are dropped; without the peer's link, those that the driver sends. A data path
 * other than the in-process one leaves them where they are. Main loop's thread. */
void virtio_net_set_link(struct virtio_dev *v, bool up);

/* Somebody else may have changed the peer's offloads: set them as the driver has them. Main loop's thread. */
void virtio_net_restore_peer(struct virtio_dev *v);

/* How many queues move frames: the first ones. */
u32 virtio_net_rings(const struct virtio_dev *v);

/* Is the cable in? Any thread. */
bool virtio_net_plugged(struct virtio_dev *v);

/* What the driver wants to receive (5.1.6.5.1 to .3). */
#define NET_MACS_MAX 64 /* of each kind; with more, the filter lets all of the kind pass */
#define NET_VLANS    4096

struct net_filter {
	u8 mac[6];
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast; /* 5.1.6.5.1 */
	bool any_vlan;						 /* no filtering by VLANs */
	u32 nuni, nmulti; /* more than NET_MACS_MAX: too many */
	u8 uni[NET_MACS_MAX][6], multi[NET_MACS_MAX][6];
	u64 vlan[NET_VLANS / 64];
};

/* ... at the moment. Any thread. */
void virtio_net_filter(struct virtio_dev *v, struct net_filter *f);

/* With rings_only: receive by the first `n` pairs, 1 to all. No queue of the others is given frames any
 * more. Returns 0 or the peer's error. Main loop's thread. */
int virtio_net_set_pairs(struct virtio_dev *v, u32 n);

/* Ask the driver to announce itself on the network (5.1.6.5.4); if it can't, a data path that can does it.
 * Main loop's thread. */
void virtio_net_announce(struct virtio_dev *v);

/* What queue `queue` (2 * i receives, 2 * i + 1 transmits) has done with frames since creation, in-process;
 * the rest is in its struct vq_stats. Any thread. */
struct virtio_net_stats {
	u64 frames, bytes; /* moved, without their headers */
	u64 dropped;	   /* frames that could not be */
	u64 filtered;	   /* received, and not what the driver wants (5.1.6.5) */
};
void virtio_net_stats(struct virtio_dev *v, u32 queue, struct virtio_net_stats *s);

/* A vhost-user back end that is made for one device, and made anew when it has gone. It outlives the
 * device. */
struct vhost_user_process {
	const char *name; /* for messages */
	/* Make it. Returns a socket that is connected to it, or -errno. If it goes before the device is made,
	 * -ECONNRESET is returned for that, and to say why is the caller's. Main loop's thread, or it does
	 * not run. */
	int (*start)(struct vhost_user_process *p);
	/* Its connection is lost. When this returns it is no more, so whatever it was about to do with guest
	 * memory or the tap has been done or never will. Any thread, not during start(). */
	void (*end)(struct vhost_user_process *p);
};

/*
 * A device of any type, all of whose queues are served by a vhost-user back end: another process, at a UNIX
 * socket. Says itself in the log what is wrong.
 */
struct virtio_vhost_user_options {
	const char *option; /* that asked for it, without the dashes: for messages */
	u32 id;		    /* VIRTIO_ID_... */
	struct vhost_user_process *process; /* in the place of a socket; NULL: `path` */
	const char *path;		    /* of the socket; outlives the device */
	bool server;	 /* listen there, and wait for the back end; else connect */
	const char *tag; /* of a file system: its name; NULL: the back end knows it (5.11.4) */
	u32 config_len;	 /* bytes of configuration space; 0: as the type has */
	u32 timeout_ms;	 /* for each answer of the back end; 0: some seconds */
};
int virtio_vhost_user_create(struct virtio_dev **v, const struct machine_env *env,
			     const struct virtio_options *o,
			     const struct virtio_vhost_user_options *opts);

void virtio_destroy(struct virtio_dev *v);

/*
 * The data path by the kernel's vhost-net, for a network device with this peer, a tap whose queues it takes
 * over; the peer outlives it. For virtio_set_path(). Returns 0, or -errno after one line in the log that
 * says what is wrong and how to mend it.
 */
struct datapath;
int vhost_net_create(struct datapath **d, const struct machine_env *env, struct peer *peer);

/*
 * The data path by a vhost-user back end, for a network device, and the peer that the device then has: it
 * stands for what the back end is connected to, has the back end's offloads, and is up while there is one;
 * frames don't go through it. The peer outlives the data path. For virtio_set_path(). Returns 0, or -errno
 * after one line in the log.
 */
struct vhost_user_net_options {
	struct vhost_user_process *process; /* in the place of a socket; NULL: `path` */
	const char *path;		    /* of the socket; outlives the data path */
	bool server;	/* listen there, and wait for the back end; else connect */
	u32 npairs;	/* of queues */
	u16 queue_size; /* the device's largest */
	bool packed;	/* the back end must have packed rings */
	bool pages;	/* as in virtio_options, of the device */
	u16 mtu;	/* as the driver is told; 0: it is not */
	u32 timeout_ms; /* for each answer of the back end; 0: some seconds */
};
int vhost_user_net_create(struct datapath **d, struct peer **peer, const struct machine_env *env,
			  const struct vhost_user_net_options *o);

/*
 * Likewise for a block device, `v`, which outlives the data path: by a back end that has the same image. Its
 * configuration space stays the device's own, and is what a back end must be able to do. Returns 0, or -errno after one
 * line in the log.
 */
struct vhost_user_blk_options {
	struct virtio_dev *v;
	struct vhost_user_process *process; /* in the place of a socket; NULL: `path` */
	const char *path;		    /* of the socket; outlives the data path */
	bool packed;			    /* the back end must have packed rings */
	u32 timeout_ms;			    /* for each answer of the back end; 0: some seconds */
};
int vhost_user_blk_create(struct datapath **d, const struct machine_env *env,
			  const struct vhost_user_blk_options *o);

/*
 * Give `v` a transport, which owns it from then on (on error the caller still does): in the lowest
 * free PCI slot from 1 up, or in 512 bytes of MMIO registers at `base` with the level-triggered
 * wired interrupt `gsi`, which may be shared.
 */
int virtio_pci_create(struct device **dev, const struct machine_env *env, struct pci_host *host,
		      struct virtio_dev *v);
int virtio_mmio_create(struct device **dev, const struct machine_env *env, u64 base, u32 gsi,
		       struct virtio_dev *v);
#define VIRTIO_MMIO_SIZE 0x200

#endif
