# SPDX-License-Identifier: MIT
#
# lib.sh - what the suites with Linux guests share. To be sourced, in the top directory.
#
# Where this machine's KVM can boot Linux the tests run here; else the suite's script runs itself
# again in the lab host (tests/lab/lab).
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

in_lab=
if ! "$vmm" check >/dev/null && [[ ! ${IN_LAB-} ]]; then
	in_lab=1
	tests/lab/kernels 6.1 6.12 host >/dev/null
	guests/linux/build "$initramfs" >/dev/null
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

# Wait until file $1 has a line that matches $2; prints something then.
wait_for() {
	local end=$((SECONDS + limit))
	until [[ -e $1 ]] && tr -d '\r' <"$1" | grep -q "$2"; do
		[[ $SECONDS -lt $end ]] || return 0
		sleep 0.1
	done
	echo yes
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

# --- in the lab host

# One run of the tests named, in a lab host of its own; its output in $work/lab. The host's status.
lab_run() {
	local status=0 seconds=1500
	[[ $# -gt 1 ]] || seconds=400
	tests/lab/lab --quiet --timeout "$seconds" -- env IN_LAB=1 MINIVMM="$vmm" LIMIT="$limit" TESTS="$*" \
		"$PWD/tests/linux/${0##*/}" >"$work/lab" 2>"$work/lab.err" || status=$?
	cat "$work/lab.err"
	return "$status"
}

# What the test $1 printed in the last run; fails unless it ran to its end and all of it passed.
lab_test() {
	sed -n "/^# begin $1\$/,/^# end $1\$/p" "$work/lab" >"$work/test"
	grep -v '^# \(begin\|end\) ' "$work/test"
	grep -q "^# end $1\$" "$work/test" && ! grep -q '^not ok' "$work/test"
}

# The emulated host is not beyond doubt: its own kernel has been seen to panic of memory that nobody
# had written to, and guests to crash in the same hour. So a test that fails there is told, and run
# again in a fresh host, up to three times in all; what counts is the last run. A fault of ours comes
# back. A suite that sets own_host has a fresh host for each test from the start.
lab_tests() {
	local run name text names=("$@") again

	echo "# this machine's KVM can't boot Linux: in the lab host"
	for run in 1 2 3; do
		again=()
		if [[ $run -eq 1 && ! ${own_host-} ]]; then
			lab_run "${names[@]}" || true
		fi
		for name in "${names[@]}"; do
			if [[ $run -gt 1 || ${own_host-} ]]; then
				lab_run "$name" || true
			fi
			if text=$(lab_test "$name"); then
				lab_count "$text"
			elif [[ $run -lt 3 ]]; then
				again+=("$name")
				sed "s/^/# run $run of $name: /" <<<"$text"
			else
				lab_count "$text"
				grep -q "^# end $name\$" "$work/test" || fail "$name did not come to its end"
			fi
		done
		[[ ${#again[@]} -gt 0 ]] || return 0
		names=("${again[@]}")
		echo "# run again: ${again[*]}"
	done
}

# Tell the results in $1, and count them.
lab_count() {
	local line
	while IFS= read -r line; do
		case $line in
		'ok '*'# SKIP '*) skipped=$((skipped + 1)) ;;
		'ok '*) passed=$((passed + 1)) ;;
		'not ok '*) failed=$((failed + 1)) ;;
		esac
		echo "$line"
	done <<<"$1"
}

# ---

run_tests() {
	local name names

	: >"$work/out"
	read -ra names <<<"${TESTS:-$*}"
	if [[ $in_lab ]]; then
		lab_tests "${names[@]}"
	else
		for name in "${names[@]}"; do
			echo "# begin $name"
			"test_$name"
			echo "# end $name"
		done
	fi
	finish
}
