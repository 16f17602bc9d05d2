#!/bin/bash
# Images of layers as containerd's EROFS snapshotter hands them over (from 2.4 on as they are, before
# mounted by the host): given to the shim as containerd would, for no containerd of the distribution
# has that snapshotter.
. "$(dirname "$0")/lib.sh"

export SHIM_WORK=$work/pods SHIM_NAMESPACE=$(basename "$work")

shim() { timeout 200 /usr/bin/python3 -B "$tests/integration/shim.py" "$@" 2>"$work/shim.log"; }

# layer NAME: the image of the folder $work/NAME.
layer() { mkfs.erofs --quiet -Enoinline_data "$work/$1.erofs" "$work/$1"; }

# erofs NAME [OPTION]...: the mount of a layer, as JSON.
erofs() { jq -nc '{type: "erofs", source: $ARGS.positional[0], options: (["ro", "loop"] + $ARGS.positional[1:])}' \
	--args "$work/$1.erofs" "${@:2}"; }

# overlay OPTION...: the last mount.
overlay() { jq -nc '{type: "format/mkdir/overlay", source: "overlay", options: $ARGS.positional}' --args "$@"; }

# mounts MOUNT...: all of them.
mounts() { jq -sc . <<<"$*"; }

# hold POD: its container has a stdin, which let_go ends. Whatever fails ends it, too.
hold() {
	mkfifo "$SHIM_WORK/$1.in"
	exec {held}<>"$SHIM_WORK/$1.in"
}
let_go() {
	echo >&"$held"
	exec {held}>&-
}

# taken WHAT: how often a window, or a slot, was given an image.
taken() { grep -c "$1 [0-9]* ([0-9a-f]*): .*attaching -> holding" "$work/shim.log" || true; }

make_layers() {
	local i
	mkdir -p "$SHIM_WORK"
	"$tests/busybox-root" "$work/base"
	layer base
	mkdir -p "$work/top/etc" "$work/top/proc"
	echo top >"$work/top/etc/layer"
	mknod "$work/top/gone" c 0 0 # a whiteout
	touch "$work/base/gone"
	layer base
	layer top
	for i in {1..98}; do
		mkdir -p "$work/l$i/etc/many"
		echo "$i" | tee "$work/l$i/etc/layer" >"$work/l$i/etc/many/$i"
		layer "l$i"
	done
}

test_start_tells_what_is_mounted_here() {
	local answer
	answer=$(shim start boot)
	expect '3 ttrpc containerd.types.MountCapabilities' \
		"$(jq -r '"\(.version) \(.protocol) \(.extension)"' <<<"$answer")"
	expect 'erofs overlay format mkdir mkfs' "$(jq -r '.types + .transforms | join(" ")' <<<"$answer")"
}

test_two_containers_of_a_pod_share_a_window() {
	local both
	both=$(mounts "$(erofs top)" "$(erofs base)" "$(overlay "workdir=$work/w" "upperdir=$work/u" \
		'lowerdir={{ overlay 0 1 }}')")
	expect "top
no
written
top" "$(shim run pair "$both" 'cat /etc/layer; test -e /gone || echo no; echo written >/etc/layer; cat /etc/layer' \
		"$both" 'cat /etc/layer')"
	expect 1 "$(taken window)" "windows"
	expect 0 "$(taken slot)" "slots"
	grep -q 'over the images of its layers, by DAX' "$work/shim.log" || fail "the log does not tell of the images"
	expect '' "$(grep "$work.* erofs " /proc/self/mountinfo || true)" "images that the host has mounted"
}

# many NAME: the mounts of 100 layers, and of that one above them.
many() {
	local i list=("$(erofs "$1")")
	for i in {98..1}; do list+=("$(erofs "l$i")"); done
	mounts "${list[@]}" "$(erofs top)" "$(erofs base)" "$(overlay 'lowerdir={{ overlay 0 100 }}')"
}

# The machine's two windows hold two images; the third one of the pod is on a slot.
test_hundred_layers_are_in_one_window_or_on_one_slot() {
	expect "98
98
1
2
98" "$(shim run many "$(many top)" 'cat /etc/layer | sed s/top/98/; ls /etc/many | wc -l' \
		"$(mounts "$(erofs l1)" "$(erofs base)" "$(overlay 'lowerdir={{ overlay 0 1 }}' "upperdir=$work/u")")" 'cat /etc/layer' \
		"$(many l2)" 'cat /etc/layer; ls /etc/many | wc -l')"
	expect 2 "$(taken window)" "windows"
	expect 1 "$(taken slot)" "slots"
	grep -q '101 layers, of 101 images' "$work/shim.log" || fail "the log does not count the layers"
}

# own_mib ID: memory of a sandbox's VMM that is of no file.
own_mib() {
	awk '/^Anonymous:/ { printf "%d", $2 / 1024 }' "/proc/$(factory_ctl list --json |
		jq --arg id "$1" '.vms[] | select(.sandbox_id == $id).pid')/smaps_rollup"
}

test_what_is_read_is_in_the_hosts_memory_once() {
	local pid
	mkdir "$work/data"
	head -c 64M /dev/urandom >"$work/data/data"
	layer data
	rm -r "$work/data"
	hold reads
	shim run reads "$(mounts "$(erofs data)" "$(erofs base)" "$(overlay 'lowerdir={{ overlay 0 1 }}' "upperdir=$work/u")")" \
		'cat /data | tail -c 1 | wc -c; read -r go' >"$work/reads.out" {held}>&- &
	pid=$!
	until_true 60 grep -qsx 1 "$SHIM_WORK/reads.out"
	expect_match 'reads +[a-z]+ +reads overlay-dax$' "$(factory_ctl list)"
	[ "$(own_mib reads)" -lt 80 ] || fail "the machine has $(own_mib reads) MiB of its own after it read 64 MiB"
	let_go
	wait "$pid"
}

# As containerd 2.1 to 2.3 have it: an overlay of folders where the host has mounted images.
test_images_that_the_host_has_mounted_are_found() {
	local folders
	grep -qw erofs /proc/filesystems || { echo "this host's kernel has no EROFS"; return 0; }
	mkdir "$work/m1" "$work/m2"
	mount -t erofs -o ro,loop "$work/top.erofs" "$work/m1"
	mount -t erofs -o ro,loop "$work/base.erofs" "$work/m2"
	folders=$(jq -nc --arg l "lowerdir=$work/m1:$work/m2" '[{type: "overlay", source: "overlay", options: [$l]}]')
	expect top "$(shim run mounted "$folders" 'cat /etc/layer')"
	expect 1 "$(taken window)" "windows"
	folders=$(jq -nc --arg l "lowerdir=$work/m1:$work/base" '[{type: "overlay", source: "overlay", options: [$l]}]')
	expect_match "layer $work/base is not where an image is mounted" "$(shim run mixed "$folders" true || true)"
	umount "$work/m1" "$work/m2"
}

# written NAME MIB: the mounts of top and base, with the image of that name for what is written.
written() {
	mounts "$(jq -nc --arg s "$work/$1.img" --arg m "$2" '{type: "mkfs/ext4", source: $s, options:
			["X-containerd.mkfs.fs=ext4", "X-containerd.mkfs.size=\($m | tonumber * 1048576)", "rw", "loop"]}')" \
		"$(erofs top)" "$(erofs base)" "$(overlay 'workdir={{ mount 0 }}/work' 'upperdir={{ mount 0 }}/upper' \
			'X-containerd.mkdir.path={{ mount 0 }}/upper:0755' 'lowerdir={{ overlay 1 2 }}')"
}

# in_image NAME COMMAND: debugfs's answer of an image that no machine has.
in_image() { debugfs -R "$2" "$work/$1.img" 2>/dev/null; }

# is_listed KIND: some container's root is of that kind.
is_listed() { factory_ctl list --json | jq -e --arg kind "$1" '[.vms[].roots[]?.root] | index($kind)' >/dev/null; }

test_what_is_written_is_in_the_image() {
	local pid
	hold kept
	shim run kept "$(written kept 64)" 'echo word >/etc/layer; chmod 2601 /etc/layer; mkfifo /fifo; rm /etc/passwd
		mkdir /new; sync; grep -c "^overlay / .*upperdir=/run/kata-containers/disks" /proc/mounts; read -r go' >"$work/kept.out" {held}>&- &
	pid=$!
	until_true 60 is_listed overlay-dax-block
	until_true 60 [ -s "$SHIM_WORK/kept.out" ] # it runs: its stdin was opened
	let_go
	wait "$pid" || fail "status $?: $(cat "$work/kept.out" "$work/shim.log")"
	expect 1 "$(cat "$work/kept.out")"
	grep -q 'over the images of its layers, by DAX, written to the snapshotter' "$work/shim.log" || fail "the log does not tell of the image"
	e2fsck -fn "$work/kept.img" >/dev/null || fail 'the file system was not unmounted'
	expect word "$(in_image kept 'cat upper/etc/layer')"
	expect_match 'Mode: +02601' "$(in_image kept 'stat upper/etc/layer')"
	expect_match 'Type: character special' "$(in_image kept 'stat upper/etc/passwd')" # a whiteout
	expect_match 'Mode: +0755' "$(in_image kept 'stat upper')"
	[ "$(du -k "$work/kept.img" | cut -f1)" -lt 8192 ] || fail 'the image is not thin'
	expect $'word\nfifo' "$(shim run again "$(written kept 64)" 'cat /etc/layer; test -p /fifo && echo fifo')" 'the next task'
	expect '' "$(ls "$work"/kept.img?*)" 'files beside the image'
}

test_a_full_image_is_a_full_disk() {
	expect_match 'No space left on device.*lives' "$(shim run full "$(written full 16)" \
		'while cat /bin/busybox; do :; done 2>&1 >/file; rm /file; echo lives >/etc/layer && cat /etc/layer' | tr '\n' ' ')"
	e2fsck -fn "$work/full.img" >/dev/null || fail 'the file system is broken'
}

test_wrong_images_to_write_to_are_named() {
	local out
	truncate -s 1M "$work/none.img"
	out=$(shim run none "$(written none 16)" true || true)
	expect_match "image to write to, $work/none.img: it has no ext4 file system" "$out"
	truncate -s 16M "$work/cut.img"
	mkfs.ext4 -q "$work/cut.img"
	truncate -s 8M "$work/cut.img"
	out=$(shim run cut "$(written cut 16)" true || true)
	expect_match "image to write to, $work/cut.img: it is truncated: " "$out"
	# What only the guest's kernel finds: group descriptors that are not where they should be.
	truncate -s 16M "$work/torn.img"
	mkfs.ext4 -q -O ^metadata_csum "$work/torn.img"
	dd if=/dev/urandom of="$work/torn.img" bs=1k seek=2 count=1 conv=notrunc status=none
	out=$(shim run torn "$(written torn 16)" true || true)
	expect_match "image to write to \\($work/torn.img\\): .*cannot mount ext4" "$out"
	mkdir "$work/folder.img"
	out=$(shim run folder "$(written folder 16)" true || true)
	expect_match "image to write to, $work/folder.img: it is no file" "$out"
	out=$(shim run nowhere "$(written nowhere 16 | sed "s|$work/nowhere|/no/such/place|")" true || true)
	expect_match "image to write to, /no/such/place.img: cannot make a file" "$out"
	expect '' "$(grep "$work.*img" /proc/self/mountinfo || true)" 'images that the host has mounted'
}

test_a_view_is_read_only() {
	expect_match 'Read-only file system' "$(shim run view "$(mounts "$(erofs base)")" 'touch /new; true' 2>&1)"
	expect_match 'Read-only file system' "$(shim run views "$(mounts "$(erofs top)" "$(erofs base)" \
		"$(overlay 'lowerdir={{ overlay 0 1 }}')")" 'touch /new; true' 2>&1)"
}

# refused POD TEXT NAME: a container over the layer NAME cannot be made, and the reason has TEXT.
refused() {
	local said status=0
	said=$(shim run "$1" "$(mounts "$(erofs top)" "$(erofs "$3")" "$(overlay 'lowerdir={{ overlay 0 1 }}')")" true) || status=$?
	expect 125 "$status" "status of $1"
	expect_match "$2" "$said"
}

test_wrong_images_are_named() {
	head -c 1M "$work/base.erofs" >"$work/short.erofs"
	refused short "layer $work/short.erofs: it is truncated: 1048576 bytes of" short
	head -c 1M /dev/zero >"$work/zeros.erofs"
	refused zeros "layer $work/zeros.erofs: it is no EROFS image" zeros
	refused missing "layer $work/missing.erofs: cannot open it: No such file" missing
	# What only the guest's kernel finds: a root inode that is not there.
	cp "$work/base.erofs" "$work/corrupt.erofs"
	printf '\377\377' | dd of="$work/corrupt.erofs" bs=1 seek=1038 conv=notrunc status=none
	refused corrupt 'layer 1: cannot mount erofs' corrupt
}

write_config 1
start_factory && make_layers || { tail "$work/factory.log"; exit 1; }
wait_full || { echo 'the pool did not fill'; exit 1; }
run_tests "$@"
