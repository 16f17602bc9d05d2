#!/bin/bash
# What the factory shows over HTTP: Prometheus' format, health, readiness, status; and that the
# numbers add up.
. "$(dirname "$0")/lib.sh"
BAKED= # bakes are counted

port=$((20000 + RANDOM % 10000))

http_code() { http "$1" -o /dev/null -w '%{http_code}' "${@:2}"; }

# eventually WANTED COMMAND...: a measurement of memory may be a second old.
eventually() {
	local deadline=$((SECONDS + 10))
	until [ "$("${@:2}")" = "$1" ]; do
		[ $SECONDS -lt $deadline ] || fail "${*:2}: never $1"
		sleep 0.2
	done
}

counted() { status_json | jq --arg name "$1" '[.counters[] | select(.name == $name).value] | add // 0'; }

test_a_factory_without_template_is_healthy_and_not_ready() {
	expect 200 "$(http_code /healthz)" /healthz
	expect 503 "$(http_code /readyz)" /readyz
	expect 'template default is absent' "$(http /readyz)"
	expect 1 "$(metrics kiln_template_state state=absent)"
	expect 0 "$(metrics kiln_pool_machines)"
	expect 0 "$(metrics kiln_claims_total template=default)"
}

test_a_baking_factory_is_healthy_and_not_ready() {
	local init
	factory_ctl init >/dev/null 2>&1 &
	init=$!
	timeout 60 grep -q -m1 'bake: answering' <(tail -n +1 -f "$work/factory.log")
	expect 200 "$(http_code /healthz)" /healthz
	expect 503 "$(http_code /readyz)" /readyz
	expect_match '^template default is baking: [a-z]+$' "$(http /readyz)"
	expect 1 "$(metrics kiln_template_state state=baking)"
	wait $init || fail 'init'
}

test_a_full_pool_is_ready() {
	expect 200 "$(http_code /readyz)" /readyz
	expect ready "$(http /readyz)"
	expect 1 "$(metrics kiln_template_state state=ready)"
	expect 2 "$(metrics kiln_pool_machines state=parked template=default)"
	expect 1 "$(metrics kiln_bake_seconds_count)" bakes
	expect 1 "$(metrics kiln_bakes_total result=done)"
	expect 2 "$(metrics kiln_clone_seconds_count)" clones
	expect 2 "$(metrics kiln_warm_seconds_count)" warmed
	eventually 2 metrics kiln_machines_measured
	[ "$(metrics kiln_machines_pss_bytes | cut -d. -f1)" != 0 ] || fail 'no Pss'
	[ "$(metrics kiln_template_shared_bytes)" != 0 ] || fail 'nothing shared'
}

# Names, types, units and helps as promtool wants them; buckets grow; no series comes twice.
test_the_page_is_clean() {
	http /metrics -D "$work/headers" >"$work/metrics.txt"
	grep -qi '^content-type: text/plain; version=0.0.4' "$work/headers" || fail "$(cat "$work/headers")"
	/usr/bin/python3 - "$work/metrics.txt" <<-'PYTHON'
		import collections, math, re, sys
		from prometheus_client.parser import text_string_to_metric_families as parse
		text = open(sys.argv[1]).read()
		assert text.endswith("\n")
		seen = set()
		for family in parse(text):
		    name = family.name + ("_total" if family.type == "counter" else "")
		    assert text.count("# TYPE %s " % name) == 1, name
		    assert family.documentation, name
		    assert re.fullmatch("kiln_[a-z_]+", name), name
		    assert family.type in ("counter", "gauge", "histogram"), name
		    assert (family.type == "counter") == name.endswith("_total"), name
		    if family.type == "histogram":
		        assert name.endswith("_seconds"), name
		    series = collections.defaultdict(list)
		    for sample in family.samples:
		        labels = dict(sample.labels)
		        key = (sample.name,) + tuple(sorted(labels.items()))
		        assert key not in seen, key
		        seen.add(key)
		        edge = labels.pop("le", None)
		        series[tuple(sorted(labels.items()))].append((sample.name, edge, sample.value))
		    for samples in series.values() if family.type == "histogram" else ():
		        buckets = [(float(edge), value) for _, edge, value in samples if edge]
		        count = [value for n, _, value in samples if n.endswith("_count")]
		        assert buckets == sorted(buckets), name
		        assert [v for _, v in buckets] == sorted(v for _, v in buckets), name
		        assert buckets[-1] == (math.inf, count[0]), name
	PYTHON
}

test_claims_add_up() {
	local pids=() i made=7
	for ((i = 1; i <= made; i++)); do
		ctl agent -c Check >/dev/null 2>"$work/claim.$i" &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i" || fail "claim failed: $(cat "$work"/claim.*)"; done
	expect "$made" "$(metrics kiln_claims_total)" 'claims in /metrics'
	expect "$made" "$(metrics kiln_claim_seconds_count)" 'claims timed'
	expect 0 "$(metrics kiln_claims_total result=failed)" 'failed claims'
	expect "$(grep -l pooled "$work"/claim.* | wc -l)" "$(metrics kiln_claims_total result=pooled)" pooled
	expect "$(grep -l cloned "$work"/claim.* | wc -l)" "$(metrics kiln_claims_total result=cloned)" cloned
	expect "$made" "$(($(counted claims_pooled) + $(counted claims_cloned)))" 'claims in status'
	expect "$made" "$(status_json | jq '.claims.hits + .claims.clones')" 'hits and clones in status'
	[ "$(status_json | jq '.claims.p50_us > 0 and .claims.p99_us >= .claims.p50_us')" = true ] ||
		fail "$(status_json | jq .claims)"
	# No cloned claim without a reason.
	expect 0 "$(metrics kiln_claims_total result=cloned reason=)" 'cloned for no reason'
}

test_refused_claims_are_counted() {
	local failed
	failed=$(counted claims_failed)
	factory_ctl status --json --template default | jq -e '.templates[0].claims' >/dev/null
	ctl agent --template nosuch -c Check >/dev/null 2>&1 && fail 'claim of an unknown template'
	expect $((failed + 1)) "$(counted claims_failed)" claims_failed
	expect 1 "$(metrics kiln_claims_total template= result=failed)" 'of no template'
}

test_status_is_the_same_json() {
	wait_full
	local filter='del(.uptime_s, .memory, .templates[].memory, .templates[].pool.claims_per_s) | tojson'
	expect "$(status_json | jq -c "$filter")" "$(http /status | jq -c "$filter")" /status
	expect true "$(http /status | jq '.on and .memory.machines > 0 and .memory.pss_bytes > 0
		and .memory.shared_bytes == .templates[0].memory_allocated_bytes')" memory
}

test_reading_changes_nothing() {
	wait_full
	local before i
	before=$(http /metrics | grep -v -e _bytes -e start_time)
	expect_match kiln_pool_machines "$before"
	for i in 1 2 3; do
		http /status >/dev/null
		factory_ctl status >/dev/null
	done
	expect "$before" "$(http /metrics | grep -v -e _bytes -e start_time)" /metrics
}

test_other_requests_are_refused() {
	expect 404 "$(http_code /)" /
	expect 404 "$(http_code /metrics/..)" '/metrics/..'
	expect 405 "$(http_code /metrics -X POST)" POST
	expect 405 "$(http_code /metrics -X DELETE)" DELETE
	head -c 100000 /dev/zero | tr '\0' x >"$work/large"
	expect 413 "$(http_code /metrics -X POST --data-binary @"$work/large")" 'a large body'
	expect 600 "$(stat -c %a "$run/http.sock")" 'mode of http.sock'
}

test_the_port_is_on_loopback_only() {
	expect 200 "$(curl -sS --max-time 20 -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/healthz")"
	expect "127.0.0.1:$port" "$(ss -Hltn "sport = :$port" | awk '{ print $4 }')" 'listening on'
}

test_watch_shows_changes_and_ends_well() {
	local pid code=0
	timeout 60 kiln-ctl factory status --watch 1 --socket "$run/factory.sock" >"$work/watch.txt" &
	pid=$!
	timeout 30 grep -q -m2 'kiln-factory' <(tail -n +1 -F "$work/watch.txt" 2>/dev/null)
	kill -INT "$(pgrep -P $pid)"
	wait $pid || code=$?
	expect 0 "$code" 'exit code'
	expect_match 'vm factory is on' "$(head -n 1 "$work/watch.txt")"
}

test_what_scratch_disks_can_grow_by() {
	local free size
	free=$(http /metrics | sed -n 's/^kiln_scratch_free_bytes //p')
	size=$(http /metrics | sed -n 's/^kiln_scratch_size_bytes //p')
	expect "$(($(stat -f -c '%b * %S' "$work/scratch")))" "$size" 'size of the file system'
	((free > 0 && free < size)) || fail "$free of $size bytes are free"
}

test_a_destroyed_template_is_not_ready() {
	factory_ctl destroy >/dev/null
	expect 200 "$(http_code /healthz)" /healthz
	expect 503 "$(http_code /readyz)" /readyz
	expect 'template default is absent' "$(http /readyz)"
	expect 0 "$(metrics kiln_pool_machines)" machines
	expect 0 "$(metrics kiln_template_shared_bytes)" shared
}

test_the_end_removes_the_socket() {
	stop_factory
	[ ! -e "$run/http.sock" ] || fail 'http.sock is left'
}

write_config 2
configure --argjson port "$port" '.http_port = $port'
start_factory
run_tests "$@"
