/* SPDX-License-Identifier: MIT */
/*
 * config.h - the command line, as checked values.
 */
#ifndef VMM_CONFIG_H
#define VMM_CONFIG_H

#include "minivmm/base.h"
#include "vmm/subopts.h"

/* Where bytes go: --serial, --console, --port. */
enum stream_target { STREAM_STDIO, STREAM_NONE, STREAM_PTY, STREAM_FILE, STREAM_UNIX };

struct stream_config {
	enum stream_target kind;
	const char *path; /* of a file or socket */
};

enum device_bus { DEVICE_ON_PCI, DEVICE_ON_MMIO };

enum device_kind { DEVICE_DISK, DEVICE_CONSOLE, DEVICE_RNG, DEVICE_NET, DEVICE_VHOST_USER };

struct disk_config {
	const char *file, *serial;
	bool readonly, direct, discard;
	bool share;	  /* with other writers that say so, too */
	u32 aio;	  /* enum image_aio */
	u32 writethrough; /* 0 or 1 */
	/* datapath=vhost-user: instead of all that */
	u32 datapath; /* enum disk_datapath */
	const char *socket;
	bool server;
};

enum disk_datapath { DISK_INPROC, DISK_VHOST_USER };

/* A device of any type at a vhost-user back end. */
struct vhost_user_config {
	const char *type, *socket, *tag;
	u32 id;		 /* VIRTIO_ID_... */
	u32 config_size; /* 0: as the type has */
	bool server;
};

#define CONFIG_PORTS_MAX 30

struct port_config {
	const char *name; /* NULL: the console itself */
	struct stream_config stream;
};

struct console_config {
	u32 nports; /* at least 1; port 0 is the console */
	struct port_config port[CONFIG_PORTS_MAX];
};

/* What a network device is connected to. */
enum net_peer { NET_TAP, NET_FD, NET_USER, NET_SOCKET, NET_NULL, NET_ECHO, NET_BACK_END };

struct net_config {
	enum net_peer peer;
	const char *target; /* tap: name; socket, back end: path */
	u32 fd;
	u32 datapath;		    /* enum datapath_kind */
	bool server;		    /* socket, back end */
	bool restricted;	    /* user */
	bool source;		    /* null: it always has a frame */
	struct subopt_list hostfwd; /* user */
	const char *back_end;	    /* as `socket=`; then it is `target` */
	const char *pcap;	    /* NULL: none */
	const char *mac_text;	    /* as given, or NULL */
	u8 mac[6];
	u32 mtu;		/* 0: the peer's */
	u64 bits;		/* a second; 0: no limit */
	u64 frames;		/* likewise */
	u64 burst;		/* bytes; 0: the default */
	u32 speed;		/* Mbit/s; 0: unknown */
	u32 duplex;		/* enum net_duplex */
	u32 poll_us;		/* 0: no busy polling */
	u32 link_down;		/* 0 or 1 */
	bool automatic;		/* changes its data path by its rate of frames */
	u32 auto_up, auto_down; /* struct auto_limits */
	bool antispoof;
	bool csum, tso, uso, mrg; /* offered if the peer can */
};

enum net_duplex { NET_DUPLEX_UNKNOWN, NET_DUPLEX_HALF, NET_DUPLEX_FULL };

#define CONFIG_ID_MAX 31

struct device_config {
	enum device_kind kind;
	const char *id;			    /* as given, or by default: net0, net1, disk0, ... */
	char default_id[CONFIG_ID_MAX + 1]; /* that is it then */
	u32 bus;			    /* enum device_bus */
	bool packed;
	u32 queues, queue_size;	 /* 0: the device's default. Of a network device: pairs of queues */
	const char *switch_text; /* as given, or NULL */
	u32 switches; /* a bit for each data path that it may have while it runs; 0: only the first */
	union {
		struct disk_config disk;
		struct console_config console;
		struct net_config net;
		struct vhost_user_config vhost_user;
	};
};

#define CONFIG_DEVICES_MAX 30 /* a PCI bus has 31 slots beside the host bridge's */

struct config {
	const char *kernel;
	const char *initrd; /* NULL: our own initramfs, if data_dir has one */
	char *cmdline;	    /* owned */
	u32 cpus;
	u64 memory; /* bytes */
	bool hugepages;
	struct stream_config serial;
	u32 ndevices;
	struct device_config device[CONFIG_DEVICES_MAX]; /* in the order given */
	u32 iothreads;					 /* 0: the main loop does their work */
	const char *control;				 /* path of the control socket, or NULL */
	const char *trace; /* file for a trace of the whole run, or NULL */
	bool no_reboot;
	bool test_device;
	char *data_dir; /* owned; where initramfs*.cpio is; NULL: none is wanted */

	/* Owned: option values, cut into the strings above. */
	u32 nkept;
	char *kept[128];
};

/*
 * Read the options. Returns 0, or -EINVAL after one line that says what is wrong and how to mend
 * it. The strings of argv must outlive the config.
 */
int config_parse(struct config *cfg, int argc, char **argv);

/* Did the user ask for --help or --version? Prints it and returns true. */
bool config_help(int argc, char **argv);

void config_free(struct config *cfg);

/* Of this program, as --version tells it. */
const char *config_version(void);

/* The options that add a device (config_devices.c, config_net.c,
 * config_vhost_user.c): `arg` is the option's value. Return 0, or -EINVAL
 * after a message. */
int config_disk(struct config *cfg, const char *arg);
int config_rng(struct config *cfg, const char *arg);
int config_console(struct config *cfg, const char *arg);
int config_port(struct config *cfg, const char *arg);
int config_net(struct config *cfg, const char *arg);
int config_vhost_user(struct config *cfg, const char *arg);

/* The data paths that a network device or disk may have (config_switch.c). */
enum datapath_kind { PATH_INPROC, PATH_VHOST_NET, PATH_VHOST_USER, PATH_KINDS };

/* What this one is called. */
const char *config_path_name(u32 kind);

/* The one of that name, or -1. */
int config_path_kind(const char *name);

/* The one that the device begins with. */
u32 config_path(const struct device_config *d);

/* Read d->switch_text, if there is one. Returns 0, or -EINVAL after a message. */
int config_switches(const char *option, struct device_config *d);

/* All devices are there: give names to those that have none. Returns 0, or -EINVAL after a message: a name
 * is no name, or is given twice. */
int config_name_devices(struct config *cfg);

/* Where option `option`'s stream goes, by the first word of its value, which must live on. */
int config_stream(const char *option, const char *word, struct stream_config *s);

#endif
