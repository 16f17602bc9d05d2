#!/bin/bash
# The trace of a start: every step of one container, of all who take part, joined by its id.
. "$(dirname "$0")/lib.sh"

trace=$run/trace
# WHO STEP, in no order.
steps="agent cgroup
agent clone
agent create_container
agent create_sandbox
agent remove_container
agent start_container
agent storage
factory claim
factory handover
factory resume
shim claim
shim clock
shim create_container
shim create_sandbox
shim delete
shim exit
shim first_output
shim release
shim root.overlay-dax
shim rootfs
shim shim.start
shim slot
shim start_container"

# wait_step ID STEP: the shim and its `start` write on after ctr has ended.
wait_step() {
	timeout 30 bash -c "until grep -qs '\"id\":\"$1\",\"step\":\"$2\"' '$trace'/shim-*.jsonl; do sleep 0.05; done" ||
		fail "no step $2 of $1"
}

test_nothing_is_written_when_off() {
	expect "hello" "$off"
	expect "" "$off_files" "traces"
}

test_all_steps_of_one_start() {
	install -d -m 700 -o nobody "$trace" # the factory has to write there
	configure --arg trace "$trace" '.trace = $trace'
	kill -HUP "$(factory_pid)"
	timeout 30 grep -qm1 'reloaded: trace changed' <(tail -n +1 -f "$work/factory.log")
	expect "hello" "$(kiln_run on1 echo hello)"
	expect "hello" "$(kiln_run on2 echo hello)"
	wait_step on1 release
	wait_step on1 shim.start
	cat "$trace"/{shim,factory}-*.jsonl >"$work/all.jsonl"
	expect "$steps" "$(jq -r 'select(.id == "on1") | .who + " " + .step' "$work/all.jsonl" | sort -u)" "steps"
	expect "700" "$(stat -c %a "$trace")" "mode of the folder"
}

test_every_line_is_whole_and_in_its_time() {
	local bad
	bad=$(jq -c 'select((.ts_ns | type) != "number" or (.mono_ns | type) != "number" or .dur_ns < 0
		or .dur_ns > 60e9 or (keys - ["ts_ns", "mono_ns", "who", "id", "step", "dur_ns"]) != [])' \
		"$work/all.jsonl")
	expect "" "$bad" "odd lines"
	# The guest's steps lie where the shim waited for them: the clocks were translated.
	jq -se '[.[] | select(.id == "on1")]
		| (.[] | select(.who == "shim" and .step == "claim") | .mono_ns) as $claimed
		| (.[] | select(.who == "shim" and .step == "release") | .mono_ns) as $released
		| [.[] | select(.who == "agent")] | length > 0
			and all(.[]; .mono_ns > $claimed and .mono_ns < $released)' \
		"$work/all.jsonl" >/dev/null || fail "the guest's steps lie elsewhere: $(cat "$work/all.jsonl")"
}

write_config 2
start_factory && wait_full && start_containerd || exit 1
off=$(kiln_run off echo hello)
off_files=$(find "$work" -name '*.jsonl')
kill "$containerd_pid" && wait "$containerd_pid"
KILN_TRACE=$trace start_containerd || exit 1
prepare_image "$image" || exit 1
run_tests
