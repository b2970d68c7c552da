// SPDX-License-Identifier: MIT
/*
 * control_stats.c - statistics over the control socket: KVM's, as QEMU's query-stats tells them, and all
 * of ours by x-minivmm-stats.
 *
 *	KVM		a vCPU, the VM		its statistics descriptors (kvm_stats.h)
 *	vCPU		exits to this process	plain counters of the vCPU's thread (vcpu.h)
 *	queue		struct vq_stats		plain counters of the queue's thread (vq.h)
 *
 * Each counter has one writer, and is read here as it is at that moment: two of them may be a little apart.
 */
#include "vmm/control_internal.h"
#include "vmm/kvm_stats.h"

#include <linux/kvm.h>
#include <string.h>
#include <time.h>

/* ---- query-stats ---- */

/* What is wanted of it. */
struct selection {
	json_t *names; /* of the provider kvm, set_of(); NULL: all */
	json_t *list;  /* to be filled */
};

/* The strings in `list` as the keys of an object: a client may send thousands. NULL: there is no list. */
static json_t *set_of(const json_t *list)
{
	json_t *set = list ? json_object() : NULL;

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *s = json_string_value(json_array_get(list, i));

		if (s)
			json_object_set_new(set, s, json_integer(0));
	}
	return set;
}

static bool is_wanted(const json_t *set, const char *name)
{
	return !set || json_object_get(set, name);
}

static json_t *stat_value(const struct kvm_stat *s)
{
	json_t *list;

	if (s->n == 1)
		return json_integer(s->value[0]);
	list = json_array();
	for (u32 i = 0; i < s->n; i++)
		json_array_append_new(list, json_integer(s->value[i]));
	return list;
}

static void add_stat(void *ctx, const struct kvm_stat *s)
{
	struct selection *sel = ctx;

	if (is_wanted(sel->names, s->name))
		json_array_append_new(
			sel->list, json_pack("{s:s,s:o}", "name", s->name, "value", stat_value(s)));
}

/* Find what is wanted of the provider kvm. Returns 1, 0: nothing is, or -1 after call_fail(). */
static int select_provider(struct control_call *call, struct selection *sel)
{
	json_t *providers = json_object_get(call->args, "providers");

	sel->names = NULL;
	if (!providers)
		return 1;
	for (size_t i = 0; i < json_array_size(providers); i++) {
		json_t *row = json_array_get(providers, i);
		const char *name = json_string_value(json_object_get(row, "provider"));
		json_t *names = json_object_get(row, "names");

		if (!name || (names && !json_is_array(names))) {
			call_fail(call, "GenericError",
				  "'providers' has to be a list of {\"provider\": \"kvm\"}");
			return -1;
		}
		if (strcmp(name, "kvm") == 0) {
			sel->names = set_of(names);
			return 1;
		}
	}
	return 0;
}

/* The statistics of CPU `i`, or of the VM (-1), as one more result. */
static void add_result(struct control_call *call, struct selection *sel, json_t *results, int i)
{
	char path[40];
	json_t *result;

	sel->list = json_array();
	if (call->ops->kvm_stats(call->machine, i, add_stat, sel)) {
		json_decref(sel->list);
		return;
	}
	result = json_pack("{s:s,s:o}", "provider", "kvm", "stats", sel->list);
	if (i >= 0) {
		control_cpu_path(i, path);
		json_object_set_new(result, "qom-path", json_string(path));
	}
	json_array_append_new(results, result);
}

json_t *control_query_stats(struct control_call *call)
{
	const char *target = json_string_value(json_object_get(call->args, "target"));
	json_t *vcpus = json_object_get(call->args, "vcpus"), *results;
	bool vm = strcmp(target, "vm") == 0;
	struct selection sel;
	int wanted;

	if (!vm && strcmp(target, "vcpu") != 0)
		return call_fail(call, "GenericError", "there is no target '%s': give vm or vcpu",
				 target);
	if (vm && vcpus)
		return call_fail(call, "GenericError", "'vcpus' is for the target vcpu");
	wanted = select_provider(call, &sel);
	if (wanted < 0)
		return NULL;
	vcpus = set_of(vcpus);
	results = json_array();
	if (wanted && vm)
		add_result(call, &sel, results, -1);
	for (u32 i = 0; wanted && !vm && i < call->ops->ncpus(call->machine); i++) {
		char path[40];

		control_cpu_path(i, path);
		if (is_wanted(vcpus, path))
			add_result(call, &sel, results, i);
	}
	json_decref(vcpus);
	json_decref(sel.names);
	return results;
}

static json_t *schema_value(const struct kvm_stat *s)
{
	static const char *const types[] = { "cumulative", "instant", "peak", "linear-histogram",
					     "log2-histogram" };
	static const char *const units[] = { NULL, "bytes", "seconds", "cycles", "boolean" };
	u32 type = (s->flags & KVM_STATS_TYPE_MASK) >> KVM_STATS_TYPE_SHIFT;
	u32 unit = (s->flags & KVM_STATS_UNIT_MASK) >> KVM_STATS_UNIT_SHIFT;
	bool power_of_two = (s->flags & KVM_STATS_BASE_MASK) == KVM_STATS_BASE_POW2;
	json_t *o;

	if (type >= ARRAY_SIZE(types) || unit >= ARRAY_SIZE(units))
		return NULL; /* newer than we are */
	o = json_pack("{s:s,s:s,s:i}", "name", s->name, "type", types[type], "exponent",
		      s->exponent);
	if (units[unit])
		json_object_set_new(o, "unit", json_string(units[unit]));
	if (s->exponent)
		json_object_set_new(o, "base", json_integer(power_of_two ? 2 : 10));
	if (s->bucket_size)
		json_object_set_new(o, "bucket-size", json_integer(s->bucket_size));
	return o;
}

static void add_schema(void *ctx, const struct kvm_stat *s)
{
	json_t *value = schema_value(s);

	if (value)
		json_array_append_new(ctx, value);
}

json_t *control_query_stats_schemas(struct control_call *call)
{
	const char *provider = json_string_value(json_object_get(call->args, "provider"));
	json_t *results = json_array();

	for (int i = -1; i < 1 && (!provider || strcmp(provider, "kvm") == 0); i++) {
		json_t *list = json_array();

		if (call->ops->kvm_stats(call->machine, i, add_schema, list)) {
			json_decref(list);
			continue;
		}
		json_array_append_new(results,
				      json_pack("{s:s,s:s,s:o}", "provider", "kvm", "target",
						i < 0 ? "vm" : "vcpu", "stats", list));
	}
	return results;
}

/* ---- x-minivmm-stats ---- */

/* Histograms are for query-stats. */
static void add_scalar(void *ctx, const struct kvm_stat *s)
{
	if (s->n == 1)
		json_object_set_new(ctx, s->name, json_integer(s->value[0]));
}

static json_t *kvm_scalars(struct control_call *call, int i)
{
	json_t *o = json_object();

	call->ops->kvm_stats(call->machine, i, add_scalar, o);
	return o;
}

static json_t *cpu_stats(struct control_call *call, u32 i)
{
	json_t *exits = json_object(), *kvm = kvm_scalars(call, i), *o, *halts;
	struct control_cpu cpu;

	call->ops->cpu(call->machine, i, &cpu);
	for (u32 r = 0; r < cpu.nexits; r++)
		json_object_set_new(exits, cpu.exit_name[r], json_integer(cpu.exits[r]));
	o = json_pack("{s:i,s:i,s:o,s:o}", "cpu-index", i, "thread-id", cpu.tid, "exits", exits,
		      "kvm", kvm);
	halts = json_object_get(kvm, "halt_exits");
	if (halts)
		json_object_set_new(o, "halts", json_incref(halts));
	return o;
}

static json_t *batches(const struct vq_stats *s)
{
	json_t *list = json_array();

	for (u32 i = 0; i < VQ_BATCHES; i++)
		json_array_append_new(list, json_integer(s->batch[i]));
	return list;
}

/*
 * A kick that the driver saved itself is one that we do not see. What we see is how many chains came
 * without one of their own.
 */
static u64 kicks_saved(const struct vq_stats *s)
{
	return s->chains > s->kicks ? s->chains - s->kicks : 0;
}

static json_t *queue_stats(struct control_call *call, u32 device, u32 index)
{
	struct control_queue q = { .name = "" };
	const struct vq_stats *s = &q.ring;
	json_t *o;

	call->ops->queue(call->machine, device, index, &q);
	o = json_pack("{s:i,s:s,s:i,s:b}", "queue", index, "name", q.name, "size", q.size,
		      "counted", q.inproc);
	if (!q.inproc)
		return o;
	json_object_set_new(o, "chains", json_integer(s->chains));
	json_object_set_new(o, "out-bytes", json_integer(s->out_bytes));
	json_object_set_new(o, "in-bytes", json_integer(s->in_bytes));
	json_object_set_new(o, "kicks", json_integer(s->kicks));
	json_object_set_new(o, "kicks-saved", json_integer(kicks_saved(s)));
	json_object_set_new(o, "interrupts", json_integer(s->calls));
	json_object_set_new(o, "interrupts-saved", json_integer(s->no_calls));
	json_object_set_new(o, "ring-full", json_integer(s->full));
	json_object_set_new(o, "ring-empty", json_integer(s->empty));
	json_object_set_new(o, "batches", batches(s));
	if (q.net) {
		json_object_set_new(o, "frames", json_integer(q.frames));
		json_object_set_new(o, "frame-bytes", json_integer(q.bytes));
		json_object_set_new(o, "dropped", json_integer(q.dropped));
		json_object_set_new(o, "filtered", json_integer(q.filtered));
	}
	return o;
}

static json_t *device_stats(struct control_call *call, u32 i)
{
	json_t *queues = json_array(), *o;
	struct control_device d;

	call->ops->device(call->machine, i, &d);
	for (u32 q = 0; q < d.nqueues; q++)
		json_array_append_new(queues, queue_stats(call, i, q));
	o = json_pack("{s:s,s:s,s:s,s:o}", "device", d.cfg->id, "type", d.type, "datapath",
		      d.datapath, "queues", queues);
	if (d.cfg->switches)
		json_object_set_new(o, "switches", json_integer(d.switches));
	if (d.switches) {
		json_object_set_new(o, "last-gap-us", control_gap(&d.last_gap));
		json_object_set_new(o, "longest-gap-us",
				    json_integer(control_microseconds(d.longest_gap)));
	}
	return o;
}

json_t *control_x_stats(struct control_call *call)
{
	const char *name = json_string_value(json_object_get(call->args, "device"));
	json_t *cpus = json_array(), *devices = json_array();
	struct timespec now;
	int only = name ? control_find_device(call, name) : -1;

	if (name && only < 0) {
		json_decref(cpus);
		json_decref(devices);
		return NULL;
	}
	for (u32 i = 0; !name && i < call->ops->ncpus(call->machine); i++)
		json_array_append_new(cpus, cpu_stats(call, i));
	for (u32 i = 0; i < call->ops->ndevices(call->machine); i++) {
		if (only < 0 || (u32)only == i)
			json_array_append_new(devices, device_stats(call, i));
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	return json_pack("{s:I,s:o,s:o,s:o}", "time-ns",
			 (json_int_t)(now.tv_sec * 1000000000LL + now.tv_nsec), "vm",
			 kvm_scalars(call, -1), "cpus", cpus, "devices", devices);
}
