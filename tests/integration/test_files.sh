#!/bin/bash
# What a container's root file system does for programs: the probe (tests/probe) runs once by runc
# and once by kiln on the same containerd, and what holds for runc has to hold for kiln.
. "$(dirname "$0")/lib.sh"

probe_image=docker.io/kiln/probe:test
least=60 # properties that hold under runc; fewer: the probe did not run as it should

# probe OUT RUNTIME ID [CTR OPTION]... ROOT
probe() {
	ctr run --rm --runtime "io.containerd.$2.v2" --allow-new-privs \
		--mount type=tmpfs,src=tmpfs,dst=/full,options=size=4m "${@:4}" "$3" /bin/probe /probed \
		>"$work/$1" 2>&1 || fail "the probe by $2: $(tail -n 5 "$work/$1")"
}

# holds OUT: the names of what holds.
holds() { sed -n 's/^ok //p' "$work/$1" | sort; }

# compare RUNC KILN [NAME]...: outputs. What holds for runc and not for kiln has to be what
# docs/FILES.md tells, by name.
compare() {
	local held missing
	held=$(holds "$1" | wc -l)
	[ "$held" -ge $least ] || fail "only $held properties hold under runc: $(grep -v '^ok ' "$work/$1")"
	missing=$(comm -23 <(holds "$1") <(holds "$2"))
	[ "$missing" = "$(printf '%s\n' "${@:3}" | sort)" ] ||
		fail "of $held properties these do not hold, but should only ${*:3}:
$(while read -r name; do grep "^not ok $name " "$work/$2" || echo "not ok $name was not run"; done <<<"$missing")"
}

# No overlay of Linux 6.1 has O_TMPFILE.
no_tmpfile=(file_without_a_name)
# What layers lose that are read through the share.
no_share=(image_capability image_file_gets_a_link image_owner_mode_times)

# The image has files with capabilities: its first container waits for the image of its layers.
test_root_of_an_image() {
	probe image.runc runc image-runc "$probe_image"
	probe image.kiln kiln image-kiln "$probe_image"
	compare image.runc image.kiln "${no_tmpfile[@]}"
	grep -q 'image-kiln: it waits for the image of its layers: .*/image/[a-z]* ' "$work/containerd.log" ||
		fail 'it has not waited'
	! grep -q 'first: it waits' "$work/containerd.log" || fail 'an image that loses nothing was waited for'
}

test_root_by_the_share_is_the_hosts() {
	ctr run --runtime io.containerd.kiln.v2 --annotation io.kiln.rootfs=share \
		--rootfs "$work/layers/merged" shared sh -c 'echo from the guest >/written'
	expect 'from the guest' "$(cat "$work/layers/merged/written")"
	rm "$work/layers/merged/written"
	remove_container shared
}

# roots_of SANDBOX: what the factory's list says, as CONTAINER=ROOT.
roots_of() {
	factory_ctl list --json | jq -r --arg s "$1" \
		'.vms[] | select(.sandbox_id == $s).roots[] | "\(.container_id)=\(.root)"'
}

# told ROOT CTR-OPTIONS...: of a container that runs.
told() {
	ctr run -d --runtime io.containerd.kiln.v2 "${@:2}" told sleep 60
	expect "told=$1" "$(roots_of told)" 'root in the list'
	remove_container told
}

test_the_list_says_which_root_a_container_has() {
	told overlay-dax "$probe_image"
	told share --annotation io.kiln.rootfs=share "$probe_image"
	told overlay-share --rootfs "$work/layers/merged"
}

test_root_is_a_folder_of_the_host() {
	cp -a "$work/layers/merged" "$work/root-of-kiln"
	probe folder.runc runc folder-runc --rootfs "$work/layers/merged"
	probe folder.kiln kiln folder-kiln --rootfs "$work/root-of-kiln"
	compare folder.runc folder.kiln "${no_tmpfile[@]}" "${no_share[@]}"
	expect '' "$(find "$work/root-of-kiln" -newer "$work/folder.runc" -type f)" 'files written on the host'
}

# As Docker and CRI-O do. What is in its upper folder is seen, what the container writes is not in it.
test_root_is_an_overlay_that_the_engine_has_mounted() {
	local home=$work/engine
	mkdir -p "$home"/c1/{diff,work,merged} "$home/l"
	ln -s "$work/layers/1" "$home/l/ONE"
	ln -s ../../layers/2 "$home/l/TWO"
	(cd "$home" && mount -t overlay overlay -o lowerdir=l/TWO:l/ONE,upperdir=c1/diff,workdir=c1/work c1/merged)
	echo before >"$home/c1/merged/before"
	expect "before $(md5sum <"$home/c1/merged/bin/busybox" | xargs)" "$(ctr run --runtime io.containerd.kiln.v2 \
		--rootfs "$home/c1/merged" engine sh -c 'echo $(cat before) $(md5sum </bin/busybox) && echo it >/written')"
	[ ! -e "$home/c1/diff/written" ] || fail 'the guest has written to the overlay of the host'
	remove_container engine
	expect_match 'is an overlay that the engine has mounted itself' "$(ctr run --runtime io.containerd.kiln.v2 \
		--annotation io.kiln.rootfs=share --rootfs "$home/c1/merged" engine true 2>&1)"
	ctr containers delete engine
	umount "$home/c1/merged"
}

test_find_stays_on_its_file_system() {
	expect '/full ' "$(kiln_run find1 --mount type=tmpfs,src=tmpfs,dst=/full,options=size=4m -- sh -c \
		'touch /full/below; find / -xdev -path "/full*" | tr "\n" " "')"
}

# The status of dd and of cp.
test_full_tmpfs_stops_programs() {
	expect '1 1' "$(kiln_run full1 --mount type=tmpfs,src=tmpfs,dst=/full,options=size=4m -- sh -c \
		'dd if=/dev/zero of=/full/a bs=1M count=8 2>/dev/null; a=$?
		 cp /bin/busybox /full/c 2>/dev/null; echo $a $?')"
}

test_nothing_is_left() {
	wait_no_sandboxes
	expect '' "$(ctr containers list -q)" containers
	factory_ctl destroy >/dev/null
	expect_no_machines 'after the test'
}

write_config 2
start_factory
start_containerd
"$tests/probe-image" "$BUILD/probe" "$work/layers"
"$tests/oci-image" "$probe_image" "$work/probe.tar" "$work/layers/1" "$work/layers/2"
ctr images import "$work/probe.tar" >/dev/null
wait_full
kiln_run first true # of another image, with nothing to lose
run_tests "$@"
