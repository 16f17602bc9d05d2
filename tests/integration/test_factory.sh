#!/bin/bash
# The factory with real QEMU and libvirt: bake, clone, claim, refill, crash and restart.
. "$(dirname "$0")/lib.sh"

test_init_bakes_and_fills_the_pool() {
	expect 'vm factory initialized' "$(factory_ctl init 2>/dev/null)"
	expect 2 "$(parked)" parked
	expect ready "$(status_json | jq -r '.templates[0].state')"
	expect_match 'vm factory is on' "$(factory_ctl status)"
}

test_init_again_keeps_the_template() {
	local id
	id=$(status_json | jq -r '.templates[0].id')
	factory_ctl init >/dev/null 2>&1
	expect "$id" "$(status_json | jq -r '.templates[0].id')"
	expect 1 "$(find "$store/templates" -name template.json | wc -l)" templates
}

test_parked_machines_stand_still() {
	local vm vms
	vms=$(factory_ctl list --json | jq -r '.vms[] | select(.state == "parked").vm_id')
	expect 2 "$(wc -w <<<"$vms")" 'parked machines'
	for vm in $vms; do
		[ -S "$run/vms/$vm/agent.sock" ] || fail "no agent socket of $vm"
		[ -s "$run/vms/$vm.json" ] || fail "no journal entry of $vm"
		expect '' "$(cat "$run/vms/$vm/qemu.log" 2>&1)" 'what its QEMU says'
	done
}

test_claim_reaches_the_agent_in_a_warm_clone() {
	local out
	out=$(ctl agent -c Version -c 'GetGuestDetails {}' 2>"$work/err")
	expect_match 'agent_version' "$out"
	expect_match 'pooled' "$(cat "$work/err")"
	wait_full
	expect 2 "$(parked)" 'parked after the refill'
}

test_agent_lists_interfaces() {
	local first
	first=$(ctl agent -c ListInterfaces 2>/dev/null) || fail "no interfaces: $first"
	expect_match '"lo"' "$first"
}

test_claim_from_an_empty_pool_says_so() {
	local pids=() i
	wait_full
	for i in 1 2 3 4; do
		ctl agent -c Check 2>"$work/claim.$i" >/dev/null &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i" || fail "claim failed: $(cat "$work"/claim.*)"; done
	grep -q cloned "$work"/claim.* || fail "nothing was cloned: $(cat "$work"/claim.*)"
	[ "$(status_json | jq '[.counters[] | select(.name == "claims_cloned") | .value] | add')" -ge 1 ] ||
		fail 'claims_cloned was not counted'
	wait_full
}

test_a_dead_clone_is_replaced_and_never_served() {
	local pid
	wait_full
	pid=$(factory_ctl list --json | jq '[.vms[] | select(.state == "parked")][0].pid')
	kill -9 "$pid"
	ctl agent -c Check >/dev/null 2>"$work/err" || fail "claim after a kill: $(cat "$work/err")"
	wait_full
	expect 2 "$(parked)" parked
}

test_killed_factory_leaves_machines_that_the_next_adopts() {
	local before after
	wait_full
	before=$(factory_ctl list --json | jq -r '[.vms[] | select(.state == "parked").vm_id] | sort | join(" ")')
	stop_factory KILL
	expect 2 "$(vmm_pids | wc -l)" 'machines after the kill'
	start_factory
	wait_full
	after=$(factory_ctl list --json | jq -r '[.vms[] | select(.state == "parked").vm_id] | sort | join(" ")')
	expect "$before" "$after" 'parked machines'
	ctl agent -c Check >/dev/null 2>&1 || fail 'an adopted machine does not answer'
}

# Of kernel, initramfs and image a restarted factory knows what they are; else it reads them again. That it
# reads none of those it knows is for test_wrong_digests_are_forgotten (test_templates.sh).
test_known_inputs() {
	local id damage
	keeps_change_times "$template_images" || { echo "skip: digests of files on $(stat -f -c %T "$template_images") are not kept"; return; }
	: >"$work/factory.log"
	id=$(status_json | jq -r '.templates[0].id')
	for damage in '' '{"files": [{' '{"version": 2147483647}'; do
		stop_factory
		[ -z "$damage" ] || echo "$damage" >"$store/digests.json"
		start_factory
		wait_full
		expect 3 "$(jq '.files | length' "$store/digests.json")" "files that are known after '$damage'"
		expect "$id" "$(status_json | jq -r '.templates[0].id')" template
	done
	expect 2 "$(grep -c 'all inputs of templates are read again' "$work/factory.log")" warnings
}

# Its user is the bakes' own: not libvirt's, which other machines of the host have, nor a clone's.
expect_bake_is_shut_in() {
	local uid memory
	uid=$(find "$run/uids" -lname bake -printf '%f')
	expect "$uid $uid $uid $uid 0000000000000000" \
		"$(awk '/^(Uid|CapEff):/ { $1 = ""; print }' "/proc/$1/status" | xargs)" \
		"the bake's user and capabilities"
	expect 1 "$(pgrep -cu "$uid" -f "$run/")" "processes of the bake's user" # other tests bake the same template
	memory=$(find "$store/libvirt" -type f)
	expect "$uid 600 $uid 700" "$(stat -c '%u %a' "$memory" "$(dirname "$memory")" | xargs)" \
		"owner and mode of the guest's memory and its folder"
	expect '' "$(find "$store" "$run/bake" -type f -user "$uid" -perm /077)" \
		"what others may open of the bake's files"
	expect '' "$(find "$store" "$run/bake" "$run/libvirt" -user libvirt-qemu)" \
		"what is libvirt's user's"
}

test_kill_in_mid_bake_leaves_nothing() {
	local bake
	factory_ctl destroy >/dev/null
	(factory_ctl init 2>&1 || true) >"$work/init.log" &
	timeout 60 grep -q -m1 'bake: answering' <(tail -n 0 -f "$work/factory.log")
	bake=$(cat "$run"/libvirt/run/qemu/kiln-template-*.pid)
	expect_bake_is_shut_in "$bake"
	stop_factory KILL
	wait
	start_factory
	expect '' "$(vmm_pids)" 'machines left'
	expect 0 "$(find "$store/templates" -mindepth 1 | wc -l)" 'files left'
	expect 'vm factory is off' "$(factory_ctl status | head -n1)"
}

test_destroy_leaves_nothing() {
	wait_full
	expect 'vm factory destroyed' "$(factory_ctl destroy)"
	expect '' "$(vmm_pids)" 'machines left'
	expect 0 "$(find "$run/vms" -mindepth 1 | wc -l)" 'machine files left'
	expect 0 "$(find "$store/templates" -mindepth 1 | wc -l)" 'template files left'
	local code=0
	factory_ctl status >"$work/out" || code=$?
	expect 3 "$code" 'exit code of status'
	expect 'vm factory is off' "$(head -n1 "$work/out")"
}

test_destroy_finds_what_an_earlier_factory_baked() {
	wait_full
	stop_factory
	start_factory
	factory_ctl destroy >/dev/null
	expect 0 "$(find "$store/templates" -mindepth 1 | wc -l)" 'template files left'
}

write_config 2
start_factory
run_tests "$@"
