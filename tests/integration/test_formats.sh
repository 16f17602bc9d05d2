#!/bin/bash
# What another version of Kiln left: machines whose entry in the journal cannot be read, and templates. What real
# programs of two versions do is for `make check-upgrade`.
. "$(dirname "$0")/lib.sh"

# as_version N FILE...: what a Kiln with that version of the format would have written there.
as_version() {
	local file
	for file in "${@:2}"; do
		sed -i -E "s/\"version\": *[0-9]+/\"version\": $1/" "$file"
	done
}

machines() { factory_ctl list --json | jq -r "[.vms[] | select(.state == \"$1\") | .vm_id] | sort | join(\" \")"; }
has_machines() { [ "$(machines "$1")" = "$2" ]; }
runs() { pgrep -f "qemu-system-x86_64 .*$run/vms/$1/" >/dev/null; }
all_are_known() { [ "$(vmm_pids | wc -l)" = "$(factory_ctl list --json | jq '.vms | length')" ]; }
is_gone() { [ ! -e "$run/vms/$1" ] && [ ! -e "$run/vms/$1.json" ] && ! runs "$1"; }

test_machines_of_a_later_version_are_left_alone() {
	local pod parked
	wait_full
	ctr run -d --runtime io.containerd.kiln.v2 "$image" later sleep 1000
	wait_full
	pod=$(machines claimed)
	parked=$(machines parked)
	stop_factory KILL
	as_version 2 "$run/vms/$pod.json" "$run/vms/$parked.json"
	: >"$work/factory.log"
	start_factory
	wait_full
	expect '' "$(machines claimed)" 'sandboxes that it knows'
	expect 2 "$(grep -cE "ERROR.*($pod|$parked).*of a later Kiln.*left alone" "$work/factory.log")" 'lines of the log'
	runs "$pod" && runs "$parked" || fail 'a machine was ended'
	expect hello "$(ctr task exec --exec-id x1 later echo hello)"

	# Who can read them finds all as it was.
	stop_factory KILL
	as_version 1 "$run/vms/$pod.json" "$run/vms/$parked.json"
	start_factory
	until_true 30 has_machines claimed "$pod"
	wait_full
	until_true 30 all_are_known
	remove_container later
	until_true 30 is_gone "$pod"
}

# Earlier factories did so with what they could not read.
test_an_entry_that_was_set_aside_is_taken_back() {
	local parked
	wait_full
	until_true 30 eval '[ "$(factory_ctl list --json | jq -r "[.vms[].state] | join(\" \")")" = parked ]'
	parked=$(machines parked)
	stop_factory KILL
	mv "$run/vms/${parked%% *}.json" "$run/vms/${parked%% *}.json.bad"
	start_factory
	wait_full
	expect "$parked" "$(machines parked)" 'parked machines'
}

test_a_template_of_a_later_version_is_baked_anew() {
	local manifest
	wait_full
	stop_factory
	manifest=$(ls "$store"/templates/*/template.json)
	sed -i -E 's/"format": *[0-9]+/"format": 1000/' "$manifest"
	: >"$work/factory.log"
	start_factory
	wait_full
	grep -q 'it is baked anew: .*of a later Kiln' "$work/factory.log" || fail 'the log does not say so'
	expect 1 "$(find "$store/templates" -name template.json | wc -l)" 'templates'
	ctl agent -c Check >/dev/null 2>&1
}

# With other inputs it has another id: it goes when the one in its place serves.
test_another_template_of_a_later_version_goes() {
	local manifest
	wait_full
	stop_factory
	manifest=$(ls "$store"/templates/*/template.json)
	sed -i -E 's/"format": *[0-9]+/"format": 1000/' "$manifest"
	redefine '.kernel_params += " loglevel=3"'
	: >"$work/factory.log"
	start_factory
	wait_full
	grep -q 'WARNING.*cannot be used: it is of a later Kiln' "$work/factory.log" || fail 'the log does not say so'
	until_true 30 [ ! -e "$manifest" ]
	expect 1 "$(find "$store/templates" -name template.json | wc -l)" 'templates'
}

test_nothing_is_left() {
	factory_ctl destroy >/dev/null
	expect_no_machines 'after destroy'
	expect '' "$(find "$run/vms" -mindepth 1)" 'files of machines'
	expect '' "$(find "$store/templates" -mindepth 1)" 'templates'
}

write_config 1
start_factory
start_containerd
run_tests "$@"
