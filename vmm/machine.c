// SPDX-License-Identifier: MIT
/*
 * machine.c - build a machine, run it, reset it, take it apart.
 *
 *	machine_create()   memory, buses, interrupt chip, main loop
 *	  life_begin()	     VM and vCPUs; load the kernel; (the first time) make the devices; go
 *	    loop_run()	       until somebody calls machine_end()
 *	  life_end()	     stop the vCPUs, reset the devices, close the VM
 *	  ... the next life, if the guest wanted a reset
 *	machine_destroy()
 *
 * How it works: memory, buses, devices and their connections to the world live as long as the
 * machine; the KVM virtual machine lives from one reset to the next. So a reset needs no list of
 * what KVM might remember, and a device only has to know its own registers.
 *
 * The vCPUs set themselves up on their own threads while this one loads the kernel.
 *
 * Threads: the main loop runs on the calling thread. machine_end() may come from any thread.
 */
#include "vmm/machine.h"
#include "minivmm/bus.h"
#include "minivmm/devices.h"
#include "minivmm/log.h"
#include "minivmm/trace.h"
#include "vmm/control.h"
#include "vmm/footprint.h"
#include "vmm/machine_auto.h"
#include "vmm/machine_child.h"
#include "vmm/machine_switch.h"
#include "vmm/vcpu.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define STATUS_OK      0
#define STATUS_HOST    1
#define STATUS_USAGE   2
#define STATUS_CRASHED 3

void machine_end(struct machine *m, enum machine_end why)
{
	enum machine_end now = END_NONE;

	while (!atomic_compare_exchange_weak(&m->end, &now, why)) {
		/* The guest may want to go on with a reset; the user's wish that it ends wins. */
		if (now != END_NONE &&
		    !(now == END_RESET && (why == END_KILLED || why == END_QUIT)))
			return;
	}
	vcpus_request_end(m->vcpus);
	eventfd_write(m->ended.fd, 1);
}

/* ---- pause ---- */

static void pause_done(struct machine *m)
{
	m->pause = MACHINE_PAUSED;
	if (m->control)
		control_stopped(m->control);
}

void machine_pause(struct machine *m)
{
	if (m->pause != MACHINE_RUNS)
		return;
	m->pause = MACHINE_PAUSING;
	vcpus_request_pause(m->vcpus);
	machine_parked(m); /* they may never have left since the last time */
}

void machine_resume(struct machine *m)
{
	if (m->pause != MACHINE_PAUSED)
		return;
	m->pause = MACHINE_RUNS;
	vcpus_resume(m->vcpus);
}

/* ---- what other threads tell the main loop ---- */

enum { NOTICE_PARKED = 1, NOTICE_BUTTON = 2, NOTICE_TRACE = 4 };

static void notice(struct machine *m, u32 what)
{
	atomic_fetch_or(&m->notices, what);
	eventfd_write(m->noticed.fd, 1);
}

void machine_parked(struct machine *m)
{
	notice(m, NOTICE_PARKED);
}

void machine_press_button(struct machine *m)
{
	power_press_button(m->power_dev);
	notice(m, NOTICE_BUTTON);
}

void machine_notice_trace(struct machine *m)
{
	notice(m, NOTICE_TRACE);
}

static void noticed_ready(struct loop_fd *lf, u32 events)
{
	struct machine *m = container_of(lf, struct machine, noticed);
	eventfd_t n;
	u32 what;

	(void)events;
	eventfd_read(lf->fd, &n);
	what = atomic_exchange(&m->notices, 0);
	/* They also park before the machine starts. */
	if (what & NOTICE_PARKED && m->pause == MACHINE_PAUSING && vcpus_hold(m->vcpus))
		pause_done(m);
	if (what & NOTICE_BUTTON)
		control_event(m->control, "POWERDOWN");
	if (what & NOTICE_TRACE)
		machine_trace_written(m);
}

/* ---- what ends a run ---- */

/* A device asks, on a vCPU's thread. */
static void power_request(struct power *p, enum power_event event)
{
	struct machine *m = container_of(p, struct machine, power);

	machine_end(m, event == POWER_RESET ? END_RESET : END_OFF);
}

static void ended_ready(struct loop_fd *lf, u32 events)
{
	struct machine *m = container_of(lf, struct machine, ended);
	eventfd_t n;

	(void)events;
	eventfd_read(lf->fd, &n);
	loop_quit(m->loop);
}

static void signals_ready(struct loop_fd *lf, u32 events)
{
	struct machine *m = container_of(lf, struct machine, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(lf->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGWINCH) {
		machine_window_changed(m);
		return;
	}
	if (info.ssi_signo == SIGUSR1) {
		machine_report_net(m);
		return;
	}
	if (m->signal) {
		m->signal = info.ssi_signo;
		machine_end(m, END_KILLED);
		return;
	}
	m->signal = info.ssi_signo;
	log_info("SIG%s: the power button is pressed; once more stops the machine at once",
		 sigabbrev_np(m->signal));
	machine_press_button(m);
}

/* Ctrl-A, then a key. */
static void stream_command(struct stream *s, char key)
{
	struct machine *m = s->command_arg;

	switch (key) {
	case 'x':
		machine_end(m, END_QUIT);
		break;
	case 'p':
		machine_press_button(m);
		break;
	default:
		fprintf(stderr, "\nCtrl-A x  end minivmm\nCtrl-A p  press the power button\n"
				"Ctrl-A h  this help\nCtrl-A Ctrl-A  send Ctrl-A\n");
	}
}

int machine_open_stream(struct machine *m, struct stream *s, const struct stream_config *cfg)
{
	s->command = stream_command;
	s->command_arg = m;
	switch (cfg->kind) {
	case STREAM_STDIO:
		return stream_open_stdio(s);
	case STREAM_PTY:
		return stream_open_pty(s, NULL);
	case STREAM_FILE:
		return stream_open_file(s, cfg->path);
	case STREAM_UNIX:
		return stream_open_unix(s, cfg->path);
	case STREAM_NONE:
		break;
	}
	return 0;
}

static int watch_signals(struct machine *m)
{
	sigset_t set;
	int err;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGWINCH);
	m->signals = (struct loop_fd){ .fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
				       .ready = signals_ready };
	m->ended = (struct loop_fd){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				     .ready = ended_ready };
	m->noticed = (struct loop_fd){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				       .ready = noticed_ready };
	if (m->signals.fd < 0 || m->ended.fd < 0 || m->noticed.fd < 0)
		return -errno;
	err = loop_add(m->loop, &m->signals, EPOLLIN);
	if (!err)
		err = loop_add(m->loop, &m->ended, EPOLLIN);
	return err ? err : loop_add(m->loop, &m->noticed, EPOLLIN);
}

static int start_iothreads(struct machine *m)
{
	m->iothread = calloc(m->cfg->iothreads + 1, sizeof(*m->iothread));
	if (!m->iothread)
		return -ENOMEM;
	while (m->niothreads < m->cfg->iothreads) {
		char name[16];
		int err = loop_create(&m->iothread[m->niothreads]);

		if (err)
			return err;
		snprintf(name, sizeof(name), "iothread%u", m->niothreads);
		err = loop_start(m->iothread[m->niothreads], name);
		if (err) {
			loop_destroy(m->iothread[m->niothreads]);
			return err;
		}
		m->niothreads++;
	}
	return 0;
}

static void stop_iothreads(struct machine *m)
{
	while (m->niothreads) {
		struct loop *l = m->iothread[--m->niothreads];

		loop_stop(l);
		loop_destroy(l);
	}
	free(m->iothread);
}

static int add_ram(struct machine *m)
{
	struct span ram[MEM_REGIONS_MAX];
	int n = arch_ram_layout(m->cfg->memory, ram);

	if (n < 0)
		return n;
	for (int i = 0; i < n; i++) {
		int err = mem_add_ram(&m->mem, ram[i].base, ram[i].size, m->cfg->hugepages);

		if (err) {
			log_err("--memory: %llu MiB of guest memory can't be had: %s%s",
				(unsigned long long)(m->cfg->memory / MIB), strerror(-err),
				m->cfg->hugepages ? "; see HugePages_Free in /proc/meminfo and set "
						    "/proc/sys/vm/nr_hugepages"
						  : "");
			return err;
		}
	}
	arch_pci_map(ram, n, &m->platform.pci);
	return 0;
}

static int check_cpus(struct machine *m)
{
	u32 max = kvm_max_cpus(m->vm.kvm_fd);

	if (m->cfg->cpus <= max)
		return 0;
	log_err("--cpus %u: KVM allows at most %u on this machine", m->cfg->cpus, max);
	return -EINVAL;
}

/* All but devices, VM and vCPUs. */
static int machine_create(struct machine *m, const struct config *cfg)
{
	int err;

	*m = (struct machine){ .cfg = cfg, .vm = { .kvm_fd = -1, .vm_fd = -1 } };
	m->signals.fd = m->ended.fd = m->noticed.fd = m->auto_timer.fd = -1;
	m->power.request = power_request;
	m->platform.cpus = cfg->cpus;
	mem_init(&m->mem);

	m->vm.kvm_fd = kvm_open();
	if (m->vm.kvm_fd < 0)
		return m->vm.kvm_fd;
	err = check_cpus(m);
	m->cpu_track = calloc(cfg->cpus, sizeof(*m->cpu_track));
	if (!err && !m->cpu_track)
		err = -ENOMEM;
	if (!err)
		err = add_ram(m);
	if (err)
		return err;
	err = bus_create(&m->pio, BUS_PIO);
	if (!err)
		err = bus_create(&m->mmio, BUS_MMIO);
	if (!err)
		err = irqchip_create(&m->irqchip);
	if (!err)
		err = loop_create(&m->loop);
	if (!err)
		err = watch_signals(m);
	if (!err)
		err = start_iothreads(m);
	if (err) {
		log_err("the machine can't be made: %s", strerror(-err));
		return err;
	}
	stream_init(&m->serial, m->loop);
	m->env = (struct machine_env){
		.mem = &m->mem,
		.pio = m->pio,
		.mmio = m->mmio,
		.irqchip = m->irqchip,
		.loop = m->loop,
		.io_loop = m->niothreads ? m->iothread : &m->loop,
		.nio_loops = m->niothreads ? m->niothreads : 1,
		.power = &m->power,
	};
	return board_describe(m);
}

void machine_add(struct machine *m, struct device *d)
{
	d->next = m->devices;
	m->devices = d;
}

/* The board's devices, and who controls them. The terminal becomes raw last. */
static int build(struct machine *m)
{
	int err = machine_open_control(m);

	if (!err)
		err = machine_open_trace(m);
	if (!err)
		err = machine_begin_auto(m);
	if (!err)
		err = board_build(m);
	return err ? err : machine_begin_trace(m);
}

/* From nothing, or from where life_end() left it, to a running guest. */
static int life_begin(struct machine *m)
{
	const struct boot_files files = {
		.kernel = m->cfg->kernel,
		.initrd = m->cfg->initrd,
		.cmdline = m->cfg->cmdline,
		.data_dir = m->cfg->data_dir,
	};
	struct boot_entry entry;
	int err;

	atomic_store(&m->end, END_NONE);
	err = vm_create(&m->vm, m->vm.kvm_fd, &m->mem, m->cfg->cpus);
	if (!err)
		err = vcpus_create(&m->vcpus, m);
	if (!err)
		err = arch_boot(&m->mem, &files, &m->platform, &entry);
	if (!err && !m->devices) /* not before the files have turned out good */
		err = build(m);
	if (!err)
		err = pci_host_assign(m->pci);
	if (!err)
		err = machine_begin_captures(m);
	if (err)
		return err;
	irqchip_attach(m->irqchip, &vm_irqchip_ops, &m->vm);
	bus_attach_vm(m->pio, m->vm.vm_fd);
	bus_attach_vm(m->mmio, m->vm.vm_fd);
	bus_attach_map(m->mmio, &vm_map_ops, &m->vm);
	footprint_trim();
	err = vcpus_start(m->vcpus, &entry);
	if (err)
		return err;
	if (m->pause == MACHINE_RUNS)
		vcpus_resume(m->vcpus);
	else if (m->pause == MACHINE_PAUSING) /* the reset was quicker: nothing has run since */
		pause_done(m);
	return 0;
}

static void life_end(struct machine *m)
{
	vcpus_destroy(m->vcpus);
	m->vcpus = NULL;
	for (struct device *d = m->devices; d; d = d->next)
		d->ops->reset(d);
	if (m->irqchip)
		irqchip_attach(m->irqchip, NULL, NULL);
	if (m->pio)
		bus_attach_vm(m->pio, -1);
	if (m->mmio) {
		bus_attach_vm(m->mmio, -1);
		bus_attach_map(m->mmio, NULL, NULL);
	}
	vm_destroy(&m->vm);
}

static void close_watch(struct machine *m, struct loop_fd *lf)
{
	if (lf->fd < 0)
		return;
	loop_del(m->loop, lf);
	close(lf->fd);
}

static void machine_destroy(struct machine *m)
{
	machine_end_trace(m);
	control_destroy(m->control);
	while (m->devices) {
		struct device *d = m->devices;

		m->devices = d->next;
		d->ops->destroy(d);
	}
	machine_end_switching(m);
	machine_end_auto(m);
	machine_end_children(m);
	stop_iothreads(m);
	stream_close(&m->serial);
	for (u32 i = 0; i < m->nports; i++)
		stream_close(&m->port[i]);
	free(m->port);
	close_watch(m, &m->signals);
	close_watch(m, &m->ended);
	close_watch(m, &m->noticed);
	loop_destroy(m->loop);
	trace_destroy(m->trace);
	free(m->cpu_track);
	irqchip_destroy(m->irqchip);
	bus_destroy(m->pio);
	bus_destroy(m->mmio);
	mem_destroy(&m->mem);
	if (m->vm.kvm_fd >= 0)
		close(m->vm.kvm_fd);
}

static int status_of(struct machine *m)
{
	switch (atomic_load(&m->end)) {
	case END_CRASHED:
		return STATUS_CRASHED;
	case END_KILLED:
		return 128 + m->signal;
	default:
		return STATUS_OK;
	}
}

int machine_run(const struct config *cfg)
{
	struct machine m;
	int status = STATUS_USAGE; /* whatever stops us before the guest runs */
	int err = machine_create(&m, cfg);

	if (!err)
		err = life_begin(&m);
	while (!err) {
		loop_run(m.loop);
		status = status_of(&m);
		machine_tell_end(&m);
		if (atomic_load(&m.end) != END_RESET || cfg->no_reboot)
			break;
		life_end(&m);
		status = STATUS_HOST;
		err = mem_discard(&m.mem);
		if (err)
			log_err("reset: the guest's memory: %s", strerror(-err));
		else
			err = life_begin(&m);
	}
	life_end(&m);
	machine_destroy(&m);
	return status;
}
