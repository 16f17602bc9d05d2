#!/bin/bash
# Block devices and images with file systems, as a container's root, volumes and devices, by real containerd:
# what the container can do with them, what is on the host afterwards, and what is refused.
. "$(dirname "$0")/lib.sh"

disks=$work/disks
mkdir "$disks"

# disk NAME MIB [FILE SYSTEM]: a file for a disk, in $disk.
disk() {
	disk=$disks/$1
	rm -f "$disk"
	truncate -s "$2M" "$disk"
	[ $# -lt 3 ] || "mkfs.$3" -q "$disk"
}

# loop NAME MIB [FILE SYSTEM]: the same as a device of the host, in $loop.
loop() {
	disk "$@"
	loop=$(losetup -f --show "$disk")
	echo "$loop" >>"$disks/loops"
}

# free: what belongs to no sandbox any more can be let go.
free() {
	local device
	while read -r device; do losetup -d "$device"; done <"$disks/loops"
	rm "$disks/loops"
}

# image_mount FILE PLACE OPTIONS: for ctr.
image_mount() { echo "--mount type=ext4,src=$1,dst=$2,options=loop:$3"; }

# bundle NAME FILTER: a container's spec with a root folder, changed by jq, in $spec.
bundle() {
	[ -d "$work/root" ] || "$tests/busybox-root" "$work/root"
	spec=$disks/$1.json
	ctr oci spec | jq --arg root "$work/root" \
		'.root = {path: $root, readonly: false} | .process.terminal = false | .process.args = ["sleep", "1000"]
		 | .linux.resources.devices = [{allow: false, access: "rwm"}] | '"$2" >"$spec"
}

# device PLACE HOST ACCESS MODE UID GID: for jq, what the spec of a container says of one.
device() {
	printf '.linux.devices += [{path: "%s", type: "b", major: %d, minor: %d, fileMode: %d, uid: %d, gid: %d}]
		| .linux.resources.devices += [{allow: true, type: "b", major: %d, minor: %d, access: "%s"}]' \
		"$1" $(stat -c '0x%t 0x%T' "$2") "$((8#$4))" "$5" "$6" $(stat -c '0x%t 0x%T' "$2") "$3"
}

# of_spec POD ID: a container of $spec that stays, in the pod.
of_spec() {
	jq --arg pod "$1" --arg type "$([ "$1" = "$2" ] && echo sandbox || echo container)" \
		'.annotations += {"io.kubernetes.cri.sandbox-id": $pod, "io.kubernetes.cri.container-type": $type}' \
		"$spec" >"$spec.pod"
	alone "$2" "$spec.pod"
}

# alone ID [SPEC]: the same in no pod.
alone() { ctr run -d --runtime io.containerd.kiln.v2 --config "${2:-$spec}" "$1"; }
inside() { ctr tasks exec --exec-id "e$RANDOM" "$1" "${@:2}"; }

# ---------------------------------------------------------------- devices

test_a_device_is_read_and_written() {
	local out
	loop device 24
	printf first | dd of="$loop" conv=notrunc status=none
	out=$(kiln_run device --device "$loop" -- sh -c "head -c 5 $loop; printf later | dd of=$loop bs=1M seek=23 2>/dev/null
		blockdev --getsize64 $loop")
	expect "first$((24 << 20))" "$out" 'content and size'
	expect later "$(dd if="$disk" bs=1M skip=23 status=none | head -c 5)" 'on the host'
	out=$(kiln_run format --device "$loop" -- sh -c "mke2fs $loop >/dev/null; mount -t ext4 $loop /tmp 2>&1; echo \$?")
	e2fsck -fn "$disk" >/dev/null || fail 'the file system that the container made is broken'
	free
}

test_devices_have_the_mode_and_access_asked_for() {
	local a b
	loop a 8
	a=$loop
	loop b 8
	b=$loop
	printf seen | dd of="$b" conv=notrunc status=none
	bundle modes "$(device /dev/xvda "$a" rwm 0640 5 6) | $(device /dev/deep/xvdb "$b" rm 0444 0 0) | $(device /block "$a" rwm 0600 0 0)"
	alone modes
	expect 'brw-r----- 5 6' "$(inside modes stat -c '%A %u %g' /dev/xvda)"
	expect 'br--r--r-- 0 0' "$(inside modes stat -c '%A %u %g' /dev/deep/xvdb)"
	expect seen "$(inside modes head -c 4 /dev/deep/xvdb)"
	inside modes sh -c 'printf new | dd of=/block 2>/dev/null'
	expect new "$(inside modes head -c 3 /dev/xvda)"
	! inside modes sh -c 'printf new | dd of=/dev/deep/xvdb' 2>/dev/null || fail 'a read-only device was written to'
	remove_container modes
	expect new "$(head -c 3 "$a")"
	free
}

test_a_pod_has_a_device_once() {
	loop shared 8
	bundle shared "$(device /dev/xvda "$loop" rwm 0600 0 0)"
	of_spec pod pod
	of_spec pod one
	of_spec pod two
	expect 1 "$(inside one cat /proc/partitions | grep -c ' 8192 vd')" 'disks of this size'
	inside one sh -c 'printf word | dd of=/dev/xvda 2>/dev/null'
	expect word "$(inside two head -c 4 /dev/xvda)"
	remove_container one
	expect word "$(inside two head -c 4 /dev/xvda)" 'while one container still has it'
	remove_container two
	expect word "$(head -c 4 "$loop")" 'on the host'
	remove_container pod
	free
}

# ---------------------------------------------------------------- volumes

test_an_image_is_a_volume() {
	local out
	disk volume 32 ext4
	out=$(kiln_run volume $(image_mount "$disk" /data rw:noatime) -- \
		sh -c 'echo word >/data/file; chown 70000:70000 /data/file; mkfifo /data/fifo; grep -c " /data .*noatime" /proc/self/mountinfo')
	expect 1 "$out" 'mounts with its option'
	e2fsck -fn "$disk" >/dev/null || fail 'the file system was not unmounted'
	expect_match 'User: +70000' "$(debugfs -R 'stat file' "$disk" 2>/dev/null)"
	out=$(kiln_run again $(image_mount "$disk" /data ro) -- sh -c 'cat /data/file; touch /data/new 2>/dev/null; echo $?')
	expect $'word\n1' "$out" 'read-only'
}

test_a_pod_mounts_a_volume_once() {
	local first second
	disk both 32 ext4
	bundle both ".mounts += [{type: \"ext4\", source: \"$disk\", destination: \"/data\", options: [\"loop\"]}]"
	first=$spec
	bundle reader ".mounts += [{type: \"ext4\", source: \"$disk\", destination: \"/other\", options: [\"loop\", \"ro\"]}]"
	second=$spec
	bundle nothing .
	of_spec vols vols
	spec=$first of_spec vols writer
	spec=$second of_spec vols reader
	inside writer sh -c 'echo word >/data/file'
	expect word "$(inside reader cat /other/file)"
	! inside reader touch /other/new 2>/dev/null || fail 'the reader can write'
	remove_container writer
	expect word "$(inside reader cat /other/file)" 'after the writer'
	remove_container reader
	remove_container vols
	e2fsck -fn "$disk" >/dev/null || fail 'the file system was not unmounted'
}

test_direct_volumes() {
	local path=$work/pods/1/volumes/mount out
	mkdir -p "$path"
	loop direct 32 ext4
	ctl direct-volume add --run-dir "$run" --volume-path "$path" --mount-info \
		"{\"volume-type\": \"block\", \"device\": \"$loop\", \"fstype\": \"ext4\", \"options\": [\"noatime\"]}"
	out=$(kiln_run direct --mount "type=bind,src=$path,dst=/data,options=rbind:rw" -- \
		sh -c 'echo word >/data/file; stat -f -c %T /data; df -k /data | awk "END { print (\$2 < 32768) }"')
	expect $'ext2/ext3\n1' "$out" 'in the guest'
	expect '' "$(ls "$path")" 'in the folder on the host'
	expect word "$(debugfs -R 'cat file' "$loop" 2>/dev/null)"
	ctl direct-volume remove --run-dir "$run" --volume-path "$path"
	kiln_run folder --mount "type=bind,src=$path,dst=/data,options=rbind:rw" -- sh -c 'echo folder >/data/file'
	expect folder "$(cat "$path/file")" 'a folder again'
	! out=$(ctl direct-volume add --run-dir "$run" --volume-path "$path" --mount-info '{"device": "/dev/x"}' 2>&1)
	expect_match 'fstype' "$out"
	free
}

# volume VERB [OPTIONS]: of the direct volume $path.
volume() { ctl direct-volume "$1" --run-dir "$run" --volume-path "$path" "${@:2}"; }

test_direct_volumes_are_measured_and_grow() {
	local path=$work/pods/2/volumes/mount out
	mkdir -p "$path"
	loop grows 32 ext4
	volume add --mount-info "{\"device\": \"$loop\", \"fstype\": \"ext4\"}"
	! out=$(volume stats 2>&1)
	expect_match 'no sandbox has the volume' "$out"
	bundle grows ".mounts += [{type: \"bind\", source: \"$path\", destination: \"/data\", options: [\"rbind\", \"ro\"]}]"
	of_spec grows grows
	bundle writer ".mounts += [{type: \"bind\", source: \"$path\", destination: \"/data\", options: [\"rbind\"]}]"
	of_spec grows writer
	inside writer dd if=/dev/zero of=/data/file bs=1M count=4 2>/dev/null
	! inside grows touch /data/new 2>/dev/null || fail 'the read-only mount was written to'
	inside writer sync
	expect true "$(volume stats | jq '.usage | [.[0].used > 4194304, .[0].total < 33554432, .[1].used == 12, .[0].unit == 1] | all')"
	! out=$(volume resize --size $((64 << 20)) 2>&1)
	expect_match 'the device has 33554432 bytes' "$out"
	truncate -s 64M "$disk"
	losetup -c "$loop"
	volume resize --size $((64 << 20))
	expect true "$(volume stats | jq '.usage[0].total > 50000000')"
	inside writer dd if=/dev/zero of=/data/file bs=1M count=40 2>/dev/null
	remove_container writer
	remove_container grows
	! out=$(volume stats 2>&1)
	expect_match 'no sandbox has the volume' "$out"
	volume remove
	e2fsck -fn "$disk" >/dev/null || fail 'the file system is broken'
	free
}

# ---------------------------------------------------------------- roots

# block_root ID IMAGE OPTIONS COMMAND: a container whose root is the file system on the image.
block_root() {
	mkdir -p "$disks/bundle-$1"
	bundle "bundle-$1/config" ".process.args = [\"sh\", \"-c\", $(jq -n --arg c "$4" '$c')] | .root.path = \"rootfs\""
	timeout 120 /usr/bin/python3 -B "$tests/integration/block_root.py" "$1" "$disks/bundle-$1" "$(basename "$work")" \
		"$work/containerd.sock" ext4 "$2" "$3"
}

test_a_root_on_a_block_device() {
	local out
	bundle root .
	disk root 64
	mkfs.ext4 -q -d "$work/root" "$disk"
	block_root root "$disk" loop,rw 'echo word >/root/file; chown 70000 /root/file; ln /root/file /root/other; exit 7' &&
		fail 'its exit status is lost'
	expect 7 $? 'its exit status'
	e2fsck -fn "$disk" >/dev/null || fail 'the root was not unmounted'
	expect word "$(debugfs -R 'cat root/file' "$disk" 2>/dev/null)"
	block_root again "$disk" loop,rw '[ "$(stat -c "%h %u" /root/file)" = "2 70000" ] && rm -r /root/file' ||
		fail 'what was written is not there the next time'
	block_root readonly "$disk" loop,ro 'touch /new' && fail 'a read-only root was written to'
	loop nothing 64
	! out=$(block_root nothing "$loop" rw true 2>&1) || fail 'a disk without a file system is a root'
	expect_match 'root file system|rootfs' "$out"
	free
}

# ---------------------------------------------------------------- what is refused

# refused REGEX CTR OPTIONS: no such container, and all is told.
refused() {
	local out
	! out=$(kiln_run refused "${@:2}" -- true 2>&1) || fail "not refused: ${*:2}"
	expect_match "$1" "$out"
}

test_errors_name_the_device_and_the_volume() {
	local busy
	disk small 8
	refused "volume /data \\($disks/none\\): .*No such file" $(image_mount "$disks/none" /data rw)
	refused "volume /data \\($disks\\): .*neither" $(image_mount "$disks" /data rw)
	refused '/data|disks' $(image_mount "$disk" /data rw)
	disk strange 8 # the one before is its machine's until that has ended
	refused 'the guest.s kernel knows no file system "no-such-fs"' --mount "type=no-such-fs,src=$disk,dst=/data,options=loop"
	disk short 8
	truncate -s 100 "$disk"
	refused "volume /data \\($disk\\): .*too small" $(image_mount "$disk" /data rw)
	loop gone 8
	bundle gone "$(device /dev/xvda "$loop" rwm 0600 0 0 | sed 's/minor: [0-9]*/minor: 4321/g')"
	free
	! alone gone 2>"$disks/out" || fail 'a device that is not there'
	expect_match 'device /dev/xvda: the host has no block device 7:4321' "$(cat "$disks/out")"
	ctr containers delete gone
	disk busy 32 ext4
	busy=$disk
	bundle busy ".mounts += [{type: \"ext4\", source: \"$busy\", destination: \"/data\", options: [\"loop\"]}]"
	alone busy
	refused "volume /data \\($busy\\): it is in use by another sandbox" $(image_mount "$busy" /data rw)
	refused "volume /data \\($busy\\): it is in use by another sandbox" $(image_mount "$busy" /data ro)
	inside busy sh -c 'echo lives >/data/file'
	remove_container busy
	kiln_run free $(image_mount "$busy" /data rw) -- grep -q lives /data/file
}

test_a_device_of_the_host_that_is_mounted_is_refused() {
	loop mounted 32 ext4
	mkdir -p "$disks/mnt"
	mount "$loop" "$disks/mnt"
	refused "device $loop \\($loop\\): it is in use" --device "$loop"
	umount "$disks/mnt"
	kiln_run free2 --device "$loop" -- true
	free
}

test_a_killed_shim_leaves_nothing() {
	local pid
	loop killed 32 ext4
	bundle killed ".mounts += [{type: \"ext4\", source: \"$loop\", destination: \"/data\"}]"
	alone killed
	inside killed sh -c 'echo synced >/data/file; sync'
	pid=$(pgrep -f "containerd-shim-kiln-v2 .*$(basename "$work") .*-id killed ")
	kill -9 "$pid"
	wait_gone "$pid"
	ctr tasks delete --force killed >/dev/null 2>&1 || true
	ctr containers delete killed
	until_true 20 mount -t ext4 "$loop" "$disks/mnt"
	expect synced "$(cat "$disks/mnt/file")"
	umount "$disks/mnt"
	free
}

test_nothing_is_left() {
	wait_no_sandboxes
	expect '' "$(losetup -a | grep "$disks" || true)" 'loop devices'
	expect '' "$(grep "$disks" /proc/self/mountinfo || true)" mounts
}

# Those of a test that failed.
cleanup_loops() {
	cleanup
	losetup -a | grep "($disks/" | cut -d: -f1 | while read -r device; do losetup -d "$device"; done
}
trap cleanup_loops EXIT

write_config 3
start_factory
start_containerd
wait_full
run_tests "$@"
