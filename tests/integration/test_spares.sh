#!/bin/bash
# Spares with real QEMU: they become the next clones, are replaced, and leave nothing behind.
. "$(dirname "$0")/crash.sh"

# pids STATE: of the machines in it, sorted.
pids() { factory_ctl list --json | jq -r --arg s "$1" '[.vms[]? | select(.state == $s).pid] | sort | .[]'; }

# other_spare PID: at rest with one that is not this one.
other_spare() {
	local now
	now=$(pids spare)
	[ -n "$now" ] && [ "$now" != "$1" ] && at_rest 1 1
}

test_a_full_pool_gets_a_spare() {
	factory_ctl init
	until_true 30 at_rest 1 1
	expect 1 "$(pool .spares_target)" target
	expect_match '1 of 1 +1 of 1 +0 ' "$(factory_ctl status)"
	expect 1 "$(metrics kiln_pool_machines state=spare)" 'in the metrics'
	expect 2 "$(vmm_pids | wc -l)" processes
}

test_the_next_clone_is_made_of_it() {
	local spare
	spare=$(pids spare)
	ctl agent -c Check >/dev/null 2>&1
	until_true 30 at_rest 1 1
	expect "$spare" "$(pids parked)" 'the parked machine'
	[ "$(pids spare)" != "$spare" ] || fail 'it is parked and spare'
	# What came of it is as good as any other.
	ctl agent -c Check >/dev/null 2>"$work/err" || fail "$(cat "$work/err")"
	expect_match ', pooled in' "$(cat "$work/err")"
	until_true 30 at_rest 1 1
}

test_a_dead_one_is_replaced() {
	local pid
	pid=$(pids spare)
	kill -9 "$pid"
	until_true 30 other_spare "$pid"
	expect 1 "$(metrics kiln_clones_total result=failed reason=spare)" 'in the counters'
	expect '' "$(status_json | jq -r '.templates[0].error')" 'held against the template'
	expect_nothing_astray 'the death of a spare'
}

test_a_hung_one_is_replaced() {
	local pid
	redefine '.pool.probe_s = 1'
	kill -HUP "$(factory_pid)"
	pid=$(pids spare)
	kill -STOP "$pid"
	until_true 60 other_spare "$pid"
	! vmm_pids | grep -qx "$pid" || fail 'the stopped one is still there'
}

test_a_factory_that_dies_leaves_none() {
	local spare
	spare=$(pids spare)
	stop_factory KILL
	vmm_pids | grep -qx "$spare" || fail 'the spare went with the factory'
	start_factory
	factory_ctl init
	until_true 30 at_rest 1 1
	! vmm_pids | grep -qx "$spare" || fail 'the old spare is still there'
	expect_nothing_astray 'kill -9 of the factory'
}

test_the_policy_can_change() {
	redefine '.pool.spares = 3'
	kill -HUP "$(factory_pid)"
	until_true 30 at_rest 1 3
	redefine '.pool.spares = 1'
	kill -HUP "$(factory_pid)"
	until_true 30 at_rest 1 1
	expect_nothing_astray 'the change of the policy'
}

test_a_drained_pool_has_none() {
	factory_ctl drain default >/dev/null
	expect '' "$(vmm_pids)" 'machines after the drain'
	factory_ctl resume default >/dev/null
	until_true 30 at_rest 1 1
}

test_a_machine_gets_its_place() {
	configure '.max_vms = 2'
	kill -HUP "$(factory_pid)"
	factory_ctl warm default --count 2 >/dev/null
	until_true 30 at_rest 2 0
	factory_ctl drain default >/dev/null
	factory_ctl resume default >/dev/null
	until_true 30 at_rest 1 1
}

test_a_rebuilt_template_has_its_own() {
	factory_ctl rebuild default 2>/dev/null
	until_true 60 at_rest 1 1
	expect "$(status_json | jq -r '.templates[0].id')" \
		"$(factory_ctl list --json | jq -r '.vms[] | select(.state == "spare").template_id')" 'its template'
}

test_its_own_copies_are_made_before() {
	local spare
	redefine '.share = "never"'
	factory_ctl rebuild default 2>/dev/null
	until_true 60 at_rest 1 1
	spare=$(pids spare)
	ctl agent -c Check >/dev/null 2>&1
	until_true 60 at_rest 1 1
	expect "$spare" "$(pids parked)" 'the parked machine'
}

test_the_end_of_the_template_is_theirs() {
	factory_ctl destroy
	expect '' "$(vmm_pids)" 'machines after destroy'
	expect_nothing_astray 'destroy'
	factory_ctl init
	until_true 60 at_rest 1 1
	stop_factory
	expect '' "$(vmm_pids)" 'machines after the end of the factory'
	expect '' "$(find "$run/vms" -mindepth 1)" 'files after the end of the factory'
}

write_config 1 .
start_factory
run_tests "$@"
