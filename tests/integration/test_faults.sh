#!/bin/bash
# Faults that do not kill the factory: a file system that is full, no descriptors left, a step that
# fails (base/fault.h). Who meets one is told what failed and why; the factory goes on, and nothing is
# left of what it had begun. Those of bakes are in test_faults_bake.sh.
. "$(dirname "$0")/faults.sh"

# ---------------------------------------------------------------- no room

# So many at a time that the clones for them fail in a row at once, rather than with pauses between.
test_run_dir_is_full() {
	local i claimers=()
	fill "$run"
	for i in {1..6}; do
		ctl agent -c Check >"$work/out.$i" 2>&1 &
		claimers+=($!)
	done
	for i in {1..6}; do
		! wait "${claimers[i - 1]}" || fail 'a claim that the journal does not have is served'
		expect_match "$run/.*No space left on device" "$(cat "$work/out.$i")"
	done
	empty "$run"
	# It counts as broken by now, and the next try is a minute away: Init tries at once.
	wait_full || fail 'the pool is not filled by Init'
	recovered 'a full run_dir'
}

# Each clone has a disk of its own there.
test_scratch_dir_is_full() {
	small_folder "$work/scratch" 64k
	fill "$work/scratch"
	mark_log
	ctl agent -c Check >"$work/out" 2>&1 || fail "a parked machine has its disk: $(cat "$work/out")"
	logged "clone failed .* in $work/scratch: No space left on device"
	umount -l "$work/scratch"
	recovered 'a full scratch_dir'
}

# Where bundles are, with what the shim keeps in them.
test_containerds_state_is_full() {
	local state=$work/containerd/state
	fill "$state"
	! kiln_run full echo hello >"$work/out" 2>&1 || fail 'a container without room for its bundle'
	expect_match '[Nn]o space left on device' "$(cat "$work/out")"
	empty "$state"
	ctr containers delete full 2>/dev/null || true # ctr leaves one whose task could not be made
	expect hello "$(kiln_run full echo hello)"
	wait_no_sandboxes
	until_true 20 no_shims
	recovered "containerd's full state"
}

# ---------------------------------------------------------------- no descriptors

# limit_descriptors LIMIT: as the user that the factory is, which needs no right for that.
limit_descriptors() { setpriv --reuid=nobody --regid=nogroup --clear-groups prlimit --pid "$factory" --nofile="$1"; }

# spare_descriptors N: the factory may open N more, until all_descriptors.
spare_descriptors() {
	limit_descriptors "$(find "/proc/$factory/fd" -mindepth 1 -printf '%f\n' | sort -n |
		awk -v n="$1" '{ while (next_fd < $1 && n > 0) { n--; next_fd++ } if (n == 0) exit; next_fd = $1 + 1 }
			END { print next_fd + n }'):"
}
all_descriptors() { limit_descriptors 1024:; }

# ticks: the processor time of the factory, in hundredths of a second.
ticks() { awk '{ print $14 + $15 }' "/proc/$factory/stat"; }

test_no_descriptor_to_accept_with() {
	local before claimer first tries pauses='accepting of connections pauses .*Too many open files'
	wait_full
	mark_log
	spare_descriptors 0
	ctl agent -c Check >"$work/out" 2>&1 &
	claimer=$!
	first=$mark
	logged "$pauses"
	before=$(ticks)
	mark_log
	logged "$pauses"
	(($(ticks) - before < 30)) || fail "it spins: $(($(ticks) - before)) ticks from one try to the next"
	tries=$(tail -n "+$first" "$work/factory.log" | grep -c "$pauses")
	((tries <= 4)) || fail "$tries tries where two were waited for"
	all_descriptors
	wait "$claimer" || fail "the claim that waited: $(cat "$work/out")"
	recovered 'no descriptors'
}

# A claim, the clone that fills the pool again and the removal of what has failed meet it, at one step
# after the other.
test_few_descriptors() {
	local n claimer
	for n in 1 2 4 7; do
		mark_log
		spare_descriptors "$n"
		ctl agent -c Check >"$work/out" 2>&1 &
		claimer=$!
		logged 'Too many open files'
		all_descriptors
		wait "$claimer" || fail "the claim with $n descriptors: $(cat "$work/out")"
		until_true 30 wait_full
	done
	# Who cannot be looked at is not dead.
	! grep 'the claimer of sandbox .* is dead' "$work/factory.log" || fail 'a live claimer counts as dead'
	recovered 'few descriptors'
}

# ---------------------------------------------------------------- a mount that fails

# A container's layer is gone when the shim mounts it.
test_a_layer_is_gone() {
	local layer
	layer=$(find "$work/containerd/root/io.containerd.snapshotter.v1.overlayfs/snapshots" -mindepth 2 -maxdepth 2 -name fs)
	ctr containers create --runtime io.containerd.kiln.v2 "$image" gone true
	mv "$layer" "$layer.away"
	! ctr tasks start gone >"$work/out" 2>&1 || fail 'a container without its layer'
	mv "$layer.away" "$layer"
	expect_match '[Nn]o such file or directory' "$(cat "$work/out")"
	ctr containers delete gone
	expect hello "$(kiln_run after echo hello)"
	wait_no_sandboxes
	until_true 20 no_shims
	recovered 'a mount that fails'
}

# ---------------------------------------------------------------- a step that fails

# The next claim is served nevertheless, by another machine. Each point costs a clone, or a bake below:
# the errors take turns.
test_steps_of_claims_and_clones() {
	local point error=EIO
	wait_full
	for point in $(points 'claim|clone|journal'); do
		arm "$point=$error"
		ctl agent -c Check >"$work/out" 2>&1 || fail "no claim with $point=$error: $(cat "$work/out")"
		until_true 30 wait_full
		expect_met "$point=$error"
		logged "(fault point $point|cannot write the journal entry).*: $(error_text $error)"
		expect_nothing_astray "$point=$error"
		[ $error = ENOSPC ] && error=EIO || error=ENOSPC
	done
	recovered 'steps that fail'
}

test_steps_of_images() {
	local point error
	find "$work/images" -type f ! -name lock -delete # what the containers before have had made
	for point in $(points image); do
		for error in ENOSPC EIO; do
			arm "$point=$error"
			! ctl image prepare "$image" --containerd "$work/containerd.sock" --namespace "$(basename "$work")" \
				>"$work/out" 2>&1 || fail "an image in spite of $point=$error"
			expect_met "$point=$error"
			expect_match "$(error_text $error)" "$(cat "$work/out")"
			expect '' "$(find "$work/images" -type f ! -name lock)" "files in the cache after $point=$error"
		done
	done
	prepare_image "$image" || fail 'no image after steps that failed'
}

# in_pod ID [MOUNT...]: a container of the pod `pod`, with a volume, that stays.
in_pod() {
	ctr run -d --runtime io.containerd.kiln.v2 --annotation io.kubernetes.cri.sandbox-id=pod \
		--annotation "io.kubernetes.cri.container-type=$([ "$1" = pod ] && echo sandbox || echo container)" \
		--mount "type=bind,src=$work/volume,dst=/volume,options=rbind:rw" "${@:2}" "$image" "$1" sleep 1000
}
with_disk() { in_pod "$1" --mount "type=ext4,src=$work/disk,dst=/disk,options=loop:rw"; }

# fails POINT=ERROR COMMAND...: the command, and it says which step failed and why.
fails() {
	local point=${1%=*}
	arm "$1"
	! "${@:2}" >"$work/out" 2>&1 || fail "no failure in spite of $1"
	expect_met "$1"
	expect_match "fault point $point: $(error_text "${1#*=}")" "$(cat "$work/out")"
}

# What a container makes of its machine on the host.
traces() { find "$run"/vms/*/share -xdev | sort; awk -v v="$run/vms/" 'index($5, v) == 1 { print $5 }' /proc/self/mountinfo | sort; }

# The pod's other container lives, and nothing is left of the one that failed.
test_steps_of_containers() {
	local point error=EIO before
	mkdir -p "$work/volume"
	truncate -s 8M "$work/disk"
	mkfs.ext4 -q "$work/disk"
	in_pod pod
	in_pod c1
	until_true 30 wait_full
	before=$(traces)
	for point in $(points 'create|streams|folder|root|volume|disk'); do
		fails "$point=$error" with_disk c2
		ctr containers delete c2
		expect "$before" "$(traces)" "folders and mounts after $point=$error"
		expect lives "$(ctr tasks exec --exec-id "e$RANDOM" c1 echo lives)" "the pod after $point=$error"
		[ $error = ENOSPC ] && error=EIO || error=ENOSPC
	done
	with_disk c2
	fails exec.adding=EIO ctr tasks exec --exec-id e1 c2 true
	expect lives "$(ctr tasks exec --exec-id e1 c2 echo lives)"
	fails process.signalling=ENOSPC ctr tasks kill -s KILL c2
	expect lives "$(ctr tasks exec --exec-id e2 c2 echo lives)"
	ctr tasks kill -s KILL c2
	until_true 20 is_stopped c2
	fails delete.begun=EIO ctr tasks delete c2
	ctr tasks delete c2 || true # its status is the container's, 137
	ctr containers delete c2
	expect "$before" "$(traces)" 'folders and mounts of a container that is deleted'
	remove_container c1
	remove_container pod
	fails process.starting=EIO kiln_run alone true
	remove_container alone # created it is, and ctr leaves it
	arm release.sending=EIO
	expect released "$(kiln_run last echo released)" # it ends its machine by itself
	wait_no_sandboxes
	expect_met release.sending
	recovered 'steps of containers that fail'
}
# token N TEXT: as the kubelet has it in the volume $work/token; one before it goes.
token() {
	mkdir "$work/token/..$1"
	echo "$2" >"$work/token/..$1/token"
	chown 0:1234 "$work/token/..$1/token"
	ln -s "..$1" "$work/token/..data_tmp"
	mv -T "$work/token/..data_tmp" "$work/token/..data"
	rm -rf "$work/token/..$(($1 - 1))"
}
token_is() { [ "$(ctr tasks exec --exec-id "e$RANDOM" token cat /v/token)" = "$1" ]; }

# Before Linux 6.3 no tmpfs can be mapped: here the container's second volume, after that of in_pod. The layers of its
# root are mapped for the pod already, or are an image.
test_a_token_on_a_tmpfs_that_cannot_be_mapped() {
	mkdir -p "$work/volume"
	in_pod pod
	in_pod c1
	small_folder "$work/token" 1m
	token 1 first
	ln -s ..data/token "$work/token/token"
	arm mapping.made=EINVAL:2
	in_pod token --mount "type=bind,src=$work/token,dst=/v,options=rbind:ro"
	expect_met mapping.made
	expect first "$(ctr tasks exec --exec-id e1 token cat /v/token)"
	expect '0 1234' "$(ctr tasks exec --exec-id e2 token stat -L -c '%u %g' /v/token)"
	! ctr tasks exec --exec-id e3 token touch /v/new 2>"$work/out" || fail 'it can be written to'
	expect_match 'Read-only file system' "$(cat "$work/out")"
	token 2 second
	until_true 20 token_is second
	umount "$work/token" # the container does not keep it busy
	expect second "$(ctr tasks exec --exec-id e4 token cat /v/token)"
	remove_container token
	remove_container c1
	remove_container pod
	wait_no_sandboxes
	expect '' "$(awk -v w="$run/vms" 'index($5, w) == 1 && $5 ~ "/mounts/" { print $5 }' /proc/self/mountinfo)" mounts
	recovered 'a volume that cannot be mapped'
}
is_stopped() { ctr tasks list | grep -qE "^$1 .*STOPPED"; }

start_faulty_factory
small_folder "$work/containerd/state" 32m
PATH=$BUILD/faults:$PATH KILN_FAULT=@$run/armed/fault start_containerd
wait_full
run_tests "$@"
