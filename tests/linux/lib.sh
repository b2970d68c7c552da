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

# guest_script KERNEL [OPTION]...: an initrd for it whose guest runs the script on standard input; the options are
# mkinitramfs's. Other modules than the usual ones take an archive of their own.
guest_script() {
	local rc=$work/rc.sh base modules=()
	base=$(initramfs_of "$1")
	{ echo '#!/bin/sh'; cat; } >"$rc"
	chmod +x "$rc"
	[[ " ${*:2}" != *' --module-list '* ]] ||
		modules=(--modules "$(dir_of "$1")/lib/modules/$(cat "$(dir_of "$1")/release")")
	guests/linux/mkinitramfs --no-busybox "${modules[@]}" --rc "$rc" "${@:2}" "$work/more.cpio" >/dev/null
	cat "$base" "$work/more.cpio" >"$work/rc.cpio"
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
	# Open for both: so it has a reader even if minivmm has ended (no SIGPIPE), and a writer when minivmm opens it,
	# even if nobody has anything to say.
	exec 9<>"$work/in"
	# A background job of a script ignores SIGINT, and minivmm would go on ignoring it.
	env --default-signal=INT,HUP "$vmm" "$@" <"$work/in" >"$work/out" 2>"$work/err" 9<&- &
	pid=$!
}

say() { printf '%s\n' "$1" >&9 || true; }

# signal [-SIGNAL]: to minivmm. If it has ended already, what is checked of its end fails.
signal() { kill "$@" "$pid" 2>/dev/null || echo "minivmm had ended before the signal" >>"$work/err"; }

# within SECONDS COMMAND...: wait until it succeeds, but not longer.
within() {
	local end=$((SECONDS + $1))
	until "${@:2}"; do
		[[ $SECONDS -lt $end ]] || return 1
		sleep 0.1
	done
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# reap PID...: wait for these children, and kill those that do not end.
reap() {
	local p
	for p in "$@"; do
		within "$limit" gone "$p" || kill -9 "$p" 2>/dev/null || true
		wait "$p" 2>/dev/null || true
	done
}

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
	signal
	within "$limit" grep -q 'power button is pressed' "$work/err" || true
}

# Wait for the guest's end; then $status is set.
ended() {
	local end=$((SECONDS + limit))
	exec 9>&-
	while kill -0 "$pid" 2>/dev/null; do
		if [[ $SECONDS -ge $end ]]; then
			kill -9 "$pid" 2>/dev/null || true
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
	tests/lab/lab --quiet --timeout 2400 -- env IN_LAB=1 MINIVMM="$vmm" LIMIT="$limit" TESTS="$*" ${SWITCHES:+SWITCHES="$SWITCHES"} \
		"$PWD/tests/linux/${0##*/}" >"$work/lab" 2>"$work/lab.err" || status=$?
	cat "$work/lab.err"
	return "$status"
}

# What the test $1 printed, if it came to its end.
lab_test() { sed -n "/^# begin $1\$/,/^# end $1\$/p" "$work/lab" | sed -n '/^# end /q;/^# begin /d;p'; }
lab_ended() { grep -q "^# end $1\$" "$work/lab"; }
lab_began() { grep -q "^# begin $1\$" "$work/lab"; }

# A host that ends itself (status 125) is the emulator's doing, not that of the programs in it: what had
# not come to its end is told, and run again in a fresh host, twice at most. What failed has failed. A test that
# ended the suite has failed, too; those that come after it have a fresh host.
lab_tests() {
	local run=1 status name names=("$@") rest

	echo "# this machine's KVM can't boot Linux: in the lab host"
	while :; do
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
		if [[ $status -eq 125 && $run -lt 3 ]]; then
			echo "# the host ended itself in ${rest[0]}; run again: ${rest[*]}"
			run=$((run + 1))
		elif lab_began "${rest[0]}"; then
			lab_test "${rest[0]}"
			fail "${rest[0]} did not come to its end (the host: status $status)"
			rest=("${rest[@]:1}")
			[[ ${#rest[@]} -gt 0 ]] || return 0
		else
			break
		fi
		names=("${rest[@]}")
	done
	for name in "${rest[@]}"; do
		fail "$name was not begun (the host: status $status)"
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

# A command that may not fail has: say which, and what there is to see of its test.
current_test=
unfinished() {
	[[ $current_test ]] || return 0
	echo "# $current_test ended at: $1"
	for f in out err; do
		[[ ! -s $work/$f ]] || tail -n 15 "$work/$f" | tr -d '\r' | sed "s/^/# $f: /"
	done
}

run_tests() {
	local name names began

	: >"$work/out"
	# shellcheck disable=SC2064 # what the suite has set, too
	trap "unfinished \"\$BASH_COMMAND\"; $(trap -p EXIT | sed "1s/^trap -- '//; \$s/' EXIT\$//")" EXIT
	read -ra names <<<"${TESTS:-$*}"
	if [[ $in_lab ]]; then
		lab_tests "${names[@]}"
	else
		for name in "${names[@]}"; do
			echo "# begin $name"
			current_test=$name began=$SECONDS
			if declare -F begin_test >/dev/null; then
				begin_test
			fi
			"test_$name"
			echo "# $name: $((SECONDS - began)) s"
			current_test=
			echo "# end $name"
		done
	fi
	finish
}
