# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# tap.sh - sourced by the test scripts: one line a check, and the closing line that tests/run adds up.
#
#	check "the facts" COMMAND...	ok if COMMAND succeeds
#	pass NAME / fail NAME [FILE]	say it outright; FILE is shown, indented
#	skip NAME REASON		not run, and why
#	finish				the closing line; status 1 if something failed, or nothing ran

passed=0 failed=0 skipped=0

pass() {
	passed=$((passed + 1))
	echo "ok $((passed + failed + skipped)) - $1"
}

fail() {
	failed=$((failed + 1))
	echo "not ok $((passed + failed + skipped)) - $1"
	if [[ ${2-} ]]; then
		tail -n 25 "$2" | sed 's/^/    /'
	fi
}

skip() {
	skipped=$((skipped + 1))
	echo "ok $((passed + failed + skipped)) - $1 # SKIP $2"
}

check() {
	local name=$1
	shift
	if "$@"; then pass "$name"; else fail "$name"; fi
}

finish() {
	echo "$passed passed, $failed failed, $skipped skipped"
	[[ $failed -eq 0 && $passed -gt 0 ]]
}
