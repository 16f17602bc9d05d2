#!/bin/bash
# The agent by vsock, beside the port that its claimer has: each machine has a context id of its own. Where
# the host has no vhost-vsock there is nothing to test but that nobody misses it.
. "$(dirname "$0")/lib.sh"

modprobe -q vhost_vsock 2>/dev/null
has_vsock() { [ -e /sys/class/misc/vhost-vsock ] && [ -e /dev/vhost-vsock ]; }

# A test's first line.
needs_vsock() {
	has_vsock && return
	echo "skip: this host has no vhost-vsock"
	return 1
}

# cid_of SANDBOX: as the factory has it.
cid_of() { factory_ctl list --json | jq -r --arg id "$1" '.vms[] | select(.sandbox_id == $id).guest_cid'; }

# by_vsock CID REQUEST...
by_vsock() { ctl agent --server-address "vsock://$1:1024" "${@:2}"; }

start_sandbox() { ctr run -d --runtime io.containerd.kiln.v2 "$image" "$1" sleep 1000 || fail "no sandbox $1"; }
end_sandbox() {
	ctr task rm -f "$1" >/dev/null
	ctr containers rm "$1"
}

template_id() { status_json | jq -r '.templates[0].id'; }

# start_with CHANNEL POOL_SIZE
start_with() {
	write_config "$2"
	jq --arg channel "$1" '.channel = $channel' "$work/factory.json" >"$work/new.json"
	mv "$work/new.json" "$work/factory.json"
	start_factory
}

test_without_vsock_there_is_the_port() {
	start_with serial 1
	wait_full
	expect 0 "$(factory_ctl list --json | jq -r '.vms[0].guest_cid')" 'context id'
	expect hello "$(kiln_run v1 echo hello)"
	template_id >"$work/serial-id"
}

# What it was baked with is an input.
test_each_machine_has_an_id_of_its_own() {
	local ids
	needs_vsock || return 0
	stop_factory
	start_with auto 2
	wait_full
	[ "$(template_id)" != "$(cat "$work/serial-id")" ] || fail 'the template is the one without vsock'
	expect vsock "$(factory_ctl inspect default --json | jq -r '.inputs[] | select(.name == "channel").baked')"
	ids=$(factory_ctl list --json | jq -r '.vms[].guest_cid')
	expect 2 "$(sort -u <<<"$ids" | grep -c '^[0-9]\{2,\}$')" "different ids among: $ids"
	expect "$(sort <<<"$ids")" "$(jq -r .guest_cid "$run"/vms/*.json | sort)" 'ids in the journal'
}

# Each its own guest, whose template had another id when it was frozen.
test_more_than_one_may_talk_to_a_running_sandbox() {
	local first second pids=() i
	needs_vsock || return 0
	start_sandbox v1
	start_sandbox v2
	first=$(cid_of v1) second=$(cid_of v2)
	expect_match "agent +vsock://$first:1024" "$(ctl inspect v1)"
	by_vsock "$first" -c 'StatsContainer {"container_id": "v1"}' >/dev/null || fail 'v1 does not answer'
	by_vsock "$second" -c 'StatsContainer {"container_id": "v2"}' >/dev/null || fail 'v2 does not answer'
	! by_vsock "$first" -c 'StatsContainer {"container_id": "v2"}' >/dev/null 2>&1 || fail 'v1 speaks for v2'
	for i in 1 2 3 4; do
		by_vsock "$first" --repeat 20 -c Version >"$work/version.$i" &
		pids+=($!)
	done
	for i in 1 2 3 4; do
		wait "${pids[i - 1]}" || fail "connection $i"
		expect 20 "$(grep -c agent_version "$work/version.$i")" "answers to connection $i"
	done
	expect here "$(ctr task exec --exec-id x1 v1 echo here)" 'the shim, beside them'
}

test_only_who_is_privileged_may() {
	needs_vsock || return 0
	! timeout 30 setpriv --reuid=nobody --regid=nogroup --clear-groups --bounding-set=-all --inh-caps=-all \
		"$BUILD/kiln-ctl" agent --server-address "vsock://$(cid_of v1):1024" -c Version >/dev/null 2>"$work/err" ||
		fail 'nobody may ask the agent'
	expect_match 'the connection was closed' "$(cat "$work/err")"
}

# After a restart of the factory it is known from the journal.
test_a_restarted_factory_knows_the_ids() {
	local id
	needs_vsock || return 0
	id=$(cid_of v1)
	stop_factory
	start_factory
	wait_full
	expect "$id" "$(cid_of v1)" 'context id'
	by_vsock "$id" -c Check >/dev/null || fail 'it does not answer'
}

test_an_id_ends_with_its_machine() {
	local id
	needs_vsock || return 0
	id=$(cid_of v1)
	end_sandbox v1
	until_true 30 eval '[ -z "$(cid_of v1)" ]'
	! by_vsock "$id" -c Check 2>"$work/err" || fail 'somebody answers'
	expect_match 'cannot connect to vsock://' "$(cat "$work/err")"
}

test_a_shim_clones_with_an_id_of_its_own() {
	local id
	needs_vsock || return 0
	stop_factory
	start_sandbox v3
	id=$(ctl inspect v3 --json | jq .machine.guest_cid)
	expect_match '^[0-9]{2,}$' "$id"
	by_vsock "$id" -c 'StatsContainer {"container_id": "v3"}' >/dev/null || fail 'it does not answer'
	start_factory
	wait_full
	expect "$id" "$(cid_of v3)" 'context id, as the factory finds it'
	end_sandbox v3
	end_sandbox v2
}

start_containerd
run_tests
