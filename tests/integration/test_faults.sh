#!/bin/bash
# Faults that do not kill the factory: a file system that is full, no descriptors left, a step that
# fails (base/fault.h). Who meets one is told what failed and why; the factory goes on, and nothing is
# left of what it had begun.
. "$(dirname "$0")/crash.sh"

# small_folder DIR SIZE: a file system of its own.
small_folder() {
	mkdir -p "$1"
	mount -t tmpfs -o "size=$2,mode=711" kiln-test "$1"
}

# fill DIR: nothing more can be written there, until empty DIR.
fill() { dd if=/dev/zero of="$1/filling" bs=4k 2>/dev/null || true; }
empty() { rm "$1/filling"; }

# logged REGEX: it is in the log since mark_log, or comes.
mark_log() { mark=$(($(wc -l <"$work/factory.log") + 1)); }
logged() {
	timeout 30 grep -qEm1 "$1" <(tail -n "+$mark" -f "$work/factory.log") || fail "no /$1/ in the log"
}

# recovered WHAT: the factory is the same, a claim works, the pool is full and nothing is astray.
recovered() {
	expect "$factory" "$(factory_pid)" "the factory after $1"
	until_true 30 wait_full
	ctl agent -c Check >"$work/out" 2>&1 || fail "no claim after $1: $(cat "$work/out")"
	until_true 30 wait_full
	expect_nothing_astray "$1"
}

# expect_no_template WHAT: nothing is left of a bake.
expect_no_template() {
	expect '' "$(find "$store/templates" -mindepth 1)" "files in the store after $1"
	expect '' "$(find "$store" -name memory)" "memory after $1"
	expect_nothing_astray "$1"
}

# bake_fails REGEX WHAT
bake_fails() {
	! factory_ctl init >"$work/out" 2>&1 || fail "it bakes with $2"
	expect_match "$1" "$(cat "$work/out")"
	expect_no_template "$2"
}

# ---------------------------------------------------------------- no room

test_run_dir_is_full() {
	fill "$run"
	! ctl agent -c Check >"$work/out" 2>&1 || fail 'a claim that the journal does not have is served'
	expect_match "$run/.*No space left on device" "$(cat "$work/out")"
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

test_store_is_full() {
	factory_ctl destroy >/dev/null
	fill "$store"
	bake_fails "the store $store has 0 MiB free" 'a full store'
	empty "$store"
}

# It had room when that was looked at; then the guest's memory grows.
test_store_fills_while_the_guest_boots() {
	local init
	mark_log
	factory_ctl init >"$work/out" 2>&1 &
	init=$!
	logged 'bake: answering'
	fill "$store"
	! wait "$init" || fail 'it bakes without room for memory'
	expect_match 'has no room to grow' "$(cat "$work/out")"
	expect_no_template 'a store that fills'
	empty "$store"
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
	expect '' "$(pgrep -f "containerd-shim-kiln.*$(basename "$work")" || true)" 'shims'
	recovered 'a mount that fails'
}

# ---------------------------------------------------------------- a step that fails

# points OF...: the names of the steps that a test can have fail, in the source.
points() { grep -rhoE 'FAULT_ERROR\("[a-z.]*"' "$tests/../factory" | cut -d'"' -f2 | sort -u | grep -E "^($1)\."; }

# arm POINT=ERROR: the factory meets it once, at its next passing.
arm() {
	mark_log
	echo "$1" >"$work/armed/fault.new"
	mv "$work/armed/fault.new" "$work/armed/fault"
}
expect_met() { [ ! -e "$work/armed/fault" ] || fail "the factory did not pass $1"; }

error_text() {
	case $1 in
	ENOSPC) echo 'No space left on device' ;;
	EIO) echo 'Input/output error' ;;
	esac
}

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

test_steps_of_bakes() {
	local point error=ENOSPC
	factory_ctl destroy >/dev/null
	for point in $(points bake); do
		arm "$point=$error"
		bake_fails "$point: $(error_text $error)" "$point=$error"
		expect_met "$point=$error"
		[ $error = ENOSPC ] && error=EIO || error=ENOSPC
	done
	recovered 'bakes that fail'
}

# Removed with the rest of $work.
rmdir "$store"
store=$work/store
small_folder "$store" 400m
small_folder "$run" 160m
write_config "$pool_size"
install -d -o nobody "$work/armed" # who meets a fault removes the file
KILN_FAULT=@$work/armed/fault timeout 60 "$faulty" --daemon --config "$work/factory.json"
factory=$(factory_pid)
start_containerd
wait_full
run_tests "$@"
