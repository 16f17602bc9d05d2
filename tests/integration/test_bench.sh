#!/bin/bash
# kiln-bench: every scenario once on real parts, the files it writes, compare's exit codes, plots,
# traces. No times are judged.
. "$(dirname "$0")/lib.sh"

export TMPDIR=$store
empty_run=$store/empty-run
slots_run=$store/slots-run
unshared_run=$store/unshared-run
result=$work/result.json

measure() {
	timeout 400 kiln-bench run --factory "unix://$empty_run/factory.sock" --pool "$KILN_FACTORY" \
		--slots "unix://$slots_run/factory.sock" --unshared "unix://$unshared_run/factory.sock" --containerd "$work/containerd.sock" --namespace "$(basename "$work")" \
		--image "$image" "${files[@]}" "${cri[@]}" "${crun[@]}" --rootfs overlay --set smoke "$@"
}

code_of() {
	local code=0
	"$@" >"$work/last.out" 2>&1 || code=$?
	echo $code
}

test_every_scenario_runs() {
	measure --out "$result" >"$work/report.txt" || fail "$(cat "$work/report.txt")"
	expect_match 'claim \+ CreateSandbox p50 : cold boot' "$(cat "$work/report.txt")"
	expect_match 'not measured' "$(grep 'N = 50' "$work/report.txt")"
}

test_nothing_is_left() {
	expect '' "$(find "$store" -maxdepth 1 -name 'kiln-bench-*')" 'folders'
	expect '' "$(pgrep -f "qemu-system-x86_64 .*kiln-bench-.*$store" || true)" 'booted machines'
	local run
	for run in "$empty_run" "$slots_run" "$unshared_run"; do
		expect 0 "$(ctl factory status --json --socket "$run/factory.sock" |
			jq '.templates[0].pool.claimed')" 'claimed machines'
	done
	expect '' "$(ctr containers list -q)" 'containers'
	expect '' "$("$CONTAINERD_DIR/ctr" --address "$work/cri.sock" --namespace k8s.io containers list -q)" 'containers of pods'
	expect '' "$(ls "$work/cri/state/io.containerd.grpc.v1.cri/netns" 2>/dev/null)" 'networks of pods'
}

# Ctrl-C while a machine boots: nothing of it stays.
test_an_interrupted_run_leaves_nothing() {
	local pid
	timeout --foreground 120 kiln-bench run --factory "unix://$empty_run/factory.sock" boot \
		>"$work/interrupted.txt" 2>&1 &
	pid=$!
	timeout 60 bash -c "until compgen -G '$store/kiln-bench-*/agent.sock' >/dev/null; do sleep 0.05; done"
	kill -INT "$(pgrep -P $pid)"
	wait_gone $pid || fail 'it goes on'
	test_nothing_is_left
}

test_the_result_has_the_documented_form() {
	jq -e '.schema == 1 and .about.set == "smoke" and (.about.machine.accelerator | length > 0)
		and (.about.machine.kernel | length > 0) and (.about.counts.boots == 1)' \
		"$result" >/dev/null || fail about
	jq -e '[.series[] | (.n == (.samples | length)) and .unit == "ms" and .p50_low <= .p50
		and .p50 <= .p50_high and .p50 <= .p99 + 0.001 * .p99 + 0.001
		and ([.histogram_us[][1]] | add) == .n] | all' "$result" >/dev/null || fail series
	local name
	for name in boot.ready clone.parked clone.claimed claim.claim claim.create_sandbox claim.total \
		claim.of_one claim.of_many first-exec.pooled first-exec.booted ctr.kiln ctr.runc \
		ctr.empty burst.latency roots.{output,run,ready}.{overlay-dax,overlay-image,overlay-share,share,runc} {files,files-first}.{write,walk,sqlite}.{runc,overlay,limit} \
		pods.{run,create,start,exec-first,exec,stop,remove,life}.{kiln,runc} pods-net.{round-trip,transfer}.{kiln,runc} crun.{kiln,crun} \
		metrics.{all,hung,read,read-hung}; do
		jq -e --arg name "$name" '.series[$name].n > 0' "$result" >/dev/null || fail "no $name"
	done
	for name in parked running unshared_parked unshared_running booted; do
		jq -e --arg name "density.$name" '.tables[$name][0]
			| .x == 1 and .counted_mib >= .pss_mib and .pss_mib > 0' "$result" >/dev/null ||
			fail "no density.$name"
	done
	# Three quarters of the 128 MiB went back.
	jq -e '.tables["density.freed"][0] | .x == 128 and .used_mib > .idle_mib + 64 and .freed_mib <= .idle_mib + 32' \
		"$result" >/dev/null || fail "$(jq -c '.tables["density.freed"]' "$result")"
	for name in overlay share; do
		jq -e --arg name "density.image_$name" '.tables[$name][0] | .x == 2 and .read_pss_mib > .idle_pss_mib' \
			"$result" >/dev/null || fail "no density.image_$name"
	done
	# The host has the file once, and the sandboxes share that.
	jq -e '.values["density.image_copies_overlay"] | . > 0.5 and . < 1.5' "$result" >/dev/null || fail "$(jq -c .values "$result")"
	jq -e '.tables.sustain | length == 5 and ([.[] | .hit_ratio <= 1] | all)' "$result" >/dev/null ||
		fail sustain
	jq -e '[.targets[] | .verdict as $v | ["pass", "aim", "miss", "not measured"] | index($v)]
		| all' "$result" >/dev/null || fail targets
}

test_pods_are_compared() {
	jq -e '.values | .["memory.pod_kiln_mib"] > 1 and .["memory.pod_runc_mib"] > 1' "$result" >/dev/null ||
		fail "$(jq -c .values "$result")"
	# A life is the sum of its calls.
	jq -e '.series | [to_entries[] | select(.key | test("^pods\\.(run|create|start|exec|exec-first|stop|remove)\\.kiln$"))
		| .value.samples[0]] as $calls | ($calls | length) == 7
		and (.["pods.life.kiln"].samples[0] - ($calls | add) | fabs < 0.01)' "$result" >/dev/null || fail 'a life'
	jq -e '.series["pods-net.round-trip.kiln"].n == 200 and .targets.pods_run.verdict != "not measured"' "$result" >/dev/null ||
		fail 'round trips, or the target'
}

# The one that fails comes first.
test_a_scenario_that_fails_costs_the_others_nothing() {
	local what='an image that is not there'
	expect 1 "$(code_of kiln-bench run --factory "unix://$empty_run/factory.sock" --cri "$work/cri.sock" \
		--pods-image docker.io/kiln/none:test --set smoke --out "$work/failed.json" pods freed)" "$what"
	expect pods "$(jq -r '.about.failed | keys[]' "$work/failed.json")" 'what failed'
	expect_match 'pods +failed: .*kiln/none:test' "$(cat "$work/last.out")"
	jq -e '.tables["density.freed"] | length > 0' "$work/failed.json" >/dev/null || fail 'the other was not measured'
}

test_work_on_files_is_compared() {
	jq -e '[.values | to_entries[] | select(.key | test("^files(-first)?\\..*\\.overlay:(runc|limit)$")).value | . > 0]
		| length == 60 and all' "$result" >/dev/null || fail "$(jq -c .values "$result")"
	jq -e '.targets.files_untar.verdict != "not measured"' "$result" >/dev/null || fail target
}

# The parts are the whole: a clone's memory is mostly the template's.
test_memory_adds_up() {
	jq -e '[.tables | .["density.parked"][], .["density.unshared_parked"][], .["density.booted"][] | (.ram_private_mib
		+ .ram_shared_mib + .heap_mib + .libraries_mib + .image_mib - .pss_mib) | fabs < 0.1]
		| all' "$result" >/dev/null || fail parts
	jq -e '.tables["density.parked"][0].ram_private_mib
		< .tables["density.booted"][0].ram_private_mib' "$result" >/dev/null || fail 'guest RAM'
}

# A copy of the template's memory costs what the template has, whether the machine maps it or not. (The
# memory of a template that is shared grows by the small holes that its machines have read.)
test_what_is_not_shared_is_counted() {
	local mib
	mib=$(ctl factory status --json --socket "$unshared_run/factory.sock" |
		jq '.templates[0].memory_allocated_bytes / 1048576')
	jq -e --argjson mib "$mib" '.tables | .["density.parked"][0] as $shared
		| .["density.unshared_parked"][0] | .ram_shared_mib == 0
		and .ram_private_mib > $shared.ram_private_mib and .counted_mib > $shared.counted_mib
		and .ram_private_mib + .unmapped_mib > 0.9 * 2 * $mib' "$result" >/dev/null ||
		fail "$(jq -c '.tables | .["density.parked"], .["density.unshared_parked"]' "$result")"
	expect 1 "$(code_of kiln-bench run --factory "unix://$empty_run/factory.sock" \
		--unshared "unix://$empty_run/factory.sock" --set smoke density)" 'a template that is shared'
	expect_match 'does not say "share": "never"' "$(cat "$work/last.out")"
}

test_a_result_compares_to_itself_as_the_same() {
	expect 0 "$(code_of kiln-bench compare "$result" "$result")" status
	expect_match ' 0 worse,' "$(tail -n 1 "$work/last.out")"
}

test_compare_finds_what_became_worse() {
	jq '.series["claim.claim"].samples = [range(40) | 10 + . / 100]' "$result" >"$work/old.json"
	jq '.series["claim.claim"].samples = [range(40) | 20 + . / 100]' "$result" >"$work/new.json"
	expect 1 "$(code_of kiln-bench compare "$work/old.json" "$work/new.json")" 'slower'
	expect_match 'claim.claim .*WORSE' "$(cat "$work/last.out")"
	expect 0 "$(code_of kiln-bench compare "$work/new.json" "$work/old.json")" 'faster'
}

test_wrong_usage_is_status_2() {
	echo '{}' >"$work/none.json"
	expect 2 "$(code_of kiln-bench compare "$result")" 'one file'
	expect 2 "$(code_of kiln-bench compare "$result" "$work/none.json")" 'no result'
	expect 2 "$(code_of kiln-bench compare "$result" "$work/missing.json")" 'no file'
	expect 2 "$(code_of kiln-bench run nosuch)" 'no scenario'
	expect 2 "$(code_of kiln-bench run --count boots=x)" 'no number'
	expect 2 "$(code_of kiln-bench run ctr)" 'no containerd'
	expect 2 "$(code_of kiln-bench run pods)" 'no containerd with CRI'
	expect 2 "$(code_of kiln-bench run --containerd "$work/containerd.sock" files)" 'no image'
	expect 0 "$(code_of kiln-bench --help)" help
}

test_a_baseline_is_kept_or_broken() {
	kiln-bench baseline "$result" >"$work/baseline.json"
	expect 0 "$(code_of kiln-bench check "$result" "$work/baseline.json")" kept
	jq '.targets.shim_memory.value /= 10' "$work/baseline.json" >"$work/stricter.json"
	expect 1 "$(code_of kiln-bench check "$result" "$work/stricter.json")" broken
	expect_match 'shim, private memory .*WORSE' "$(cat "$work/last.out")"
	expect 2 "$(code_of kiln-bench check "$result" "$work/none.json")" 'no baseline'
	jq -e '.schema == 1 and (.targets | length > 0)' \
		"$tests/../bench/baseline.json" >/dev/null || fail 'the committed one'
}

test_plots_are_made() {
	local name
	kiln-bench plot "$result" "$work/plots" >/dev/null
	for name in latency memory hit-ratio; do
		expect_match '<svg' "$(head -c 500 "$work/plots/$name.svg")"
		expect 89504e47 "$(od -An -tx1 -N4 "$work/plots/$name.png" | tr -d ' ')" "$name.png"
	done
}

test_a_traced_start_is_drawn() {
	stop_factory
	kill "$containerd_pid"
	wait_gone "$containerd_pid"
	export KILN_TRACE=$work/traces
	trap 'kill "$containerd_pid" || true' EXIT # this one's parent does not know it
	start_factory
	start_containerd
	wait_full
	kiln_run traced true
	kiln-bench trace "$work/traces" traced "$work/plots" >"$work/waterfall.txt"
	local step
	for step in shim.start claim create_sandbox rootfs create_container start_container; do
		expect_match "shim +$step" "$(cat "$work/waterfall.txt")"
	done
	expect_match 'factory +claim' "$(cat "$work/waterfall.txt")"
	expect_match '<svg' "$(head -c 500 "$work/plots/waterfall.svg")"
	expect 1 "$(code_of kiln-bench trace "$work/traces" nosuch)" 'no such start'
}

write_config 2 .
start_factory
start_empty_factory empty always
start_empty_factory slots always '.dax_windows = 0'
start_empty_factory unshared never
start_containerd
make_files_image
make_crun_folder
start_cri "unix://$empty_run/factory.sock"
run_tests
