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

# compare RUNC KILN: outputs.
compare() {
	local held missing
	held=$(holds "$1" | wc -l)
	[ "$held" -ge $least ] || fail "only $held properties hold under runc: $(grep -v '^ok ' "$work/$1")"
	missing=$(comm -23 <(holds "$1") <(holds "$2"))
	[ -z "$missing" ] || fail "$(wc -l <<<"$missing") of $held properties do not hold:
$(while read -r name; do grep "^not ok $name " "$work/$2" || echo "not ok $name was not run"; done <<<"$missing")"
}

test_root_of_an_image() {
	probe image.runc runc image-runc "$probe_image"
	probe image.kiln kiln image-kiln "$probe_image"
	compare image.runc image.kiln
}

test_root_is_a_folder_of_the_host() {
	cp -a "$work/layers/merged" "$work/root-of-kiln"
	probe folder.runc runc folder-runc --rootfs "$work/layers/merged"
	probe folder.kiln kiln folder-kiln --rootfs "$work/root-of-kiln"
	compare folder.runc folder.kiln
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
run_tests "$@"
