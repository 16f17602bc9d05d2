#!/bin/bash
# Traces at a collector: the spans of one start are one trace there, and a collector that hangs, refuses or is
# away is nobody's trouble.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/spans.sh"

# taken: the spans that the collector has.
taken() { [ ! -e "$work/taken.json" ] || flat "$work/taken.json"; }

# has ID STEP
has() { taken | holds "$@"; }

# factory_for URL: started anew, for its counters, too.
factory_for() {
	stop_factory
	configure --arg url "$1" '.trace_collector = $url'
	start_factory && wait_full
}

test_a_collector_gets_one_trace() {
	expect "hello" "$(kiln_run sent echo hello)"
	until_true 60 has sent sandbox
	until_true 60 has sent shim.start
	expect "$parents" "$(taken | family sent)" "parents"
	expect "1" "$(taken | jq -r .trace | sort -u | wc -l)" "traces"
	until_true 20 eval '[ "$(metrics kiln_trace_spans_total result=sent)" = "$(taken | wc -l)" ]'
	expect "0" "$(metrics kiln_trace_spans_total result=lost)" "spans lost"
	expect "600 nobody" "$(stat -c '%a %U' "$run/trace/collector.sock")" "the socket"
}

test_a_collector_that_refuses_is_nobodys_trouble() {
	echo 400 >"$work/mood"
	expect "hello" "$(kiln_run refused echo hello)"
	until_true 60 has refused sandbox
	until_true 20 eval '[ "$(metrics kiln_trace_spans_total result=lost)" -gt 10 ]'
}

test_a_collector_that_hangs_is_nobodys_trouble() {
	echo hang >"$work/mood"
	factory_for "http://127.0.0.1:$port"
	expect "hello" "$(kiln_run hung echo hello)"
	until_true 60 has hung claim
	expect "hello" "$(kiln_run hung2 echo hello)"
	expect "0" "$(metrics kiln_trace_spans_total result=sent)" "spans sent"
}

test_a_collector_that_is_away_is_nobodys_trouble() {
	factory_for http://127.0.0.1:9 # discard, where nobody is
	expect "hello" "$(kiln_run away echo hello)"
	until_true 60 grep -q 'the collector of traces at 127.0.0.1:9 does not answer' "$work/factory.log"
	expect "hello" "$(kiln_run away2 echo hello)"
	stop_factory
	expect "hello" "$(kiln_run away3 echo hello)" # nor that there is no socket
}

test_a_collector_without_an_address_is_refused() {
	configure '.trace_collector = "http://collector.example"'
	expect_match 'trace_collector: "http://collector.example" is no collector' \
		"$(kiln-factory --check --config "$work/factory.json" 2>&1)"
}

echo 200 >"$work/mood"
: >"$work/port" # tail is not to be faster than the collector
/usr/bin/python3 -B "$tests/integration/collector.py" "$work/taken.json" "$work/mood" >"$work/port" &
collector_pid=$!
trap 'kill "$collector_pid" 2>/dev/null; cleanup' EXIT
timeout 20 grep -q . <(tail -f "$work/port") && port=$(cat "$work/port") || exit 1
write_config 2
configure --arg url "http://127.0.0.1:$port" '.trace_collector = $url'
start_factory && wait_full && KILN_TRACE=unix://$run/trace/collector.sock start_containerd || exit 1
prepare_image "$image" || exit 1
run_tests "$@"
