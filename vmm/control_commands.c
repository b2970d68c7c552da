// SPDX-License-Identifier: MIT
/*
 * control_commands.c - the control socket's commands. QEMU's QMP reference manual describes those that
 * have no x-minivmm- in front: what is returned here has the members that it requires, and those of the
 * optional ones that mean something.
 *
 * How it works: the table is at the end of the file. A command asks the machine (struct control_ops) and
 * makes JSON of the answer; its arguments have been checked against the table.
 */
#include "vmm/control_internal.h"

#include <linux/virtio_config.h>
#include <stdio.h>
#include <string.h>

#define VLANS 4096

/* QMP's name for the processor. */
#if defined(__x86_64__)
#define CONTROL_TARGET "x86_64"
#elif defined(__aarch64__)
#define CONTROL_TARGET "aarch64"
#endif

static const char *arg_string(const struct control_call *call, const char *name)
{
	return json_string_value(json_object_get(call->args, name));
}

/* ---- the machine ---- */

static json_t *query_version(struct control_call *call)
{
	(void)call;
	return qmp_version();
}

static json_t *query_commands(struct control_call *call)
{
	json_t *list = json_array();

	(void)call;
	for (const struct control_command *cmd = control_commands; cmd->name; cmd++)
		json_array_append_new(list, json_pack("{s:s}", "name", cmd->name));
	return list;
}

static json_t *query_name(struct control_call *call)
{
	(void)call;
	return json_object(); /* it has none */
}

static json_t *query_kvm(struct control_call *call)
{
	(void)call;
	return json_pack("{s:b,s:b}", "enabled", 1, "present", 1);
}

static json_t *query_status(struct control_call *call)
{
	bool running = call->ops->running(call->machine);

	return json_pack("{s:b,s:b,s:s}", "running", running, "singlestep", 0, "status",
			 running ? "running" : "paused");
}

static json_t *stop(struct control_call *call)
{
	if (call->ops->running(call->machine) && !call->ops->stop(call->machine)) {
		call->later = true;
		return NULL;
	}
	return json_object();
}

static json_t *cont(struct control_call *call)
{
	if (!call->ops->running(call->machine)) {
		call->ops->cont(call->machine);
		control_event(call->c, "RESUME");
	}
	return json_object();
}

static json_t *system_powerdown(struct control_call *call)
{
	call->ops->powerdown(call->machine);
	return json_object();
}

static json_t *system_reset(struct control_call *call)
{
	call->ops->reset(call->machine);
	return json_object();
}

static json_t *quit(struct control_call *call)
{
	call->ops->quit(call->machine);
	return json_object();
}

void control_cpu_path(u32 i, char *path)
{
	snprintf(path, 40, "/machine/cpu[%u]", i);
}

static json_t *query_cpus_fast(struct control_call *call)
{
	json_t *list = json_array();

	for (u32 i = 0; i < call->ops->ncpus(call->machine); i++) {
		struct control_cpu cpu;
		char path[40];

		call->ops->cpu(call->machine, i, &cpu);
		control_cpu_path(i, path);
		json_array_append_new(list,
				      json_pack("{s:i,s:s,s:i,s:s,s:{s:i,s:i,s:i}}", "cpu-index", i,
						"qom-path", path, "thread-id", cpu.tid, "target",
						CONTROL_TARGET, "props", "socket-id", 0, "core-id",
						i, "thread-id", 0));
	}
	return list;
}

/* ---- devices ---- */

int control_find_device(struct control_call *call, const char *name)
{
	for (u32 i = 0; i < call->ops->ndevices(call->machine); i++) {
		struct control_device d;

		call->ops->device(call->machine, i, &d);
		if (strcmp(d.cfg->id, name) == 0)
			return i;
	}
	call_fail(call, "DeviceNotFound", "Device '%s' not found", name);
	return -1;
}

static json_t *cache_of(const struct disk_config *disk)
{
	return json_pack("{s:b,s:b,s:b}", "writeback", !disk->writethrough, "direct", disk->direct,
			 "no-flush", 0);
}

/* What a disk has in it, with the members that QEMU requires. */
static json_t *inserted(const struct control_device *d)
{
	const struct disk_config *disk = &d->cfg->disk;
	const char *file = disk->socket ? disk->socket : disk->file;
	json_int_t size = d->capacity_known ? d->sectors * 512 : 0;
	json_t *image = json_pack("{s:o,s:s,s:I,s:b}", "filename", json_text(file), "format", "raw",
				  "virtual-size", size, "dirty-flag", 0);

	return json_pack("{s:o,s:s,s:b,s:s,s:b,s:i,s:s,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:o,s:o}",
			 "file", json_text(file), "node-name", d->cfg->id, "ro", disk->readonly,
			 "drv", strcmp(d->datapath, "vhost-user") == 0 ? "vhost-user" : "raw",
			 "encrypted", 0, "backing_file_depth", 0, "detect_zeroes", "off", "bps", 0,
			 "bps_rd", 0, "bps_wr", 0, "iops", 0, "iops_rd", 0, "iops_wr", 0,
			 "write_threshold", 0, "cache", cache_of(disk), "image", image);
}

static json_t *query_block(struct control_call *call)
{
	json_t *list = json_array();

	for (u32 i = 0; i < call->ops->ndevices(call->machine); i++) {
		struct control_device d;

		call->ops->device(call->machine, i, &d);
		if (d.cfg->kind != DEVICE_DISK)
			continue;
		json_array_append_new(list, json_pack("{s:s,s:s,s:b,s:b,s:o}", "device", d.cfg->id,
						      "type", "unknown", "removable", 0, "locked",
						      0, "inserted", inserted(&d)));
	}
	return list;
}

static json_t *mac_text(const u8 mac[6])
{
	char text[18];

	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	return json_string(text);
}

static json_t *mac_table(const u8 (*table)[6], u32 n)
{
	json_t *list = json_array();

	for (u32 i = 0; i < n; i++)
		json_array_append_new(list, mac_text(table[i]));
	return list;
}

static json_t *vlan_table(const struct control_rx_filter *f)
{
	json_t *list = json_array();

	for (u32 i = 0; f->vlan == RX_NORMAL && i < VLANS; i++) {
		if (f->vlan_bits[i / 64] >> i % 64 & 1)
			json_array_append_new(list, json_integer(i));
	}
	return list;
}

static json_t *rx_filter(struct control_call *call, u32 i, const char *name)
{
	static const char *const state[] = {
		[RX_ALL] = "all", [RX_NORMAL] = "normal", [RX_NONE] = "none"
	};
	struct control_rx_filter f;

	call->ops->rx_filter(call->machine, i, &f);
	return json_pack("{s:s,s:b,s:s,s:s,s:s,s:b,s:b,s:b,s:o,s:o,s:o,s:o}", "name", name,
			 "promiscuous", f.promiscuous, "multicast", state[f.multicast], "unicast",
			 state[f.unicast], "vlan", state[f.vlan], "broadcast-allowed", f.broadcast,
			 "multicast-overflow", f.multicast_overflow, "unicast-overflow",
			 f.unicast_overflow, "main-mac", mac_text(f.mac), "vlan-table",
			 vlan_table(&f), "unicast-table", mac_table(f.unicast_table, f.nunicast),
			 "multicast-table", mac_table(f.multicast_table, f.nmulticast));
}

/* The number of the network device called `name`, or -1 after call_fail(). */
static int find_net(struct control_call *call, const char *name)
{
	int i = control_find_device(call, name);
	struct control_device d;

	if (i < 0)
		return i;
	call->ops->device(call->machine, i, &d);
	if (d.net)
		return i;
	call_fail(call, "GenericError", "'%s' is no network device of ours", name);
	return -1;
}

static json_t *query_rx_filter(struct control_call *call)
{
	const char *name = arg_string(call, "name");
	json_t *list;

	if (name && find_net(call, name) < 0)
		return NULL;
	list = json_array();
	for (u32 i = 0; i < call->ops->ndevices(call->machine); i++) {
		struct control_device d;

		call->ops->device(call->machine, i, &d);
		if (d.net && (!name || strcmp(d.cfg->id, name) == 0))
			json_array_append_new(list, rx_filter(call, i, d.cfg->id));
	}
	return list;
}

static json_t *set_link(struct control_call *call)
{
	const char *name = arg_string(call, "name");
	bool up = json_is_true(json_object_get(call->args, "up"));
	int i = find_net(call, name);

	if (i < 0)
		return NULL;
	call->ops->set_link(call->machine, i, up);
	control_send_event(call->c, "X_MINIVMM_LINK",
			   json_pack("{s:s,s:b}", "device", name, "up", up));
	return json_object();
}

static json_t *features_text(u64 features)
{
	char text[19];

	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)features);
	return json_string(text);
}

static json_t *x_query_datapath(struct control_call *call)
{
	json_t *list = json_array();

	for (u32 i = 0; i < call->ops->ndevices(call->machine); i++) {
		struct control_device d;
		json_t *o;

		call->ops->device(call->machine, i, &d);
		o = json_pack("{s:s,s:s,s:s,s:s,s:b,s:i,s:o,s:o,s:i}", "device", d.cfg->id, "type",
			      d.type, "bus", d.cfg->bus == DEVICE_ON_PCI ? "pci" : "mmio",
			      "datapath", d.datapath, "packed",
			      (int)(d.negotiated >> VIRTIO_F_RING_PACKED & 1), "queues", d.nqueues,
			      "offered", features_text(d.offered), "negotiated",
			      features_text(d.negotiated), "status", d.status);
		if (d.net)
			json_object_set_new(o, "link", json_string(d.link ? "up" : "down"));
		json_array_append_new(list, o);
	}
	return list;
}

json_int_t control_microseconds(u64 ns)
{
	return (ns + 500) / 1000;
}

json_t *control_gap(const struct control_switch *s)
{
	return json_pack("{s:I,s:I,s:I,s:I}", "total",
			 control_microseconds(s->quiesce + s->hand_over + s->restart), "quiesce",
			 control_microseconds(s->quiesce), "hand-over",
			 control_microseconds(s->hand_over), "restart",
			 control_microseconds(s->restart));
}

void control_event_switch(struct control *c, const char *device, const char *from, const char *to,
			  const char *reason, const struct control_switch *s)
{
	if (c)
		control_send_event(c, "X_MINIVMM_DATAPATH",
				   json_pack("{s:s,s:s,s:s,s:s,s:o}", "device", device, "from",
					     from, "to", to, "reason", reason, "gap-us",
					     control_gap(s)));
}

static json_t *x_switch_datapath(struct control_call *call)
{
	const char *name = arg_string(call, "device"), *to = arg_string(call, "datapath");
	int i = control_find_device(call, name);
	struct control_device d;
	struct control_switch s;
	char why[200];

	if (i < 0)
		return NULL;
	call->ops->device(call->machine, i, &d);
	if (call->ops->switch_datapath(call->machine, i, to, arg_string(call, "socket"), &s, why,
				       sizeof(why)))
		return call_fail(call, "GenericError", "%s", why);
	control_event_switch(call->c, name, d.datapath, to, "request", &s);
	return json_pack("{s:s,s:s,s:o}", "from", d.datapath, "to", to, "gap-us", control_gap(&s));
}

/* ---- the trace ---- */

static json_t *x_trace_start(struct control_call *call)
{
	const char *path = arg_string(call, "filename");
	char why[160];

	if (call->ops->trace_start(call->machine, path, why, sizeof(why)))
		return call_fail(call, "GenericError", "%s: %s", path, why);
	return json_object();
}

/* The file is complete when X_MINIVMM_TRACE is sent. */
static json_t *x_trace_stop(struct control_call *call)
{
	char why[160];

	if (call->ops->trace_stop(call->machine, why, sizeof(why)))
		return call_fail(call, "GenericError", "%s", why);
	return json_object();
}

/* ---- the table ---- */

/* clang-format off: one command a line */
const struct control_command control_commands[] = {
	{ "query-version", query_version, { { 0 } } },
	{ "query-commands", query_commands, { { 0 } } },
	{ "query-name", query_name, { { 0 } } },
	{ "query-kvm", query_kvm, { { 0 } } },
	{ "query-status", query_status, { { 0 } } },
	{ "stop", stop, { { 0 } } },
	{ "cont", cont, { { 0 } } },
	{ "system_powerdown", system_powerdown, { { 0 } } },
	{ "system_reset", system_reset, { { 0 } } },
	{ "quit", quit, { { 0 } } },
	{ "query-cpus-fast", query_cpus_fast, { { 0 } } },
	{ "query-block", query_block, { { 0 } } },
	{ "query-rx-filter", query_rx_filter, { { "name", JSON_STRING, false } } },
	{ "set_link", set_link, { { "name", JSON_STRING, true }, { "up", JSON_TRUE, true } } },
	{ "query-stats",
	  control_query_stats,
	  { { "target", JSON_STRING, true },
	    { "vcpus", JSON_ARRAY, false },
	    { "providers", JSON_ARRAY, false } } },
	{ "query-stats-schemas",
	  control_query_stats_schemas,
	  { { "provider", JSON_STRING, false } } },
	{ "x-minivmm-stats", control_x_stats, { { "device", JSON_STRING, false } } },
	{ "x-minivmm-switch-datapath",
	  x_switch_datapath,
	  { { "device", JSON_STRING, true },
	    { "datapath", JSON_STRING, true },
	    { "socket", JSON_STRING, false } } },
	{ "x-minivmm-query-datapath", x_query_datapath, { { 0 } } },
	{ "x-minivmm-trace-start", x_trace_start, { { "filename", JSON_STRING, true } } },
	{ "x-minivmm-trace-stop", x_trace_stop, { { 0 } } },
	{ 0 },
};
/* clang-format on */
