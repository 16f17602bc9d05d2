#!/bin/bash
# kill -9 of the factory in each phase of its work but the bake (test_crash_bake.sh), by fault
# points: the next start leaves nothing that belongs to nobody, fills the pool again, and the
# sandboxes that were claimed before go on.
. "$(dirname "$0")/crash.sh"

test_a_sandbox_is_claimed_and_confirmed() {
	ctr run -d --runtime io.containerd.kiln.v2 "$image" "$bystander" sleep 2147483647
	wait_full
	expect_bystander_lives 'its start'
}

# Parked machines end with a factory that is asked to end: the next one clones.
at_clone() {
	stop_factory
	at "$1" factory_ctl init
}

test_clone() {
	local point
	for point in journaled folder cgroup prepared spawned started restored; do
		at_clone "clone.$point"
	done
}

# A new entry, and another one of a machine that has one.
test_journal() {
	at_clone journal.unfinished
	at_clone journal.unfinished:3
}

test_warm_and_park() {
	local point
	for point in warming warm stopped parked; do at_clone "clone.$point"; done
}

test_claim() {
	local point
	for point in claim.journaled claim.resumed claim.leased claim.replied; do
		at "$point" claim_once
	done
}

# The pool of a restarted factory is full again before the claim: what is armed is the claim.
claim_once() {
	factory_ctl init
	ctl agent -c Check
}

test_confirm() {
	at confirm.received claim_once
	at confirm.journaled claim_once
}

test_release() {
	local point
	for point in release.received end.killed end.unmounted end.removed end.released; do
		at "$point" claim_once
	done
}

destroy() { factory_ctl init && factory_ctl destroy; }

test_destroy() {
	at destroy.draining destroy
	at destroy.manifest destroy
}

# The second while what the first has left is being put right.
test_two_crashes_in_a_row() {
	local point
	stop_factory
	for point in clone.spawned clone.warming; do
		start_armed "$point"
		(factory_ctl init || true) >/dev/null 2>&1 &
		expect_dead "$point"
		wait
	done
	recovers 'two crashes'
}

# hold_machine: a claimer that keeps its machine, since nobody reads its answers from the FIFO
# on descriptor 9; sets holder, its pid, and held, the machine.
hold_machine() {
	local requests=() i
	for ((i = 0; i < 250; i++)); do requests+=(-c GetGuestDetails); done
	rm -f "$work/hold" "$work/hold.err"
	mkfifo "$work/hold"
	: >"$work/hold.err"
	exec 9<>"$work/hold"
	kiln-ctl agent "${requests[@]}" >"$work/hold" 2>>"$work/hold.err" 9<&- &
	holder=$!
	held=$(timeout 30 grep -m1 -oE 'machine [0-9a-f]+' <(tail -n +1 -F "$work/hold.err" 2>/dev/null))
	held=${held#machine }
	timeout 10 bash -c 'until grep -qs "\"confirmed\": true" "$0"; do sleep 0.05; done' \
		"$run/vms/$held.json" || fail 'the claim was not confirmed'
}

short_grace() {
	stop_factory
	configure ".lease_grace_s = $((2 * TIME_FACTOR + 2))"
	start_factory
	wait_full
}

expect_lease_ends() {
	timeout 30 grep -q -m1 "$held.*its claimer (pid $holder) died" \
		<(tail -n +1 -f "$work/factory.log") || fail "the lease of $held does not end"
	wait_full
	expect_nothing_astray "the end of a lease"
	expect_bystander_lives "the end of another lease"
}

test_claimer_dies() {
	short_grace
	hold_machine
	kill -9 "$holder"
	expect_match "$held" "$(claimed_ids)"
	expect_lease_ends
}

test_claimer_dies_with_the_factory() {
	short_grace
	hold_machine
	stop_factory KILL
	kill -9 "$holder"
	start_factory
	expect_match "$held" "$(claimed_ids)"
	expect_lease_ends
}

test_claimer_outlives_the_factory() {
	wait_full
	hold_machine
	stop_factory KILL
	start_factory
	wait_full
	expect_match "$held" "$(claimed_ids)"
	# A claimer that is not found is said at the start, when its grace begins.
	! grep -q "$held.*the claimer of sandbox" "$work/factory.log" || fail 'its grace began'
	cat <&9 >/dev/null & # it goes on, and gives its machine back
	wait "$holder" || fail "it cannot go on: $(cat "$work/hold.err")"
	kill $!
	expect "$(bystander_vm)" "$(claimed_ids)" 'claimed machines'
}

test_who_renews_has_the_lease() {
	local renewer
	short_grace
	hold_machine
	mkfifo "$work/renew"
	exec 8<>"$work/renew"
	: >"$work/renew.out"
	/usr/bin/python3 "$tests/integration/renew.py" "$run/factory.sock" "$held" \
		<"$work/renew" >"$work/renew.out" 2>&1 8<&- 9<&- &
	renewer=$!
	timeout 30 grep -qm1 '^renewed' <(tail -n +1 -F "$work/renew.out" 2>/dev/null) ||
		fail "not renewed: $(cat "$work/renew.out")"
	kill -9 "$holder"
	wait_gone "$holder"
	wait_full
	expect_match "$held" "$(claimed_ids)"
	! grep -q "$held.*the claimer of sandbox" "$work/factory.log" || fail 'it is still the claimer'\''s'
	kill -9 "$renewer"
	holder=$renewer
	expect_lease_ends
}

# shim_of SANDBOX: the process that claimed its machine.
shim_of() { grep -oE "audit claim sandbox=$1 .*" "$work/factory.log" | sed 's/.* pid=\([0-9]*\) .*/\1/'; }

# containerd has a shim's remains cleaned up; where it does not come to that, the lease ends.
test_shim_dies() {
	local containerd
	for containerd in lives hangs; do
		: >"$work/factory.log"
		ctr run -d --runtime io.containerd.kiln.v2 "$image" "shim-$containerd" sleep 1000 ||
			fail 'no container'
		wait_full
		held=$(factory_ctl list --json |
			jq -r --arg s "shim-$containerd" '.vms[] | select(.sandbox_id == $s).vm_id')
		holder=$(shim_of "shim-$containerd")
		[ $containerd = lives ] || kill -STOP "$containerd_pid"
		kill -9 "$holder"
		if [ $containerd = hangs ]; then
			expect_match "$held" "$(claimed_ids)"
			timeout 30 grep -q -m1 "$held.*its claimer (pid $holder) died" \
				<(tail -n +1 -f "$work/factory.log") || fail "the lease of $held does not end"
			kill -CONT "$containerd_pid"
		fi
		timeout 30 grep -q -m1 "audit release sandbox=shim-$containerd " \
			<(tail -n +1 -f "$work/factory.log") || fail "$held is not released"
		remove_container "shim-$containerd"
		wait_full
		expect_nothing_astray "a shim's death while containerd $containerd"
		expect_bystander_lives "another shim's death"
	done
}

test_without_a_factory_machines_come_from_the_store() {
	stop_factory
	ctl agent -c Version >"$work/out" 2>"$work/err" || fail "no claim: $(cat "$work/err")"
	expect_match agent_version "$(cat "$work/out")"
	expect_match 'cloned in .*the factory could not be reached' "$(cat "$work/err")"
	expect hello "$(kiln_run alone echo hello)"
	ctr run -d --runtime io.containerd.kiln.v2 "$image" orphan sleep 1000 ||
		fail 'no container without a factory'
	expect 2 "$(vmm_pids | wc -l)" 'machines'
	start_factory
	wait_full
	expect 2 "$(claimed_ids | wc -l)" 'claimed machines the factory knows'
	expect here "$(ctr task exec --exec-id x1 orphan echo here)"
	remove_container orphan
	for _ in {1..200}; do # its end is the factory's work
		[ "$(claimed_ids)" = "$(bystander_vm)" ] && break
		sleep 0.05
	done
	expect "$(bystander_vm)" "$(claimed_ids)" 'claimed machines'
	expect_nothing_astray 'a claim without a factory'
}

# A claimer that gives up on a factory closes its connection: what the factory, which lives after
# all, has for that claim is taken back.
test_a_factory_that_hangs_is_done_without() {
	local claimer factory
	wait_full
	factory=$(factory_pid)
	kill -STOP "$factory"
	: >"$work/err"
	ctl agent -c Version >"$work/out" 2>"$work/err" &
	claimer=$!
	timeout 60 grep -qm1 'cloned in .*does not answer within' <(tail -n +1 -F "$work/err" 2>/dev/null) ||
		fail "no claim: $(cat "$work/err")"
	kill -CONT "$factory"
	wait "$claimer" || fail "the claim failed: $(cat "$work/err")"
	wait_full
	expect "$(bystander_vm)" "$(claimed_ids)" 'claimed machines'
	expect_nothing_astray 'a factory that hung'
}

# Killed between a claim and its answer: the claimer goes on by itself.
test_a_factory_that_dies_at_a_claim_is_done_without() {
	stop_factory
	start_armed claim.journaled
	wait_full
	ctl agent -c Version >"$work/out" 2>"$work/err" || fail "no claim: $(cat "$work/err")"
	expect_match 'cloned in .*the factory went before it answered' "$(cat "$work/err")"
	expect_dead claim.journaled
	recovers 'a claim that was not answered'
}

# Whoever comes first: the factory, which takes the template up by itself, may serve before the claimer
# has found that none does.
test_a_factory_that_comes_in_between_leaves_it_alone() {
	stop_factory
	configure '.init_on_start = true'
	ctl agent -c Version >"$work/out" 2>"$work/err" &
	start_factory
	wait $! || fail "the claim failed: $(cat "$work/err")"
	wait_full
	expect_nothing_astray 'a start during a claim'
	configure '.init_on_start = false'
}

test_claimer_dies_while_cloning_without_a_factory() {
	local point code
	for point in clone.folder clone.spawned clone.warming clone.parked claim.journaled; do
		stop_factory
		code=0
		KILN_FAULT=$point "$BUILD/faults/kiln-ctl" agent -c Version >"$work/out" 2>&1 || code=$?
		expect 137 $code "exit status at $point"
		recovers "the claimer at $point"
	done
}

write_config "$pool_size"
start_containerd
start_factory
wait_full
run_tests "$@"
