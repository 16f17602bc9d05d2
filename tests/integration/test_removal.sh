#!/bin/bash
# A container of a pod is removed while its disk takes nothing: what it has written is written to the disk
# first, and the pod's other container is served meanwhile.
. "$(dirname "$0")/lib.sh"

# The host's file system of the scratch disks, larger than what makes guests write early
# (SCRATCH_ROOM_NEAR).
host=$work/host
next_exec=0

# in_pod ID: a container of the pod that stays.
in_pod() {
	ctr run -d --runtime io.containerd.kiln.v2 --annotation io.kubernetes.cri.sandbox-id=pod \
		--annotation io.kubernetes.cri.container-type=container "$image" "$1" sleep 600
}

# inside ID COMMAND...
inside() { ctr tasks exec --exec-id "exec-$BASHPID-$((++next_exec))" "$@"; }

# folders: of what containers write, by the scratch disk's inodes.
folders() { inside pod stat -f -c '%c %d' / | awk '{ print $1 - $2 }'; }
has_folders() { [ "$(folders)" = "$1" ]; }

# writes_back: ends when the guest waits for its disk.
writes_back='until grep -q "^Writeback: *[1-9]" /proc/meminfo; do sleep 0.1; done'

test_others_are_served_while_one_is_unmounted() {
	local before removal waiter
	in_pod pod
	before=$(folders)
	in_pod one
	until_true 60 at_rest 1 0 # the next clone has its disk
	inside pod sync
	trap 'fsfreeze -u "$host"' EXIT
	fsfreeze -f "$host"
	inside one dd if=/dev/zero of=/written bs=1M count=8
	inside pod sh -c "$writes_back" &
	waiter=$!
	remove_container one &
	removal=$!
	wait $waiter || fail 'nothing was heard of the other container'
	expect served "$(inside pod echo served)"
	kill -0 $removal || fail 'the container was removed before its disk had all'
	expect served "$(inside pod echo served)"
	fsfreeze -u "$host"
	trap - EXIT
	wait $removal
	until_true 30 has_folders "$before"
}

test_its_name_is_free_then() {
	in_pod one
	expect again "$(inside one echo again)"
	remove_container one
}

write_config 1
mkdir "$host"
truncate -s 8G "$work/host.img"
mkfs.ext4 -q -m 0 "$work/host.img"
mount -o loop "$work/host.img" "$host"
configure --arg dir "$host" '.scratch_dir = $dir'
start_factory
start_containerd
prepare_image "$image"
wait_full
run_tests "$@"
