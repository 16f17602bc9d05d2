#!/bin/bash
# Templates of more memory than the default: from where the guest's kernel turns transparent huge
# pages on, it keeps several times as much free, and a trim that ignores this is killed.
#
# And memory that guests have freed: the host has it again.
. "$(dirname "$0")/lib.sh"

# in_guest NAME MIB COMMAND: what a container in a clone of that template prints.
in_guest() {
	kiln_run "$1" --annotation "io.kiln.template=$1" "${with_sizes[@]}" --annotation "io.kiln.memory_mib=$2" -- sh -c "$3"
}

# allocated NAME: MiB that its memory takes up in the store.
allocated() {
	factory_ctl inspect "$1" --json | jq '.status.memory_allocated_bytes / 1048576 | floor'
}

# uses NAME MIB: a clone has that memory, and a container can fill most of it.
uses() {
	local total
	total=$(in_guest "$1" "$2" "
		dd if=/dev/zero of=/dev/null bs=$(($2 * 5 / 8))M count=1 2>/dev/null &&
		awk '/^MemTotal/ { print int(\$2 / 1024) }' /proc/meminfo")
	((total > $2 * 7 / 8 && total < $2)) || fail "$1: $total of $2 MiB"
}

test_all_are_baked() {
	factory_ctl init
	expect 'ready ready ready' "$(status_json | jq -r '[.templates[].state] | join(" ")')"
}

test_the_large_one_has_huge_pages() {
	expect_match '\[always\]' "$(in_guest large 1024 'cat /sys/kernel/mm/transparent_hugepage/enabled')"
	expect_match '\[never\]' "$(in_guest middle 512 'cat /sys/kernel/mm/transparent_hugepage/enabled')"
}

test_containers_use_the_memory() {
	uses middle 512
	uses large 1024
	expect 0 "$(status_json | jq '[.counters[] | select(.name == "claims_booted").value] | add // 0')" boots
}

test_what_is_free_is_not_stored() {
	local middle large
	middle=$(allocated middle)
	large=$(allocated large)
	# The kernel's description of 512 MiB more takes 8, that of DAX windows twice as large 32.
	((middle > 0 && middle < 104 && large > middle && large < middle + 46)) || fail "512 MiB take $middle, 1024 MiB $large"
}

# own PID: MiB that are no other process's.
own() { awk '/^Private_/ { kib += $2 } END { print int(kib / 1024) }' "/proc/$1/smaps_rollup"; }
resident() { awk -v key="$2:" '$1 == key { print int($2 / 1024) }' "/proc/$1/status"; }
owns_at_most() { (($(own "$1") <= $2)); }

vmm_of() { factory_ctl list --json | jq -r --arg s "$1" '.vms[] | select(.sandbox_id == $s).pid'; }

sandbox() { # ID TEMPLATE MIB
	ctr run -d --runtime io.containerd.kiln.v2 --annotation "io.kiln.template=$2" "${with_sizes[@]}" \
		--annotation "io.kiln.memory_mib=$3" "$image" "$1" sleep 3600
}

# gives_back ID MIB: a process of that container takes so much and ends.
gives_back() {
	local pid before resident taken
	pid=$(vmm_of "$1")
	before=$(own "$pid")
	resident=$(resident "$pid" VmRSS)
	ctr task exec --exec-id fill "$1" dd if=/dev/zero of=/dev/null "bs=$2M" count=1
	(($(resident "$pid" VmHWM) - resident > $2 * 3 / 4)) || fail "it did not take $2 MiB"
	taken=$SECONDS
	until_true 30 owns_at_most "$pid" $((before + 64))
	echo "$1: $before MiB, $2 MiB taken, $(own "$pid") MiB after $((SECONDS - taken)) s"
}

test_what_was_freed_goes_back() {
	sandbox free large 1024
	gives_back free 500
	remove_container free
}

# A kernel that relies on zeroes in a page that it gets back reports none: the device does not promise them. Bit 4 of
# its features would (VIRTIO_BALLOON_F_PAGE_POISON), bit 5 is VIRTIO_BALLOON_F_REPORTING.
test_what_is_in_a_page_is_not_promised() {
	expect 01 "$(in_guest large 1024 'for d in /sys/bus/virtio/devices/*; do
		[ "$(cat $d/device)" != 0x0005 ] || cut -c5,6 $d/features; done')"
}

test_what_was_added_and_freed_goes_back() {
	sandbox grown middle 1024
	gives_back grown 600
	remove_container grown
}

test_a_booted_machine_gives_back_too() {
	sandbox booted large 1200
	expect booted "$(factory_ctl list --json | jq -r '.vms[] | select(.sandbox_id == "booted").origin')"
	gives_back booted 500
	remove_container booted
}

test_a_copy_of_its_own_gets_smaller() {
	sandbox copy unshared 512
	gives_back copy 300
	remove_container copy
}

# What a machine drops is its copy; the template's page is there for it and all others. Nor does the template
# grow by what machines have taken.
test_the_template_loses_nothing() {
	local memory
	memory=$(factory_ctl inspect large --json | jq -r .dir)/memory
	sha256sum "$memory" >"$work/memory.sha256"
	local blocks
	blocks=$(stat -c %b "$memory")
	sandbox other large 1024
	ctr task exec --exec-id a other sh -c 'dd if=/dev/urandom of=/dev/shm/a bs=1M count=32 2>/dev/null && sha256sum /dev/shm/a >/dev/shm/sum'
	sandbox free large 1024
	gives_back free 500
	blocks=$((($(stat -c %b "$memory") - blocks) / 2048))
	((blocks < 32)) || fail "the template has $blocks MiB more"
	sha256sum --quiet -c "$work/memory.sha256"
	ctr task exec --exec-id b other sha256sum -c /dev/shm/sum
	remove_container other
	remove_container free
}

# As root a machine could open the template's memory for writing.
test_nor_by_a_machine_without_a_jail() {
	stop_factory
	configure '.uid_first = 0'
	start_factory
	factory_ctl init
	sandbox free large 1024
	gives_back free 500
	sha256sum --quiet -c "$work/memory.sha256"
	remove_container free
}

test_they_are_intact() {
	factory_ctl verify middle
	factory_ctl verify large
	factory_ctl verify unshared
}

write_config 0
mkdir "$work/templates"
jq '.name = "middle" | .memory_mib = 512 | .max_memory_mib = 1024' "$work/template.json" >"$work/templates/middle.json"
jq '.name = "unshared" | .memory_mib = 512 | .share = "never"' "$work/template.json" >"$work/templates/unshared.json"
jq '.name = "large" | .memory_mib = 1024' "$work/template.json" >"$work/templates/large.json"
configure --arg t "$work/templates" '.templates = $t'
start_containerd
allow_sizes
start_factory
run_tests
