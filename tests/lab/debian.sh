# SPDX-License-Identifier: MIT
#
# debian.sh: Debian packages into the cache. Sourced by tests/lab/kernels and tests/lab/qemu.
#
# How it works
#
#   /etc/apt/sources…   where this machine gets Debian from
#        │ mirror_of: the mirror, nothing else
#        v
#   CACHE/apt/          a private apt state: own source list (bookworm, its security and backports
#        │              suites), own package lists. The system's apt is only read, never changed,
#        │              and no root is needed. apt checks the signatures as it always does.
#        │ download
#        v
#   CACHE/apt/deb/      packages, until the caller has unpacked them
#
# The caller sets TOOL, its own name for messages, and sources this file. Then it may set
#	quiet     not empty: no progress lines
#	instead   what the user can do without Debian's packages, as words for a message
# and calls, in this order: lock, check_debian, update_lists, package_facts, download.
# shellcheck shell=bash
quiet='' instead=''
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

[[ ${HOME:-} || ${MINIVMM_CACHE:-} ]] || { echo "$TOOL: neither HOME nor MINIVMM_CACHE is set" >&2; exit 1; }
readonly CACHE=${MINIVMM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/minivmm}
readonly APT=$CACHE/apt
readonly KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

say()  { [[ $quiet ]] || echo "$TOOL: $*" >&2; }
die()  { echo "$TOOL: $*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || die "$1 is missing: install the Debian package $2"; }

# Take the lock of the private apt, on descriptor 9: one run at a time.
lock() {
	mkdir -p "$CACHE" || die "cannot write to $CACHE: set MINIVMM_CACHE"
	exec 9>"$CACHE/apt.lock"
	flock -n 9 || { say "waiting for another run that fetches packages"; flock 9; }
}

# --- where Debian comes from ------------------------------------------------

# Print every active "deb" entry of the machine's apt as "URI SUITE COMPONENTS", both file styles.
apt_sources() {
	local f
	for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[[ -r $f ]] && sed -nE 's/^deb +(\[[^]]*\] *)?//p' "$f"
	done
	for f in /etc/apt/sources.list.d/*.sources; do
		[[ -r $f ]] && awk '
			function flush(   i, n, j, m, u, s) {
				if (types ~ /(^| )deb( |$)/ && enabled != "no") {
					n = split(uris, u, " "); m = split(suites, s, " ")
					for (i = 1; i <= n; i++)
						for (j = 1; j <= m; j++)
							print u[i], s[j], comps
				}
				types = uris = suites = comps = enabled = ""
			}
			/^#/            { next }
			/^[ \t]*$/      { flush(); next }
			{ key = tolower($1); $1 = ""; sub(/^ /, "") }
			key == "types:"      { types = $0 }
			key == "uris:"       { uris = $0 }
			key == "suites:"     { suites = $0 }
			key == "components:" { comps = $0 }
			key == "enabled:"    { enabled = tolower($0) }
			END             { flush() }' "$f"
	done
	return 0
}

# mirror_of main|security: the URI of the first entry of that kind.
mirror_of() {
	local codename suites
	# shellcheck source=/dev/null
	codename=$(. /etc/os-release; echo "${VERSION_CODENAME:-sid}")
	case $1 in
	main)     suites="$codename|stable|oldstable|testing|unstable|sid" ;;
	security) suites="[^ ]*-security|[^ ]*/updates" ;;
	esac
	apt_sources | awk -v re="^($suites)\$" '
		$1 !~ /^cdrom:/ && $2 ~ re && (" " $0 " ") ~ / main / { print $1; exit }'
}

check_debian() {
	local id
	# shellcheck source=/dev/null
	id=$(. /etc/os-release 2>/dev/null; echo "${ID:-unknown}")
	[[ $id == debian ]] ||
		die "this system is $id, not Debian: $instead"
	[[ $(dpkg --print-architecture) == amd64 ]] ||
		die "only amd64 is supported: $instead"
	need apt-get apt; need dpkg-deb dpkg
}

# --- the private apt --------------------------------------------------------

# apt TOOL ARGS: apt-get or apt-cache on the private state.
apt() {
	"$@" -o Dir::State="$APT/state" -o Dir::State::status="$APT/status" \
		-o Dir::Cache="$APT/cache" -o Dir::Etc::sourcelist="$APT/sources.list" \
		-o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User="$(id -un)" \
		-o APT::Architecture=amd64 -o APT::Architectures=amd64 \
		-o Acquire::Languages=none -o Acquire::Retries=2 -o APT::Update::Error-Mode=any
}

write_sources() {
	local main security signed=
	main=$(mirror_of main)
	security=$(mirror_of security)
	[[ $main ]] || die "no Debian mirror in /etc/apt: add one, or $instead"
	[[ -r $KEYRING ]] && signed="[signed-by=$KEYRING] "
	mkdir -p "$APT/state/lists/partial" "$APT/cache/archives/partial" "$APT/deb"
	: >"$APT/status"
	{
		echo "deb ${signed}$main bookworm main"
		echo "deb ${signed}$main bookworm-backports main"
		[[ -z $security ]] || echo "deb ${signed}$security bookworm-security main"
	} >"$APT/sources.list.new"
	mv "$APT/sources.list.new" "$APT/sources.list"
}

# Fetch the package lists, at most once a run.
lists_fresh=
update_lists() {
	[[ -z $lists_fresh ]] || return 0
	write_sources
	say "fetching Debian's package lists"
	apt apt-get -qq update >"$APT/log" 2>&1 ||
		die "cannot fetch Debian's package lists (offline? details: $APT/log):" \
		    "go online and run this again, or $instead"
	lists_fresh=1
}

# package_facts PACKAGE [APT_OPTION]...: "PACKAGE VERSION SIZE" of its candidate, or nothing.
package_facts() {
	apt apt-cache show --no-all-versions "${@:2}" "$1" 2>/dev/null |
		awk -v p="$1" '/^Version:/ { v = $2 } /^Size:/ { s = $2 } END { if (v) print p, v, s }'
}

# download PACKAGE VERSION SIZE: fetch it into APT/deb, with a line every five seconds; print the
# file. apt checks the size and the hash from the signed lists, and continues a download that was
# cut off.
download() {
	local pkg=$1 version=$2 size=$3 pid file ticks=0 got
	say "fetching $pkg ($((size / 1000000)) MB)"
	( cd "$APT/deb" && apt apt-get -qq download "$pkg=$version" ) >"$APT/log" 2>&1 &
	pid=$!
	while kill -0 $pid 2>/dev/null; do
		sleep 0.1
		(( ++ticks % 50 )) && continue
		got=$(du -cb "$APT/deb" "$APT/cache/archives/partial" | tail -n 1 | cut -f 1)
		say "fetching $pkg: $((got / 1000000)) of $((size / 1000000)) MB"
	done
	wait $pid || die "cannot fetch $pkg (offline? details: $APT/log): run this again"
	file=$(find "$APT/deb" -maxdepth 1 -name "${pkg}_${version//:/%3a}_*.deb" | head -n 1)
	[[ $file && $(stat -c %s "$file") == "$size" ]] || die "$pkg came with a wrong size: run this again"
	echo "$file"
}
