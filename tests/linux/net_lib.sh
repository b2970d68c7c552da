# SPDX-License-Identifier: MIT
#
# net_lib.sh - what the suites with networks share. To be sourced after lib.sh.
#
# minivmm runs in a network namespace of the test's own, where the host is 10.0.N.1 on tap tN and the
# guest 10.0.N.2. The suite calls open_network, unless it is only to hand its tests to the lab host.

readonly MIB=$((1 << 20)) GIB=$((1 << 30))

ns=minivmm-test-$$

# The namespace, and the program in it.
open_network() {
	ip netns add "$ns"
	trap 'close_network; rm -rf "$work"' EXIT
	in_ns sysctl -q net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
	ip -n "$ns" link set lo up
	printf '#!/bin/sh\nexec ip netns exec %s %s "$@"\n' "$ns" "$vmm" >"$work/vmm"
	chmod +x "$work/vmm"
	vmm=$work/vmm
}

# No test sees the traffic of the one before.
begin_test() {
	local pid
	for pid in $(ip netns pids "$ns" 2>/dev/null); do
		kill -9 "$pid" 2>/dev/null || true
		within 60 gone "$pid" || true # until then its tap is in use
	done
}

close_network() {
	begin_test
	ip netns del "$ns"
	rm -rf "/etc/netns/$ns"
}

in_ns() { ip netns exec "$ns" "$@"; }

# serve_iperf: an iperf3 server, until the test's end.
serve_iperf() {
	in_ns iperf3 -s >"$work/iperf" 2>&1 &
	within 60 in_ns grep -qi ':1451 .* 0A ' /proc/net/tcp6 /proc/net/tcp || true
}

# new_tap N [OPTION]...: tap tN, for as long as the test runs.
new_tap() {
	ip -n "$ns" tuntap del "t$1" mode tap 2>/dev/null || true
	ip -n "$ns" tuntap del "t$1" mode tap multi_queue 2>/dev/null || true
	ip -n "$ns" tuntap add "t$1" mode tap "${@:2}"
	ip -n "$ns" addr add "10.0.$1.1/24" dev "t$1"
	ip -n "$ns" link set "t$1" up
}

mac() { echo "52:54:00:00:00:0$1"; }

# nic N [SETTING]...: the settings of --net for tap tN.
nic() {
	local IFS=,
	echo "tap=t$1,mac=$(mac "$1")${2:+,${*:2}}"
}

# What every guest's script begins with.
readonly GUEST='
set -e
# The interface with this number, up and with its address.
nic() {
	for d in /sys/class/net/*; do
		[ "$(cat $d/address)" = "52:54:00:00:00:0$1" ] || continue
		ip addr add "10.0.$1.2/24" dev "${d##*/}" && ip link set "${d##*/}" up && echo "${d##*/}"
	done
}
# The host says that it has done its part.
turn() {
	echo "turn $1"
	read -r _
}
'

# guest KERNEL [OPTION]...: guest_script() with what all of them need.
guest() {
	{ echo "$GUEST"; cat; } | guest_script "$1" --add build/tests/netload:/bin/netload "${@:2}"
}

# What the script of a guest under a flood of pings begins with. Its own are by a socket that is given their answers
# alone (busybox's takes the flood as well, and loses them in it), and each of them has to be answered.
readonly FLOODED='
echo 0 0 >/proc/sys/net/ipv4/ping_group_range
# The link of $dev is up. Neither side has to ask for the other one'"'"'s address.
settle() {
	until [ "$(cat /sys/class/net/$dev/operstate)" = up ]; do sleep 0.1; done
	ip link show $dev >/dev/null # waits for who is setting it up
	arp -s 10.0.0.1 52:54:00:00:01:00 -i $dev
}
answered() {
	iping -q -c 20 -i 0.05 -W 10 10.0.0.1 >/tmp/pings || true
	grep received /tmp/pings
	grep -q " 20 received" /tmp/pings && echo "$*"
}
'

# flooded_guest KERNEL [OPTION]...: guest() with that.
flooded_guest() {
	{ echo "$FLOODED"; cat; } | guest "$1" --add /bin/ping:/bin/iping "${@:2}"
}

# The flood, until the process $flood ends.
start_flood() {
	ip netns exec "$ns" ping -q -f -l 20 10.0.0.2 >/dev/null 2>&1 &
	flood=$!
}

# start_guest KERNEL INITRD ARG...
start_guest() {
	start --kernel "$(dir_of "$1")/vmlinuz" --initrd "$2" --cmdline quiet --memory 256M "${@:3}"
}

# The guest's script ran to its end, and its kernel complained of nothing.
script_done() {
	[[ $status -eq 0 ]] && grep -q '^minivmm-guest: rc exit 0$' "$work/text" &&
		! grep -E 'WARNING|BUG:|Call Trace|Oops|panic|NETDEV WATCHDOG' "$work/text"
}

ping_guest() { in_ns ping -q -c 3 -i 0.2 -W 10 "${@:2}" "10.0.$1.2" >>"$work/ping" 2>&1; }

# Send so many bytes to the guest, once it listens at the port.
send_to() { # N PORT BYTES
	seen "^listening $2" && timeout "$limit" ip netns exec "$ns" build/tests/netload send "10.0.$1.2" "$2" "$3" \
		>>"$work/send" 2>&1
}

# The host need not ask for the guest's address. A link that goes down forgets it.
know_guest() { ip -n "$ns" neigh replace 10.0.0.2 lladdr "$(mac 0)" dev t0 nud permanent; }
