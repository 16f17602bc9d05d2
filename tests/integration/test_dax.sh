#!/bin/bash
# Images of containers' layers in DAX windows: what is read of one is in the host's memory once, and no
# guest keeps a copy; an image that is too large for a window is read by a block slot.
. "$(dirname "$0")/lib.sh"

# image_of NAME MIB: busybox and a file of so much, prepared.
image_of() {
	local root=$work/root-$1
	mkdir "$root"
	"$tests/busybox-root" "$root"
	head -c "$2M" /dev/urandom >"$root/data"
	sha256sum <"$root/data" >"$work/$1.sum"
	"$tests/oci-image" "docker.io/kiln/$1:test" "$work/$1.tar" "$root"
	ctr images import "$work/$1.tar" >/dev/null
	rm -rf "$root" "$work/$1.tar"
	prepare_image "docker.io/kiln/$1:test"
}

# start NAME ID [OPTION]...: a container of that image, which does nothing.
start() {
	ctr run -d --runtime io.containerd.kiln.v2 "${@:3}" "docker.io/kiln/$1:test" "$2" sleep 1000
}

# own_mib ID: memory of a sandbox's VMM that is of no file.
own_mib() {
	local pid
	pid=$(factory_ctl list --json | jq --arg id "$1" '.vms[] | select(.sandbox_id == $id).pid')
	awk '/^Anonymous:/ { printf "%d", $2 / 1024 }' "/proc/$pid/smaps_rollup"
}

# reads_grow ID: by how much that memory grows when the container reads the file, which is whole.
reads_grow() {
	local before
	before=$(own_mib "$1")
	expect "$(cut -d' ' -f1 "$work/${1%-*}.sum")" "$(ctr task exec --exec-id read "$1" sha256sum /data | cut -d' ' -f1)"
	echo $(($(own_mib "$1") - before))
}

# remove ID...
remove() {
	local id
	for id in "$@"; do
		ctr task rm -f "$id" >/dev/null
		ctr container rm "$id"
	done
	wait_no_sandboxes
}

test_what_is_read_by_a_window_is_not_in_the_guests_memory() {
	local id grown
	start fits fits-1
	start fits fits-2
	for id in fits-1 fits-2; do
		grown=$(reads_grow "$id")
		[ "$grown" -lt 25 ] || fail "$id grew by $grown MiB when it read 50 MiB by a window"
	done
	remove fits-1 fits-2
}

test_what_is_too_large_for_a_window_is_on_a_slot() {
	local grown
	start large large-1
	grown=$(reads_grow large-1)
	[ "$grown" -gt 50 ] || fail "large-1 grew by only $grown MiB when it read 100 MiB by a slot"
	remove large-1
}

write_config 0 'del(.pool) | .dax_window_mib = 64'
start_factory
factory_ctl init >/dev/null
start_containerd
image_of fits 50
image_of large 100
run_tests
