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

# slots_taken: how often a slot was given an image.
slots_taken() { grep -c 'attaching -> holding' "$work/shim.log"; }

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
	expect '2 ttrpc containerd.types.MountCapabilities' \
		"$(jq -r '"\(.version) \(.protocol) \(.extension)"' <<<"$answer")"
	expect 'erofs overlay format mkdir' "$(jq -r '.types + .transforms | join(" ")' <<<"$answer")"
}

test_two_containers_of_a_pod_share_a_slot() {
	local both
	both=$(mounts "$(erofs top)" "$(erofs base)" "$(overlay "workdir=$work/w" "upperdir=$work/u" \
		'lowerdir={{ overlay 0 1 }}')")
	expect "top
no
written
top" "$(shim run pair "$both" 'cat /etc/layer; test -e /gone || echo no; echo written >/etc/layer; cat /etc/layer' \
		"$both" 'cat /etc/layer')"
	expect 1 "$(slots_taken)" "slots"
	grep -q 'over the images of its layers' "$work/shim.log" || fail "the log does not tell of the images"
	expect '' "$(grep "$work.* erofs " /proc/self/mountinfo || true)" "images that the host has mounted"
}

test_hundred_layers_are_on_one_slot() {
	local i list=()
	for i in {98..1}; do list+=("$(erofs "l$i")"); done
	list+=("$(erofs top)" "$(erofs base)" "$(overlay 'lowerdir={{ overlay 0 99 }}')")
	expect "98
98" "$(shim run many "$(mounts "${list[@]}")" 'cat /etc/layer; ls /etc/many | wc -l')"
	expect 1 "$(slots_taken)" "slots"
	grep -q '100 layers, of 100 images' "$work/shim.log" || fail "the log does not count the layers"
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
	expect 1 "$(slots_taken)" "slots"
	folders=$(jq -nc --arg l "lowerdir=$work/m1:$work/base" '[{type: "overlay", source: "overlay", options: [$l]}]')
	expect_match "layer $work/base is not where an image is mounted" "$(shim run mixed "$folders" true || true)"
	umount "$work/m1" "$work/m2"
}

test_writable_image_is_said_to_be_of_no_use() {
	truncate -s 1M "$work/rw.img"
	expect top "$(shim run writable "$(mounts "$(jq -nc '{type: "ext4", source: $s, options: ["rw", "loop"]}' --arg s "$work/rw.img")" \
		"$(erofs top)" "$(erofs base)" "$(overlay 'upperdir={{ mount 0 }}/upper' 'lowerdir={{ overlay 1 2 }}')")" 'cat /etc/layer')"
	grep -q "$work/rw.img is not used" "$work/shim.log" || fail "the log does not tell of the image"
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
run_tests
