#!/bin/bash
# The host's file system of the scratch disks has an end: containers hear of it with ENOSPC, and what
# was written before is all there.
. "$(dirname "$0")/lib.sh"

small=$work/small # a file system that is soon full
next_exec=0

# Privileged, for it is asked to forget what it has in its cache.
start_container() { ctr run -d --privileged --runtime io.containerd.kiln.v2 "$image" "$1" sleep 600; }

# inside ID COMMAND...
inside() { ctr tasks exec --exec-id "exec-$BASHPID-$((++next_exec))" "$@"; }

# Writes files of 4 MiB until that fails; says how many are whole, and why there are no more.
fill='i=0
while cat /data 2>/dev/shm/err >/f.$i; do i=$((i + 1)); done
echo "$i $(cat /dev/shm/err)"'

# The digests of the first files and of what they were copied from, from the disk.
digests='sync || exit 1
echo 3 >/proc/sys/vm/drop_caches
files=/data i=0
while [ $i -lt $1 ]; do files="$files /f.$i" i=$((i + 1)); done
md5sum $files | cut -d" " -f1 | sort | uniq -c | awk "{ print \$1 }"'

# kib_inside ID, kib_outside: what is free.
kib_inside() { inside "$1" df -k / | awk 'END { print $4 }'; }
kib_outside() { stat -f -c '%a %S' "$small" | awk '{ print int($1 * $2 / 1024) }'; }

# can_write ID: 8 MiB more.
can_write() { inside "$1" sh -c 'dd if=/dev/zero of=/more bs=1M count=8 && sync && rm /more' 2>/dev/null; }
cannot_write() { ! can_write "$1"; }

# df_is_true ID: what the host has, without the 64 MiB that are kept back.
df_is_true() {
	local difference=$(($(kib_outside) - 65536 - $(kib_inside "$1")))
	((-4096 < difference && difference < 16384))
}

# Without a journal an ext4 looks, for each new file, at the inodes of all that was removed in the last
# minutes: making files took ten times as long.
test_the_disk_has_a_journal() {
	local disk features
	for disk in "$store"/templates/*/scratch "$store"/templates/*/scratch-new; do
		features=$(dumpe2fs -h "$disk" 2>/dev/null | sed -n 's/^Filesystem features: *//p')
		[[ " $features " == *' has_journal '* ]] || fail "$disk: $features"
		[[ " $features " != *' metadata_csum '* ]] || fail "$disk: $features"
	done
}

test_df_tells_what_the_host_has() {
	until_true 10 df_is_true one
	until_true 10 df_is_true two
}

test_two_that_fill_the_host_lose_nothing() {
	local id files why pids=()
	for id in one two; do
		inside $id dd if=/dev/urandom of=/data bs=1M count=4 2>/dev/null
	done
	for id in one two; do
		inside $id sh -c "$fill" >"$work/$id.filled" &
		pids+=($!)
	done
	wait "${pids[@]}"
	for id in one two; do
		read -r files why <"$work/$id.filled"
		expect_match 'No space left on device' "$why"
		((files > 2)) || fail "$id could write $files files only"
		expect $((files + 1)) "$(inside $id sh -c "$digests" digests "$files")" 'whole files'
	done
	(($(kib_outside) > 16384)) || fail "the host has $(kib_outside) KiB left: the margin is too small"
	(($(kib_outside) < 98304)) || fail "the host has $(kib_outside) KiB left, and containers could not write"
}

test_room_that_is_back_can_be_used() {
	until_true 10 cannot_write two
	inside one sh -c 'rm /f.*'
	until_true 10 can_write two
	until_true 10 can_write one
}

# What the host itself writes counts as well.
test_the_host_takes_the_rest() {
	fallocate -l $(($(kib_outside) - 32768))KiB "$small/taken"
	until_true 10 cannot_write one
	expect 0 "$(kib_inside one)" 'what df says is available'
	inside one sync
	rm "$small/taken"
	until_true 10 can_write one
}

# As long as nobody has it open, a folder can be taken away from under the factory.
test_a_folder_that_takes_no_files_is_named() {
	local said
	stop_factory
	configure --arg dir "$work/read-only" '.scratch_dir = $dir'
	mkdir "$work/read-only"
	mount --bind "$work/read-only" "$work/read-only"
	mount -o remount,bind,ro "$work/read-only"
	said=$(start_factory 2>&1) && fail 'a factory that cannot make scratch disks'
	expect_match "scratch_dir $work/read-only.*: Read-only file system" "$said"
	umount "$work/read-only"
	start_factory
}

write_config 2
mkdir "$small"
truncate -s 220M "$work/small.img"
mkfs.ext4 -q -m 0 "$work/small.img"
mount -o loop "$work/small.img" "$small"
configure --arg dir "$small" '.scratch_dir = $dir'
start_factory
start_containerd
prepare_image "$image"
wait_full
start_container one
start_container two
run_tests "$@"
