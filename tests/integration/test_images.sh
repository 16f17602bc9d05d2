#!/bin/bash
# The cache of images: made of real layers by what containerd has, true to them, bounded, and whole
# after whatever happens to the factory, the folder or mkfs.erofs.
. "$(dirname "$0")/crash.sh"

images=$work/images

image() { ctl image "$1" --socket "$run/factory.sock" "${@:2}"; }
image_rows() { image list --json | jq -r "[.images[] | select($1)] | length"; }
# row KEY FILTER: of one image of the list.
row() { image list --json | jq -r --arg k "$1" ".images[] | select(.key == \$k) | $2"; }
cache() { status_json | jq -r ".image_cache.$1"; }
prepare() { image prepare "$1" --containerd "$work/containerd.sock" --namespace "$(basename "$work")" "${@:2}"; }
tree() { /usr/bin/python3 "$tests/integration/tree.py" "$@"; }

# layers NAME: three folders, each with a file of its own, in the array $layers, topmost first.
layers() {
	local name
	layers=()
	for name in top middle bottom; do
		mkdir -p "$work/layers/$1/$name"
		echo "$1" >"$work/layers/$1/$name/$name"
		layers+=("$work/layers/$1/$name")
	done
}

# big_layer NAME MIB: one folder in $layers.
big_layer() {
	layers=("$work/layers/$1")
	mkdir -p "$layers"
	head -c "$2M" /dev/urandom >"$layers/data"
}

# expect_files COUNT WHEN: images with their records, and nothing else, nor mounts.
expect_files() {
	expect "$1" "$(find "$images" -name '*.erofs' | wc -l)" "images $2"
	expect "$1" "$(find "$images" -name '*.json' | wc -l)" "records $2"
	expect "$((2 * $1 + 2))" "$(find "$images" -mindepth 1 | wc -l)" "files $2"
	expect '' "$(grep "$images" /proc/self/mountinfo)" "mounts $2"
	expect '' "$(pgrep -f "mkfs.erofs.*$images" || true)" "mkfs.erofs $2"
}

# layered_image NAME COUNT: one with so many layers more than the busybox image, for ctr to import.
layered_image() {
	local oci=$work/oci-$1 i digest manifest config
	rm -rf "$oci"
	mkdir -p "$oci" "$work/layer"
	tar -C "$oci" -xf "$work/busybox.tar"
	manifest=$oci/blobs/$(jq -r '.manifests[0].digest | sub(":"; "/")' "$oci/index.json")
	config=$oci/blobs/$(jq -r '.config.digest | sub(":"; "/")' "$manifest")
	for ((i = 0; i < $2; i++)); do
		echo "$1 $i" >"$work/layer/file"
		echo "$i" >"$work/layer/own-$i"
		tar -C "$work/layer" --mtime=@$i -cf "$oci/layer" file "own-$i"
		digest=$(sha256sum "$oci/layer" | cut -d' ' -f1)
		jq --arg d "sha256:$digest" --argjson s "$(stat -c %s "$oci/layer")" \
			'.layers += [{mediaType: "application/vnd.oci.image.layer.v1.tar", digest: $d, size: $s}]' \
			"$manifest" >"$oci/new" && mv "$oci/new" "$manifest"
		jq --arg d "sha256:$digest" '.rootfs.diff_ids += [$d]' "$config" >"$oci/new" && mv "$oci/new" "$config"
		mv "$oci/layer" "$oci/blobs/sha256/$digest"
	done
	digest=$(sha256sum "$config" | cut -d' ' -f1)
	jq --arg d "sha256:$digest" --argjson s "$(stat -c %s "$config")" '.config.digest = $d | .config.size = $s' \
		"$manifest" >"$oci/new"
	mv "$config" "$oci/blobs/sha256/$digest"
	digest=$(sha256sum "$oci/new" | cut -d' ' -f1)
	rm "$manifest"
	mv "$oci/new" "$oci/blobs/sha256/$digest"
	jq --arg d "sha256:$digest" --argjson s "$(stat -c %s "$oci/blobs/sha256/$digest")" --arg n "docker.io/kiln/$1:test" \
		'.manifests[0] |= (.digest = $d | .size = $s | .annotations["io.containerd.image.name"] = $n)' \
		"$oci/index.json" >"$oci/new" && mv "$oci/new" "$oci/index.json"
	tar -C "$oci" -cf "$work/$1.tar" .
	ctr images import "$work/$1.tar" >/dev/null
	rm -rf "$oci" "$work/$1.tar" "$work/layer"
}

# container_layers REF: what the root filesystem of a container of it is mounted of.
container_layers() {
	local id=c$RANDOM lower
	ctr run -d --runtime io.containerd.runc.v2 "$1" "$id" sleep 1000 >&2 2>&1 || true
	ctr snapshots mounts /nowhere "$id" | grep -o 'lowerdir=[^, ]*' | cut -d= -f2 | tr : '\n'
	ctr tasks delete --force "$id" >/dev/null 2>&1 || true
	ctr containers delete "$id" >/dev/null
}

test_images_of_containerd_have_the_keys_of_containers() {
	local ref key count
	layered_image three 2
	layered_image many 60
	for ref in "$image" docker.io/kiln/three:test docker.io/kiln/many:test; do
		key=$(prepare "$ref")
		expect_match '^[0-9a-f]{64}$' "$key"
		mapfile -t layers < <(container_layers "$ref")
		expect "$key" "$(image add "${layers[@]}")" "key of a container of $ref"
		expect "${#layers[@]}" "$(row "$key" '.layers | length')" layers
		expect "$ref ready false" "$(row "$key" '"\(.name) \(.state) \(.in_use)"')"
	done
	expect 61 "${#layers[@]}" 'layers of the last'
	expect 3 "$(metrics kiln_image_makes_total result=made)" 'images made'
	expect 3 "$(metrics kiln_image_make_seconds_count)"
	expect 3 "$(metrics kiln_image_cache_images)"
	expect "$(cache bytes)" "$(metrics kiln_image_cache_bytes | xargs printf '%.0f')"
	expect_files 3 'that were prepared'
	expect 0 "$(ctr snapshots ls | grep -c kiln-image || true)" 'views left'
	expect 0 "$(ctr leases ls | grep -c kiln-image || true)" 'leases left'
	expect '' "$(find /tmp -maxdepth 1 -name 'kiln-image.*')" 'folders left'
	if prepare docker.io/kiln/none:test 2>"$work/err"; then fail 'an image that is not there'; fi
	expect_match 'cannot find the layers of docker.io/kiln/none:test: ctr failed' "$(cat "$work/err")"
	expect '' "$(find /tmp -maxdepth 1 -name 'kiln-image.*')" 'folders left'
}

test_list_remove_and_prune() {
	local key
	key=$(image list --json | jq -r '.images[] | select(.name == "docker.io/kiln/three:test").key')
	expect_match 'docker.io/kiln/three:test +ready' "$(image list)"
	expect "$(sha256sum <"$images/$key.erofs" | cut -d ' ' -f 1)" "$(row "$key" .digest)"
	image remove docker.io/kiln/three:test
	expect 0 "$(image_rows '.name == "docker.io/kiln/three:test"')"
	if image remove "$key" 2>"$work/err"; then fail 'removed twice'; fi
	expect_match 'no image has the key or name' "$(cat "$work/err")"
	image remove "$(prepare docker.io/kiln/three:test | cut -c1-12)"
	expect_match '^2 images removed, [0-9.]+ MiB freed$' "$(image prune)"
	expect_files 0 'after prune'
	expect '0 0' "$(status_json | jq -r '"\(.image_cache.images) \(.image_cache.bytes // 0)"')"
}

test_an_image_is_true_to_its_layers() {
	local key names=("$work/tree"/{top,middle,bottom})
	mkdir -p "${names[@]}" "$work/tree/merged" "$work/tree/image"
	tree make "${names[@]}"
	key=$(image add "${names[@]}" --name tree)
	mount -t overlay -o "ro,lowerdir=${names[0]}:${names[1]}:${names[2]}" none "$work/tree/merged"
	mount -t erofs -o loop,ro "$images/$key.erofs" "$work/tree/image"
	tree compare "$work/tree/merged" "$work/tree/image"
	umount "$work/tree/image" "$work/tree/merged"
	# One layer alone: what an overlay would hide of it is hidden, too.
	key=$(image add "${names[1]}")
	mount -t erofs -o loop,ro "$images/$key.erofs" "$work/tree/image"
	expect opaque "$(ls "$work/tree/image")"
	umount "$work/tree/image"
	image prune
}

test_one_maker_for_all_who_wait() {
	local i pids=() before
	before=$(metrics kiln_image_makes_total result=made)
	big_layer together 20
	for i in {1..6}; do
		image add "${layers[@]}" >"$work/together.$i" 2>/dev/null &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i"; done
	expect 1 "$(cat "$work"/together.* | sort -u | wc -l)" keys
	expect "$((before + 1))" "$(metrics kiln_image_makes_total result=made)" 'images made'
	image prune
}

test_one_that_is_open_is_not_removed() {
	local key holder
	layers held
	key=$(image add "${layers[@]}")
	coproc tree hold "$images/$key.erofs"
	holder=$COPROC_PID
	read -r <&"${COPROC[0]}"
	expect true "$(row "$key" .in_use)" 'in use'
	if image remove "$key" 2>"$work/err"; then fail 'removed while open'; fi
	expect_match 'in use' "$(cat "$work/err")"
	expect_match '^0 images' "$(image prune)"
	# Nor is it evicted: the other one does not fit beside it, and it alone would.
	configure '.image_cache_mib = 30'
	kill -HUP "$(factory_pid)"
	until_true 10 limit_is 30
	big_layer fits 28
	image add "${layers[@]}" --name fits
	big_layer next 28
	image add "${layers[@]}" --name next
	expect 1 "$(image_rows '.name == "next"')"
	expect 0 "$(image_rows '.name == "fits"')" 'the one used before'
	expect 1 "$(image_rows ".key == \"$key\"")" 'the one that is open'
	eval "exec ${COPROC[1]}>&-" # the end of its stdin is the holder's
	wait "$holder"
	image remove "$key"
	image prune
}

limit_is() { [ "$(cache limit_bytes)" = "$(($1 << 20))" ]; }

test_least_recently_used_goes_first() {
	local name first second
	for name in first second; do
		big_layer $name 12
		image add "${layers[@]}" --name $name
		sleep 0.02
	done
	image add "$work/layers/first" >/dev/null # which is a use of it
	big_layer third 12
	image add "${layers[@]}" --name third
	expect 'first third' "$(image list --json | jq -r '[.images[].name] | sort | join(" ")')"
	expect_files 2 'within the limit'
	[ "$(cache bytes)" -le $((30 << 20)) ] || fail 'more than the limit'
}

test_one_that_is_too_large_is_remembered() {
	big_layer large 40
	if image add "${layers[@]}" --name large 2>"$work/err"; then fail 'too large, and made'; fi
	expect_match 'larger than the whole cache may be: raise image_cache_mib \(30\)' "$(cat "$work/err")"
	expect failed "$(image list --json | jq -r '.images[] | select(.name == "large").state')"
	expect_match 'raise image_cache_mib' "$(cache error)"
	expect 1 "$(metrics kiln_image_makes_total result=failed 'reason=too large')"
	if image add "${layers[@]}" 2>/dev/null; then fail 'too large, and made'; fi
	expect 1 "$(metrics kiln_image_makes_total result=failed 'reason=too large')" 'tries'
	expect 1 "$(grep -c 'cannot make the image of large' "$work/factory.log")" 'lines in the log'
	expect_files 2 'beside it'
	configure '.image_cache_mib = 100'
	kill -HUP "$(factory_pid)"
	until_true 10 limit_is 100
	image add "${layers[@]}" --name large
	image prune
}

test_damage_is_noticed() {
	local truncated edited
	layers truncated
	truncated=$(image add "${layers[@]}")
	truncate -s -4096 "$images/$truncated.erofs"
	expect failed "$(row "$truncated" .state)"
	expect_match 'bytes, not the' "$(row "$truncated" .error)"
	expect "$truncated" "$(image add "${layers[@]}")" 'key of the one made anew'
	expect ready "$(row "$truncated" .state)"
	layers edited
	edited=$(image add "${layers[@]}")
	printf x | dd of="$images/$edited.erofs" bs=1 seek=2000 conv=notrunc status=none
	expect_match 'changed' "$(row "$edited" .error)"
	truncate -s 0 "$images/$truncated.json"
	expect failed "$(row "$truncated" .state)"
	# What is damaged goes at the next start.
	stop_factory
	start_factory
	expect_files 0 'of damaged ones'
}

# Longer than what a socket takes at once.
test_a_list_of_many() {
	local i key
	for i in {1..1500}; do
		printf -v key '%064x' "$i"
		: >"$images/$key.erofs"
		: >"$images/$key.json"
	done
	expect 1500 "$(image_rows '.state == "failed"')"
	stop_factory
	start_factory
	expect '' "$(cache error)"
	expect_files 0 'of damaged ones'
}

# leaves_nothing WHEN COUNT: what is there after a crash and a start.
leaves_nothing() {
	start_factory
	expect_files "$2" "after $1"
	image add "${layers[@]}" >/dev/null # the one that was lost
	expect_files 1 "made after $1"
	image prune >/dev/null
}

test_a_killed_factory_leaves_nothing() {
	local point whole
	layers crash
	for point in image.making image.made image.renamed image.stored; do
		whole=0
		[ $point != image.stored ] || whole=1
		stop_factory
		start_armed $point
		if image add "${layers[@]}" 2>/dev/null; then fail "answered at $point"; fi
		expect_dead $point
		leaves_nothing $point $whole
	done
}

making() { [ "$(cache making)" = "$1" ] && pgrep -f "mkfs.erofs.*$images" >/dev/null; }

# begin_making: mkfs.erofs runs when this returns, its pid in $maker. It is held, for it is fast.
begin_making() {
	image add "${layers[@]}" --name slow >"$work/slow.out" 2>&1 &
	waiter=$!
	until_true 20 making slow
	maker=$(pgrep -f "mkfs.erofs.*$images")
	kill -STOP "$maker"
}

test_killed_and_stopped_while_mkfs_runs() {
	configure '.image_cache_mib = 1000'
	stop_factory
	start_factory
	big_layer slow 300
	begin_making
	kill -9 "$maker"
	if wait $waiter; then fail 'mkfs.erofs was killed'; fi
	expect_match 'mkfs.erofs was ended by signal 9' "$(cat "$work/slow.out")"
	expect_files 0 'after mkfs.erofs was killed'
	begin_making
	stop_factory KILL
	wait_gone "$maker"
	wait $waiter || true
	layers crash
	leaves_nothing 'kill -9 during mkfs.erofs' 0
	layers=("$work/layers/slow")
	begin_making
	stop_factory
	wait_gone "$maker"
	if wait $waiter; then fail 'the factory was stopped'; fi
	expect_match 'the factory is stopping' "$(cat "$work/slow.out")"
	expect_files 0 'after a stop'
	rm -rf "$work/layers/slow"
	start_factory
}

test_without_mkfs_erofs() {
	stop_factory
	PATH=$BUILD:$work start_factory_with_path
	layers without
	if image add "${layers[@]}" --name without 2>"$work/err"; then fail 'made without mkfs.erofs'; fi
	expect_match 'install erofs-utils.*not found on PATH' "$(cat "$work/err")"
	expect_match 'install erofs-utils' "$(cache error)"
	expect_match 'cannot make the image of without' "$(grep ERROR "$work/factory.log")"
	stop_factory
	start_factory
}
start_factory_with_path() { /usr/bin/timeout 60 "$BUILD/kiln-factory" --daemon --config "$work/factory.json"; }

test_a_full_disk() {
	stop_factory
	mkdir -p "$work/small"
	mount -t tmpfs -o size=3m none "$work/small"
	configure --arg d "$work/small/images" '.image_cache = $d'
	start_factory
	big_layer disk 8
	if image add "${layers[@]}" --name disk 2>"$work/err"; then fail 'on a full disk'; fi
	expect_match "no space is left in $work/small/images: make room" "$(cat "$work/err")"
	expect '' "$(find "$work/small" -name '*.tmp')" 'files left'
	layers small
	image add "${layers[@]}"
}

test_a_folder_that_cannot_be_used_is_an_error_of_status() {
	stop_factory
	mount -o remount,ro "$work/small"
	start_factory
	expect_match 'Read-only file system' "$(cache error)"
	expect_match 'containers go on without' "$(grep ERROR "$work/factory.log" | tail -n 1)"
	layers readonly
	if image add "${layers[@]}" 2>"$work/err"; then fail 'in a read-only folder'; fi
	expect_match 'Read-only file system' "$(cat "$work/err")"
	stop_factory
	umount "$work/small"
	# One that goes while the factory runs is made anew.
	configure --arg d "$images" '.image_cache = $d'
	start_factory
	image add "${layers[@]}"
	rm -rf "$images"
	if image add "${layers[@]}" 2>"$work/err"; then fail 'in a folder that is gone'; fi
	expect_match 'was removed or replaced' "$(cat "$work/err")"
	until_true 20 image add "${layers[@]}"
	expect '' "$(cache error)"
	expect_files 1 'in the new folder'
}

test_another_factory_and_none() {
	jq --arg run "$work/other" '.run_dir = $run | .store = $run' "$work/factory.json" >"$work/other.json"
	timeout 60 kiln-factory --daemon --config "$work/other.json"
	expect_match 'another kiln-factory .* set another image_cache' \
		"$(ctl factory status --json --socket "$work/other/factory.sock" | jq -r .image_cache.error)"
	kill "$(cat "$work/other/factory.lock")"
	wait_gone "$(cat "$work/other/factory.lock")"
	stop_factory
	configure '.image_cache = ""'
	start_factory
	expect null "$(status_json | jq .image_cache)"
	if image list 2>"$work/err"; then fail 'a list of nothing'; fi
	expect_match 'image_cache is empty' "$(cat "$work/err")"
}

write_config 0
start_factory
start_containerd
run_tests
