# A bare root of Debian 12 to install into, for tests/packages/check-*. Sourced first of all: the script runs
# itself in namespaces of its own, with which its mounts and processes end.
#
#   $work   its folder, removed at the end
#   $root   the root of `make_root`: Debian's essential packages and apt. No systemd runs in it
set -u -o pipefail
shopt -s inherit_errexit
export LC_ALL=C
umask 022

readonly suite=bookworm
here=$(dirname "$(realpath "$0")")
passed=0 failed=0

if [ -z "${KILN_ROOT_WORK:-}" ]; then
	[ "$EUID" = 0 ] || { echo "${0##*/}: run this as root: the files of a root belong to several users" >&2; exit 1; }
	work=$(mktemp -d "${TMPDIR:-/tmp}/kiln-root.XXXXXX") || exit 1
	chmod 755 "$work" # apt gives its privileges up, and looks in
	child=''
	finish() {
		[ -z "$child" ] || { kill "$child" && wait "$child"; } 2>/dev/null
		rm -rf --one-file-system "$work"
	}
	trap finish EXIT
	trap 'exit 130' INT TERM
	KILN_ROOT_WORK=$work unshare --mount --uts --ipc --pid --fork --kill-child --mount-proc -- \
		env --default-signal=INT,TERM "$0" "$@" &
	child=$!
	wait "$child"
	status=$?
	child=''
	exit "$status"
fi
work=$KILN_ROOT_WORK root=$KILN_ROOT_WORK/root

# part NAME FUNCTION: a line, and what it said where it failed.
part() {
	local begun=$SECONDS word=ok
	# Not in a condition, in which -e would not hold.
	(set -e; "$2") >"$work/part.log" 2>&1
	[ $? = 0 ] || word=FAIL
	[ $word = ok ] && passed=$((passed + 1)) || failed=$((failed + 1))
	printf '  %-4s %-44s %4d s\n' $word "$1" $((SECONDS - begun))
	[ $word = ok ] || tail -n 60 "$work/part.log" | sed 's/^/       | /'
	[ $word = ok ]
}

parts_end() {
	echo "$passed passed, $failed failed"
	((failed == 0))
}

fail() { printf '%s\n' "$*"; exit 1; }
# expect WANTED GOT WHAT
expect() { [ "$1" = "$2" ] || fail "$3: expected \"$1\", got \"$2\""; }

make_root() {
	local sources
	sources=$("$here/../debian-sources" "$suite")
	[ -n "$sources" ] || fail "apt knows no archive of Debian's $suite: it needs one, and apt-get update"
	mmdebstrap --quiet --variant=minbase --format=directory --dpkgopt=force-unsafe-io "$suite" "$root" - <<<"$sources"
	mount -t proc proc "$root/proc"
	in_root apt-get update -qq
}

# in_root COMMAND...: with nothing of this environment but what apt needs to reach its archives.
in_root() {
	chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive \
		${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} "$@"
}

root_apt() { in_root apt-get -y -q --no-install-recommends -o APT::Sandbox::User=root "$@"; }

# What is in the root, by name, but for what apt and others keep of what they did.
root_files() {
	local folder prune=()
	for folder in proc sys dev tmp var/cache var/log var/lib/apt packages; do
		prune+=(-path "$root/$folder" -o)
	done
	find "$root" -mindepth 1 \( "${prune[@]}" -false \) -prune -o -printf '%P\n' | sort
}
