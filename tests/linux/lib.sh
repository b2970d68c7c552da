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

# For a guest's script that keeps notes of what its drivers have told, in /before and /after: are they the same?
unaware_script() {
	cat <<-'END'
		compare_notes() {
			cmp -s /before /after && echo unnoticed && return
			diff /before /after | sed -n 's/^[-+<>]\([^-+].*\)/noticed: \1/p'
		}
	END
}

# unaware NAME: they are. If there is more, and all of it is that Linux had to wait for its host, which a busy one lets it
# do at any time, nothing can be said.
unaware() {
	local others
	others=$(grep '^noticed' "$work/text" | grep -vE 'hrtimer: interrupt took|clocksource: Long readout interval' || true)
	if ! grep -q '^unnoticed' "$work/text" && grep -q '^noticed' "$work/text" && [[ ! $others ]]; then
		skip "$1" "the host is too busy: $(grep -m 1 '^noticed' "$work/text")"
	else
		verdict "$1" grep -q '^unnoticed' "$work/text"
	fi
}

# start ARGS...: run a guest in the background, its standard input a pipe that say() writes to.
start() {
	rm -f "$work/in"
	mkfifo "$work/in"
	: >"$work/out"
	# A background job of a script ignores SIGINT, and minivmm would go on ignoring it.
	env --default-signal=INT,HUP "$vmm" "$@" <"$work/in" >"$work/out" 2>"$work/err" &
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

# Run the tests named there; what they print goes to $work/lab. The host's status.
lab_run() {
	local status=0
	tests/lab/lab --quiet --timeout 1500 -- env IN_LAB=1 MINIVMM="$vmm" LIMIT="$limit" TESTS="$*" ${SWITCHES:+SWITCHES="$SWITCHES"} \
		"$PWD/tests/linux/${0##*/}" >"$work/lab" 2>"$work/lab.err" || status=$?
	cat "$work/lab.err"
	return "$status"
}

# What the test $1 printed, if it came to its end.
lab_test() { sed -n "/^# begin $1\$/,/^# end $1\$/p" "$work/lab" | sed -n '/^# end /q;/^# begin /d;p'; }
lab_ended() { grep -q "^# end $1\$" "$work/lab"; }

# A host that ends itself (status 125) is the emulator's doing, not that of the programs in it: what had
# not come to its end is told, and run again in a fresh host, twice at most. What failed has failed.
lab_tests() {
	local run status name names=("$@") rest

	echo "# this machine's KVM can't boot Linux: in the lab host"
	for run in 1 2 3; do
		status=0 rest=()
		lab_run "${names[@]}" || status=$?
		for name in "${names[@]}"; do
			if lab_ended "$name"; then
				lab_count "$(lab_test "$name")"
			else
				rest+=("$name")
			fi
		done
		[[ ${#rest[@]} -gt 0 ]] || return 0
		[[ $status -eq 125 && $run -lt 3 ]] || break
		echo "# the host ended itself in ${rest[0]}; run again: ${rest[*]}"
		names=("${rest[@]}")
	done
	for name in "${rest[@]}"; do
		lab_test "$name"
		fail "$name did not come to its end"
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
			if declare -F begin_test >/dev/null; then
				begin_test
			fi
			"test_$name"
			echo "# end $name"
		done
	fi
	finish
}
