#!/bin/bash
# Many machines: a hundred parked at once, then a burst of claims far larger than the pool.
. "$(dirname "$0")/lib.sh"

MANY=100 POOL=10 BURST=60

parked_ids() { factory_ctl list --json | jq -r '.vms[]? | select(.state == "parked").vm_id'; }

ends_clean() {
	stop_factory || fail 'it does not end'
	expect_no_machines 'after its end'
	expect '' "$(find "$run/vms" -mindepth 1)" 'files of machines'
}

test_a_hundred_are_parked_at_once() {
	wait_full || fail 'the pool is not full'
	expect $MANY "$(parked)" parked
	expect $MANY "$(vmm_pids | wc -l)" processes
	expect $MANY "$(parked_ids | sort -u | wc -l)" machines
	ctl agent -c Check >"$work/out" 2>&1 || fail "no claim among so many: $(cat "$work/out")"
	expect_match ', pooled in' "$(cat "$work/out")"
	ends_clean
}

# The claims that find none parked each say why, and the reasons add up.
test_a_burst_larger_than_the_pool_is_served() {
	local pids=() i pid pooled cloned
	write_config $POOL
	start_factory
	wait_full || fail 'the pool is not full'
	expect $POOL "$(parked)" parked
	for ((i = 0; i < BURST; i++)); do
		ctl agent -c Check >"$work/burst.$i" 2>&1 &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do wait "$pid" || fail "a claim failed: $(cat "$work"/burst.*)"; done
	expect $BURST "$(cat "$work"/burst.* | grep -oE 'machine [0-9a-f]+' | sort -u | wc -l)" \
		'machines handed out'
	pooled=$(metrics kiln_claims_total result=pooled)
	cloned=$(metrics kiln_claims_total result=cloned)
	expect $BURST $((pooled + cloned)) 'claims served'
	expect "$cloned" "$(metrics kiln_claims_total result=cloned 'reason=the pool was empty')" reasons
	expect $BURST "$(metrics kiln_claims_total)" 'claims of all results'
	expect $BURST "$(metrics kiln_claim_seconds_count)" 'claims that were timed'
	((pooled >= POOL)) || fail "only $pooled came from the pool"
	wait_full || fail 'the pool is not full again'
	expect $POOL "$(parked)" 'parked after it'
	ends_clean
}

write_config $MANY
start_factory
run_tests "$@"
