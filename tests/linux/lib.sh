# SPDX-License-Identifier: MIT
#
# lib.sh - what the suites with Linux guests share. To be sourced, in the top directory.
#
# Where this machine's KVM can boot Linux the tests run here; else the whole suite runs in one go in
# the lab host (tests/lab/lab), which is where its script then runs itself again.
#
# A suite is a script that sources this file, defines functions test_NAME, and ends with
#
#	run_tests NAME...
#
# TESTS="boots shell" runs some of them.
#
# A guest runs a script of the test's own if the test gives it one: a second cpio archive, appended
# to the initramfs, brings /etc/minivmm.rc.

# shellcheck source=tests/tap.sh
source tests/tap.sh

vmm=${MINIVMM:-$PWD/minivmm}
initramfs=$PWD/build/initramfs
limit=${LIMIT:-90} # seconds a guest may take; an emulated host on a busy machine is slow

if ! "$vmm" check >/dev/null && [[ ! ${IN_LAB-} ]]; then
	tests/lab/kernels 6.1 6.12 host >/dev/null
	guests/linux/build "$initramfs" >/dev/null
	echo "# this machine's KVM can't boot Linux: in the lab host"
	# 125: the emulated host died, which says nothing about the guests; it does, once in a long while.
	for _ in 1 2; do
		status=0
		tests/lab/lab --quiet --timeout 1500 -- \
			env IN_LAB=1 MINIVMM="$vmm" LIMIT="$limit" TESTS="${TESTS-}" "$PWD/tests/linux/${0##*/}" || status=$?
		[[ $status -eq 125 ]] || exit "$status"
		echo "# the lab host failed"
	done
	exit "$status"
fi

kernels=$(tests/lab/kernels 6.1 6.12)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The directory of a kernel, and our initramfs for it.
dir_of() { sed -n "s|\(.*/$1\)\$|\1|p" <<<"$kernels"; }
initramfs_of() { echo "$initramfs/initramfs-$(cat "$(dir_of "$1")/release").cpio"; }

# guest_script KERNEL [OPTION]...: an initrd for it whose guest runs the script on standard input;
# the options are mkinitramfs's.
guest_script() {
	local rc=$work/rc.sh
	{ echo '#!/bin/sh'; cat; } >"$rc"
	chmod +x "$rc"
	guests/linux/mkinitramfs --modules "$(dir_of "$1")/lib/modules/$(cat "$(dir_of "$1")/release")" \
		--rc "$rc" "${@:2}" "$work/rc.cpio" >/dev/null
	echo "$work/rc.cpio"
}

# boot ARGS...: run a guest to its end with the input given; its output in $work/out, its exit
# status in $status.
boot() {
	status=0
	timeout -k 2 "$limit" "$vmm" "$@" >"$work/out" 2>"$work/err" || status=$?
	tr -d '\r' <"$work/out" >"$work/text"
	cat "$work/err" >>"$work/text"
}

# Did the guest come up with so many CPUs, end as expected, and its kernel complain of nothing?
came_up() {
	local cpus=$1 expected=$2
	[[ $status -eq $expected ]] && grep -q "^minivmm-guest: up, Linux .*, $cpus CPUs" "$work/text" &&
		! grep -E 'WARNING|BUG:|Call Trace|Oops|panic' "$work/text"
}

verdict() { # NAME COMMAND...
	local name=$1
	shift
	if "$@"; then pass "$name"; else
		echo "status $status" >>"$work/text"
		fail "$name" "$work/text"
	fi
}

# start ARGS...: run a guest in the background, its standard input a pipe that say() writes to.
start() {
	rm -f "$work/in"
	mkfifo "$work/in"
	: >"$work/out"
	# A background job of a script ignores SIGINT, and minivmm would go on ignoring it.
	env --default-signal=INT "$vmm" "$@" <"$work/in" >"$work/out" 2>"$work/err" &
	pid=$!
	exec 9>"$work/in"
}

say() { printf '%s\n' "$1" >&9; }

# Wait until the output matches `count` times.
seen() {
	local pattern=$1 count=${2-1} end=$((SECONDS + limit))
	until [[ $(tr -d '\r' <"$work/out" | grep -cE "$pattern") -ge $count ]]; do
		kill -0 "$pid" 2>/dev/null && [[ $SECONDS -lt $end ]] || return 1
		sleep 0.1
	done
}

# Press the power button by a SIGTERM and wait until minivmm has taken it: a second one that comes
# before would be the same signal still pending, not another.
press_button() {
	local end=$((SECONDS + limit))
	kill "$pid"
	until grep -q 'power button is pressed' "$work/err" || [[ $SECONDS -ge $end ]]; do
		sleep 0.1
	done
}

# Wait for the guest's end; then $status is set.
ended() {
	local end=$((SECONDS + limit))
	exec 9>&-
	while kill -0 "$pid" 2>/dev/null; do
		if [[ $SECONDS -ge $end ]]; then
			kill -9 "$pid"
		fi
		sleep 0.1
	done
	status=0
	wait "$pid" 2>/dev/null || status=$?
	{ tr -d '\r' <"$work/out"; cat "$work/err"; } >"$work/text"
}

run_tests() {
	local name

	: >"$work/out"
	for name in ${TESTS:-"$@"}; do
		"test_$name"
	done
	finish
}
