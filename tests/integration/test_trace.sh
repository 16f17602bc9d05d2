#!/bin/bash
# The trace of a start: every step of one container, of all who take part, as spans in files, and in a
# caller's trace.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/spans.sh"

trace=$run/trace
export SHIM_WORK=$work/pods SHIM_NAMESPACE=$(basename "$work")
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
shim create
shim create_container
shim create_sandbox
shim delete
shim exit
shim first_output
shim network
shim release
shim root.overlay-dax
shim rootfs
shim sandbox
shim shim.start
shim slot
shim start_container"
# wait_step ID STEP: the shim and its `start` write on after ctr has ended.
wait_step() {
	until_true 30 eval "flat '$trace'/shim-*.jsonl | holds '$1' '$2'"
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
	wait_step on1 sandbox
	wait_step on1 shim.start
	flat "$trace"/{shim,factory}-*.jsonl >"$work/all.jsonl"
	expect "$steps" "$(jq -r 'select(.id == "on1") | .who + " " + .step' "$work/all.jsonl" | sort -u)" "steps"
	expect "$parents" "$(family on1 <"$work/all.jsonl")" "parents"
	expect "1" "$(jq -r 'select(.id == "on1").trace' "$work/all.jsonl" | sort -u | wc -l)" "traces of one start"
	expect "2" "$(jq -r 'select(.id == "on1" or .id == "on2").trace' "$work/all.jsonl" | sort -u | wc -l)" "traces"
	expect "700" "$(stat -c %a "$trace")" "mode of the folder"
}

test_every_span_is_whole_and_in_its_time() {
	local bad
	bad=$(jq -c 'select((.trace | test("^[0-9a-f]{32}$") | not) or (.span | test("^[0-9a-f]{16}$") | not)
		or .end < .begin or .end - .begin > 60e6 or .status)' "$work/all.jsonl")
	expect "" "$bad" "odd spans"
	expect "0" "$(jq -r .span "$work/all.jsonl" | sort | uniq -d | wc -l)" "span ids that are not one span's"
	expect_match '^pooled ' "$(jq -r 'select(.id == "on1" and .who == "factory" and .step == "claim").with
		| "\(.["kiln.origin"]) \(.["kiln.machine"])"' "$work/all.jsonl")"
	# The guest's steps lie where the shim waited for them: the clocks were translated.
	jq -se '[.[] | select(.id == "on1")]
		| (.[] | select(.who == "shim" and .step == "claim") | .end) as $claimed
		| (.[] | select(.who == "shim" and .step == "release") | .end) as $released
		| [.[] | select(.who == "agent")] | length > 0
			and all(.[]; .end > $claimed and .end < $released)' \
		"$work/all.jsonl" >/dev/null || fail "the guest's steps lie elsewhere: $(cat "$work/all.jsonl")"
}

test_the_waterfall_is_of_these_spans() {
	expect_match ' agent +create_container +#' "$(kiln-bench trace "$trace" on1)"
}

# by_client ID TRACEPARENT: a container by a client that is no containerd.
by_client() {
	client "$2" run "$1" "[{\"type\": \"bind\", \"source\": \"$work/root\", \"options\": [\"rbind\", \"ro\"]}]" 'echo hello'
}

# client TRACEPARENT WORD...: as that client's help says.
client() {
	mkdir -p "$SHIM_WORK"
	KILN_TRACE=$trace KILN_FACTORY=unix://$run/factory.sock SHIM_TRACEPARENT=$1 timeout 200 \
		/usr/bin/python3 -B "$tests/integration/shim.py" "${@:2}" 2>"$work/shim.log"
}

test_a_callers_trace_goes_on_in_shim_and_agent() {
	local theirs=0af7651916cd43dd8448eb211c80319c
	expect "hello" "$(by_client called 00-$theirs-b7ad6b7169203331-01)"
	wait_step called sandbox
	flat "$trace"/{shim,factory}-*.jsonl >"$work/called.jsonl"
	expect "agent cgroup < agent create_container
agent clone < agent create_container
agent create_container < shim create_container
agent start_container < shim start_container
shim create < b7ad6b7169203331
shim create_container < shim create
shim root.overlay-share < shim create
shim rootfs < shim create
shim start_container < b7ad6b7169203331" "$(jq -c "select(.trace == \"$theirs\")" "$work/called.jsonl" |
		jq -c 'select(.step != "slot" and .step != "storage" and .step != "delete" and .step != "remove_container")' |
		family called)" "the caller's"
	# Each leads to the trace of the sandbox, whose machine was claimed before.
	expect "true" "$(jq -s --arg theirs $theirs '(.[] | select(.id == "called" and .step == "sandbox")) as $root
		| [.[] | select(.trace == $theirs)] | length > 0
			and all(.[]; .links[0].traceId == $root.trace and .links[0].spanId == $root.span)' \
		"$work/called.jsonl")" "links"
	expect "2" "$(jq -r 'select(.id == "called") | .trace' "$work/called.jsonl" | sort -u | wc -l)" "traces"
}

test_what_a_caller_does_not_record_is_not_recorded() {
	expect "hello" "$(by_client unheard 00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00)"
	wait_step unheard sandbox
	expect "" "$(flat "$trace"/shim-*.jsonl | jq -r 'select(.id == "unheard" and (.step | test("^(create|start_container|rootfs)$"))).step')"
	expect "" "$(grep -l 1af7651916cd43dd8448eb211c80319c "$trace"/*.jsonl)" "files with its trace"
}

# With the Sandbox service the machine is claimed when containerd has said in whose trace.
test_a_pod_of_the_sandbox_service_is_in_its_callers_trace() {
	local theirs=2af7651916cd43dd8448eb211c80319c
	client 00-$theirs-b7ad6b7169203331-03 sandbox pod
	wait_step pod sandbox
	wait_step pod shim.start
	flat "$trace"/{shim,factory}-*.jsonl >"$work/pod.jsonl"
	expect "agent create_sandbox < shim create_sandbox
factory claim < shim claim
factory handover < factory claim
factory resume < factory claim
shim claim < b7ad6b7169203331
shim clock < b7ad6b7169203331
shim create_sandbox < b7ad6b7169203331" "$(jq -c "select(.trace == \"$theirs\")" "$work/pod.jsonl" | family pod)" "the caller's"
	expect "shim release
shim sandbox
shim shim.start" "$(jq -r "select(.id == \"pod\" and .trace != \"$theirs\") | .who + \" \" + .step" "$work/pod.jsonl" | sort -u)" "its own"
}

test_a_pod_whose_caller_does_not_record_is_not_recorded() {
	client 00-3af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02 sandbox silent
	wait_step silent sandbox
	wait_step silent shim.start
	expect "shim release
shim sandbox
shim shim.start" "$(flat "$trace"/{shim,factory}-*.jsonl | jq -r 'select(.id == "silent") | .who + " " + .step' | sort -u)" "its own"
	expect "" "$(grep -l 3af7651916cd43dd8448eb211c80319c "$trace"/*.jsonl)" "files with its trace"
}

write_config 2
start_factory && wait_full && start_containerd || exit 1
"$tests/busybox-root" "$work/root"
off=$(kiln_run off echo hello)
off_files=$(find "$work" -name '*.jsonl')
kill "$containerd_pid" && wait "$containerd_pid"
KILN_TRACE=$trace start_containerd || exit 1
prepare_image "$image" || exit 1
run_tests "$@"
