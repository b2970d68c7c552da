// SPDX-License-Identifier: MIT
/*
 * main.c - run the unit tests. CK_RUN_SUITE=name runs one suite, CK_RUN_CASE one of its cases,
 * CK_FORK=no keeps all in one process for a debugger. tests/unit/run makes ok lines of the output.
 */
#include "tests/unit/unit.h"

#include <signal.h>
#include <stdlib.h>

int main(void)
{
	SRunner *sr = srunner_create(base_suite());
	int failed;

	signal(SIGPIPE, SIG_IGN); /* as the program does */
	srunner_add_suite(sr, log_suite());
	srunner_add_suite(sr, mem_suite());
	srunner_add_suite(sr, bus_suite());
	srunner_add_suite(sr, loop_suite());
	srunner_add_suite(sr, irq_suite());
	srunner_add_suite(sr, stream_suite());
	srunner_add_suite(sr, stream_more_suite());
	srunner_add_suite(sr, stream_pty_suite());
	srunner_add_suite(sr, stream_unix_suite());
	srunner_add_suite(sr, pci_suite());
	srunner_add_suite(sr, msix_suite());
	srunner_add_suite(sr, testdev_suite());
	srunner_add_suite(sr, virtio_suite());
	srunner_add_suite(sr, vhost_user_server_suite());
	srunner_add_suite(sr, vhost_user_server_hostile_suite());
	srunner_add_suite(sr, mem_log_suite());
	srunner_add_suite(sr, vhost_user_log_suite());
	srunner_add_suite(sr, sandbox_suite());
	srunner_add_suite(sr, virtio_queue_suite());
	srunner_add_suite(sr, switch_suite());
	srunner_add_suite(sr, switch_paths_suite());
	srunner_add_suite(sr, virtio_pci_suite());
	srunner_add_suite(sr, virtio_mmio_suite());
	srunner_add_suite(sr, rng_suite());
	srunner_add_suite(sr, vhost_user_suite());
	srunner_add_suite(sr, vhost_user_reconnect_suite());
	srunner_add_suite(sr, vhost_user_hostile_suite());
	srunner_add_suite(sr, vhost_user_relay_suite());
	srunner_add_suite(sr, vhost_user_relay_hostile_suite());
	srunner_add_suite(sr, vhost_user_notify_suite());
	srunner_add_suite(sr, image_suite());
	srunner_add_suite(sr, image_more_suite());
	srunner_add_suite(sr, image_uring_suite());
	srunner_add_suite(sr, blk_suite());
	srunner_add_suite(sr, blk_more_suite());
	srunner_add_suite(sr, conformance_suite());
	srunner_add_suite(sr, console_suite());
	srunner_add_suite(sr, console_ports_suite());
	srunner_add_suite(sr, console_more_suite());
	srunner_add_suite(sr, peer_tap_suite());
	srunner_add_suite(sr, peer_socket_suite());
	srunner_add_suite(sr, peer_echo_suite());
	srunner_add_suite(sr, peer_user_suite());
	srunner_add_suite(sr, pcap_suite());
	srunner_add_suite(sr, rate_suite());
	srunner_add_suite(sr, net_suite());
	srunner_add_suite(sr, net_rx_suite());
	srunner_add_suite(sr, net_ctrl_suite());
	srunner_add_suite(sr, net_link_suite());
	srunner_add_suite(sr, vhost_net_suite());
	srunner_add_suite(sr, auto_path_suite());
	srunner_add_suite(sr, vhost_user_blk_suite());
	srunner_add_suite(sr, vhost_user_net_suite());
	srunner_add_suite(sr, uart_suite());
	srunner_add_suite(sr, rtc_suite());
	srunner_add_suite(sr, power_suite());
	srunner_add_suite(sr, vq_suite());
	srunner_add_suite(sr, vq_notify_suite());
	srunner_add_suite(sr, vq_inflight_suite());
	srunner_add_suite(sr, vq_hostile_suite());
	srunner_add_suite(sr, vq_stats_suite());
	srunner_add_suite(sr, vq_stress_suite());
	srunner_add_suite(sr, initrd_suite());
	srunner_add_suite(sr, boot_suite());
	srunner_add_suite(sr, bzimage_suite());
	srunner_add_suite(sr, elf_suite());
	srunner_add_suite(sr, aml_suite());
	srunner_add_suite(sr, acpi_suite());
	srunner_add_suite(sr, config_suite());
	srunner_add_suite(sr, config_devices_suite());
	srunner_add_suite(sr, config_net_suite());
	srunner_add_suite(sr, config_daemon_suite());
	srunner_add_suite(sr, control_suite());
	srunner_add_suite(sr, trace_suite());
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
