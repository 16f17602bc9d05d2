#!/bin/bash
# The pool with real QEMU: bursts, age, probes, an operator's words, the host's memory.
. "$(dirname "$0")/lib.sh"

POOL=5

# counted NAME [REASON]: the sum of a counter, of all reasons or of one.
counted() {
	status_json | jq --arg name "$1" --arg reason "${2-*}" \
		'[.counters[] | select(.name == $name and ($reason == "*" or .reason == $reason)) | .value] | add // 0'
}

parked_ids() { factory_ctl list --json | jq -r '[.vms[] | select(.state == "parked").vm_id] | sort | .[]'; }

has_parked() { [ "$(parked)" = "$1" ]; }

# restart_with JQ_OF_THE_DEFINITION [JQ_OF_THE_CONFIGURATION]: the template stays as it is.
restart_with() {
	stop_factory
	redefine "$1"
	configure "${2:-.}"
	start_factory
}

test_a_burst_of_30_claims_is_served_from_a_pool_of_5() {
	local pids=() i
	wait_full
	expect $POOL "$(parked)" parked
	for i in $(seq 30); do
		ctl agent --timeout $((60 * TIME_FACTOR)) -c Check >"$work/burst.$i" 2>&1 &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i" || fail "claim failed: $(cat "$work"/burst.*)"; done
	# Every claimer says whose machine it has, and how it came by it.
	expect 30 "$(cat "$work"/burst.* | grep -cE 'MiB\), (pooled|cloned) in')" claims
	expect 30 "$(cat "$work"/burst.* | grep -oE 'machine [0-9a-f]+' | sort -u | wc -l)" 'distinct machines'
	expect 30 $(($(counted claims_pooled) + $(counted claims_cloned))) 'claims in the counters'
	expect "$(counted claims_cloned)" "$(counted claims_cloned 'the pool was empty')" 'reasons'
	expect 0 "$(counted claims_failed)" 'failed claims'
	[ "$(counted claims_pooled)" -ge $POOL ] || fail 'the pool served fewer than it held'
	wait_full
	expect $POOL "$(parked)" 'parked after the burst'
}

test_a_paused_pool_serves_what_it_has() {
	local i
	expect 'pool default is paused' "$(factory_ctl pause default)"
	expect paused "$(pool .mode)" mode
	expect_match 'not refilled: it is paused' "$(factory_ctl status)"
	for i in $(seq $((POOL + 1))); do ctl agent -c Check >/dev/null 2>"$work/err"; done
	expect_match 'the pool is paused' "$(cat "$work/err")"
	expect 0 "$(parked)" 'parked while paused'
	expect 1 "$(counted claims_cloned 'the pool is paused')" 'reason in the counters'
	local code=0
	factory_ctl warm default --count 1 2>"$work/err" || code=$?
	expect 1 "$code" 'warming a paused pool'
	expect_match 'it is paused' "$(cat "$work/err")"
	factory_ctl resume default
	until_true 60 has_parked $POOL
}

test_warm_raises_the_pool_until_claimed() {
	local i
	expect "pool default is warm: $((POOL + 2)) parked" \
		"$(factory_ctl warm default --count $((POOL + 2)))"
	for i in 1 2; do ctl agent -c Check >/dev/null 2>&1; done
	expect $POOL "$(pool .target)" 'target after the claims'
	expect $POOL "$(parked)" 'parked after the claims'
	factory_ctl warm nowhere --count 1 2>"$work/err" && fail 'an unknown pool was warmed'
	expect_match 'no template is named' "$(cat "$work/err")"
}

test_drain_empties_the_pool_until_resume() {
	expect 'pool default is drained' "$(factory_ctl drain default)"
	expect '0 drained' "$(pool '| "\(.parked) \(.mode)"')" 'pool'
	expect '' "$(vmm_pids)" 'machines after the drain'
	ctl agent -c Check >/dev/null 2>"$work/err"
	expect_match 'the pool is drained' "$(cat "$work/err")"
	expect 0 "$(parked)" 'parked while drained'
	expect 'pool default is resumed' "$(factory_ctl resume default)"
	until_true 60 has_parked $POOL
}

test_what_was_asked_survives_a_restart() {
	factory_ctl drain default >/dev/null
	restart_with .
	wait_full
	expect '0 drained' "$(pool '| "\(.parked) \(.mode)"')" 'pool after SIGTERM'
	factory_ctl resume default >/dev/null
	factory_ctl warm default --count $((POOL + 1)) >/dev/null
	factory_ctl pause default >/dev/null
	stop_factory KILL
	start_factory
	wait_full
	expect "$((POOL + 1)) paused" "$(pool '| "\(.target) \(.mode)"')" 'pool after SIGKILL'
	factory_ctl resume default >/dev/null
	wait_full
	expect $((POOL + 1)) "$(parked)" parked
	ctl agent -c Check >/dev/null 2>&1
	restart_with .
	wait_full
	expect "$POOL running" "$(pool '| "\(.target) \(.mode)"')" 'pool after the claim'
	expect '' "$(find "$run/pools" -type f)" 'words of pools'
}

test_a_new_policy_is_taken_at_hangup() {
	local id
	id=$(status_json | jq -r '.templates[0].id')
	redefine '.pool_size = 1'
	kill -HUP "$(factory_pid)"
	until_true 30 has_parked 1
	redefine ".pool_size = $POOL"
	kill -HUP "$(factory_pid)"
	until_true 60 has_parked $POOL
	grep -q 'configuration reloaded: pool of default changed' "$work/factory.log" || fail 'it is not said'
	expect "$id " "$(status_json | jq -r '.templates[0] | "\(.id) \(.stale)"')" 'template'
	expect 0 "$(metrics kiln_bakes_total)" bakes
}

test_a_claim_of_a_higher_priority_is_served_first() {
	local i left
	factory_ctl drain default >/dev/null
	for i in 1 2 3 4; do
		ctl agent -c Check >/dev/null 2>"$work/normal.$i" &
	done
	waiting() { [ "$(pool .waiting)" -ge 2 ]; }
	until_true 20 waiting
	ctl agent --priority system -c Check >/dev/null 2>"$work/system" || fail "$(cat "$work/system")"
	left=$(jobs -r | wc -l)
	[ "$left" -ge 1 ] || fail 'the system claim came last'
	wait
	factory_ctl resume default >/dev/null
	until_true 60 has_parked $POOL
}

test_a_stopped_machine_is_found_and_replaced() {
	local vm pid
	restart_with '.pool_size = 2 | .pool = {probe_s: 1}'
	wait_full
	read -r vm pid < <(factory_ctl list --json |
		jq -r '[.vms[] | select(.state == "parked")][0] | "\(.vm_id) \(.pid)"')
	kill -STOP "$pid"
	is_replaced() { ! parked_ids | grep -qx "$vm" && has_parked 2; }
	until_true 60 is_replaced
	expect 1 "$(counted parked_lost probe)" 'lost by the probe'
	[ ! -e "/proc/$pid" ] || fail 'the stopped machine is still there'
}

test_old_machines_are_replaced() {
	local before
	restart_with '.pool = {max_age_s: 3}'
	wait_full
	before=$(parked_ids)
	all_new() { [ -z "$(comm -12 <(echo "$before") <(parked_ids))" ]; }
	until_true 60 all_new
	[ "$(counted parked_ended 'too old')" -ge 2 ] || fail 'the old were not counted'
}

test_auto_keeps_its_minimum_and_says_so() {
	restart_with '.pool = {target: "auto", min: 1, max: 4}'
	wait_full
	expect '1 true' "$(pool '| "\(.target) \(.automatic)"')" 'target'
	until_true 60 has_parked 1
}

test_short_of_memory_claims_are_told_at_once() {
	local begun code=0
	restart_with '.pool = {target: 1}'
	wait_full
	restart_with . '.min_free_mib = 16000000'
	factory_ctl init 2>"$work/err" || code=$?
	expect 1 "$code" 'init without room'
	expect_match 'min_free_mib' "$(cat "$work/err")"
	begun=$SECONDS
	ctl agent -c Check >/dev/null 2>"$work/err" && fail 'a machine was made beyond the ceiling'
	[ $((SECONDS - begun)) -le $((3 * TIME_FACTOR)) ] || fail 'the claim waited'
	expect_match 'min_free_mib' "$(cat "$work/err")"
	expect 1 "$(counted claims_failed min_free_mib)" 'reason in the counters'
	[ "$(counted refills_held min_free_mib)" -ge 1 ] || fail 'the refill was not counted'
	restart_with . '.min_free_mib = 0'
	wait_full
	expect 1 "$(parked)" parked
}

write_config $POOL
start_factory
run_tests "$@"
