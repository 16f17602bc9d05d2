#!/bin/bash
# Templates of more memory than the default: from where the guest's kernel turns transparent huge
# pages on, it keeps several times as much free, and a trim that ignores this is killed.
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

test_both_are_baked() {
	factory_ctl init
	expect 'ready ready' "$(status_json | jq -r '[.templates[].state] | join(" ")')"
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

test_they_are_intact() {
	factory_ctl verify middle
	factory_ctl verify large
}

write_config 0
mkdir "$work/templates"
jq '.name = "middle" | .memory_mib = 512' "$work/template.json" >"$work/templates/middle.json"
jq '.name = "large" | .memory_mib = 1024' "$work/template.json" >"$work/templates/large.json"
configure --arg t "$work/templates" '.templates = $t'
start_containerd
allow_sizes
start_factory
run_tests
