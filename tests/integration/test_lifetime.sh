#!/bin/bash
# A sandbox whose time is over: its containers get SIGTERM and an exit status, containerd hears of it, hooks run, the
# machine goes back, and the shim's log says why. Use puts an idle time-out off.
. "$(dirname "$0")/lib.sh"

loops='trap "exit 7" TERM; while :; do sleep 1 & wait; done' # and says how it was ended

# begin ID [OPTIONS]
begin() {
	local id=$1
	shift
	ctr run -d --runtime io.containerd.kiln.v2 "$@" "$image" "$id" \
		sh -c "$loops"
}

ended() { [ "$(ctr tasks list | awk -v id="$1" '$1 == id { print $3 }')" = STOPPED ]; }
claimed() { factory_ctl list --json | jq '[.vms[]? | select(.state == "claimed")] | length'; }

# expect_over ID WHY: ended as by a stop, its machine back before anybody deletes the task.
expect_over() {
	until_true 60 ended "$1"
	until_true 30 eval '[ "$(claimed)" = 0 ]'
	expect_match "$1: the sandbox is ended: $2" "$(cat "$work/containerd.log")"
	remove_container "$1"
}

test_a_time_to_live() {
	begin ttl1 --annotation io.kiln.ttl_s=$((6 * TIME_FACTOR))
	expect 1 "$(claimed)" machines
	ctr tasks exec --exec-id x1 ttl1 true # which does not prolong it
	expect_over ttl1 "it has lived for $((6 * TIME_FACTOR)) s"
	until_true 30 no_shims
}

test_who_waits_gets_its_status() {
	local status=0
	kiln_run waited --annotation io.kiln.ttl_s=$((4 * TIME_FACTOR)) -- sh -c "$loops" || status=$?
	expect 7 "$status" 'the exit status'
	until_true 30 eval '[ "$(claimed)" = 0 ]'
}

test_an_idle_timeout_is_put_off_by_use() {
	echo '{"idle_s": 8, "idle_cpu_percent": 100}' >"$work/idle.json"
	begin idle1 --runtime-config-path "$work/idle.json"
	ctr tasks exec --exec-id x1 idle1 sleep 14 # which fails where its machine ends
	expect_over idle1 'nobody has used it for 8 s'
}

test_an_annotation_makes_it_shorter_only() {
	echo '{"ttl_s": 3}' >"$work/short.json"
	begin short1 --runtime-config-path "$work/short.json" --annotation io.kiln.ttl_s=1000
	expect_over short1 'it has lived for 3 s'
}

test_a_template_says_it() {
	jq ".ttl_s = $((4 * TIME_FACTOR))" "$work/template.json" >"$work/template.new" && mv "$work/template.new" "$work/template.json"
	stop_factory
	start_factory && wait_full
	begin of1
	expect_over of1 "it has lived for $((4 * TIME_FACTOR)) s"
	jq 'del(.ttl_s)' "$work/template.json" >"$work/template.new" && mv "$work/template.new" "$work/template.json"
	stop_factory
	start_factory && wait_full
}

# run_pod NAME ANNOTATION...: by CRI, of which containerd lets the annotations pass; sets pod and app, their ids.
run_pod() {
	export CRI_SOCKET=$work/cri.sock CRI_IMAGE=$pods_image CRI_CGROUP=/$(basename "$work")-pods CRI_COMMAND=$loops
	jq '.idle_cpu_percent = 100' "$work/cri-kiln.json" >"$work/cri.new" && mv "$work/cri.new" "$work/cri-kiln.json"
	read -r pod app < <("$tests/integration/cri.py" run "$@")
}

states() { "$tests/integration/cri.py" states "$pod" "$app"; }
are() { [ "$(states)" = "$1" ]; }

# expect_pod_over WHY: the kubelet is told of both ends, and the container's is that of a stop.
expect_pod_over() {
	until_true 60 are '1 2 7'
	until_true 30 eval '[ "$(claimed)" = 0 ]'
	expect_match "${pod:0:12}[0-9a-f]*: the sandbox is ended: $1" "$(cat "$work/cri.log")"
	"$tests/integration/cri.py" remove "$pod"
}

test_a_pod_of_cri_has_a_time_to_live() {
	run_pod mortal io.kiln.ttl_s=10
	expect '0 1 0' "$(states)" 'before'
	expect_pod_over 'it has lived for 10 s'
}

test_a_pod_of_cri_is_idle() {
	run_pod idle io.kiln.idle_s=6 other.example/ttl_s=1
	expect '0 1 0' "$(states)" 'before'
	expect_pod_over 'nobody has used it for 6 s'
}

test_without_limits_it_lives_on() {
	begin long1
	expect '' "$(grep 'long1: the sandbox is ended' "$work/containerd.log")"
	expect 1 "$(claimed)" machines
	remove_container long1
}

write_config 2
start_factory && wait_full && start_containerd && start_cri "unix://$run/factory.sock" || exit 1
run_tests "$@"
