#!/bin/bash
# What an operator sees of running sandboxes and does to them: kiln-ctl list, inspect, metrics, top, logs, policy, iptables.
. "$(dirname "$0")/lib.sh"

ns=$(basename "$work")

# sandbox ID [FILTER]: what the list says of one of ours; there may be others' on this host.
sandbox() {
	ctl list --json | jq -cr --arg ns "$ns" --arg id "$1" \
		'.sandboxes[] | select(.namespace == $ns and .sandbox_id == $id)'" ${2:-}"
}

# keep ID [CTR OPTIONS]: a container that stays.
keep() { ctr run -d --runtime io.containerd.kiln.v2 "${@:2}" "$image" "$1" sleep 1000; }

shim_of() { sandbox "$1" '| .shim_pid'; }

# fails STATUS COMMAND...: its output, and that it ends so.
fails() {
	local status=0
	"${@:2}" 2>&1 || status=$?
	expect "$1" "$status" "status of ${*:2}"
}

test_sandboxes_are_listed() {
	local id
	expect '' "$(sandbox op-a)" 'before it is there'
	keep op-a
	keep op-b
	expect 'running pooled default 1 256 running' "$(sandbox op-a '| [.state, .machine.origin, .machine.template,
		.machine.vcpus, .machine.memory_mib, .containers[0].state] | join(" ")')"
	expect "$(cat "/proc/$(shim_of op-a)/comm")" containerd-shim comm
	expect_match 'qemu-system' "$(tr '\0' ' ' <"/proc/$(sandbox op-a '| .machine.vmm_pid')/cmdline")"
	expect 1 "$(ctl list | grep -Ec "^op-a +$ns .* default +pooled +[0-9].* 1 running +running$")" line
	ctl list --socket /nonexistent | grep -q '^op-a ' || fail 'without a factory'
	for id in op-a op-b; do remove_container $id; done
	until_true 20 no_shims
	expect '' "$(sandbox op-a)" 'after its end'
}

test_one_is_inspected_by_a_beginning() {
	keep op-one
	keep op-other
	expect op-one "$(ctl inspect op-on --json | jq -r .sandbox_id)" beginning
	expect_match "the ids of [0-9]+ sandboxes begin with 'op-o'" "$(fails 1 ctl inspect op-o)"
	expect_match "there is no sandbox 'nobody'" "$(fails 1 ctl inspect nobody)"
	expect_match 'which sandbox' "$(fails 2 ctl inspect)"
	expect 1 "$(ctl inspect op-one | grep -cE '^op-one +running +[1-9]')" container
	expect 1 "$(ctl inspect op-one | grep -cE '^origin +pooled$')" origin
	expect "$(kiln-factory --version)" "kiln-factory $(sandbox op-one '| .machine.factory_version')" 'the factory'
	expect 'false' "$(sandbox op-one '| .replaced')" 'its shim is another one'
	remove_container op-one
	remove_container op-other
}

# As CRI makes them.
test_a_pod_has_its_names() {
	local cri=io.kubernetes.cri id
	keep op-pod --annotation $cri.sandbox-id=op-pod --annotation $cri.container-type=sandbox \
		--annotation $cri.sandbox-name=web --annotation $cri.sandbox-namespace=shop --annotation $cri.sandbox-uid=u1
	keep op-app --annotation $cri.sandbox-id=op-pod --annotation $cri.container-type=container \
		--annotation $cri.image-name=nginx:1 --annotation $cri.sandbox-name=web
	expect 'shop web u1' "$(sandbox op-pod '| .pod | "\(.namespace) \(.name) \(.uid)"')"
	expect 'op-app nginx:1 false,op-pod null true' "$(sandbox op-pod '| [.containers[] |
		"\(.id) \(.image) \(.is_sandbox)"] | sort | join(",")')"
	ctl list | grep -qE "^op-pod +$ns +shop/web +nginx:1 .* 1 running +running$" || fail "$(ctl list)"
	for id in op-app op-pod; do remove_container $id; done
}

test_a_shim_that_hangs_is_named() {
	local shim
	keep op-hung
	keep op-well
	shim=$(shim_of op-hung)
	kill -STOP "$shim"
	expect "unknown $shim its shim does not answer" "$(sandbox op-hung '| "\(.state) \(.shim_pid) \(.error)"')"
	expect running "$(sandbox op-well '| .state')" 'of the other'
	expect_match 'op-hung: its shim does not answer' "$(fails 1 ctl inspect op-hung --timeout 1)"
	kill -CONT "$shim"
	expect running "$(sandbox op-hung '| .state')" 'when it goes on'
	remove_container op-hung
	remove_container op-well
}

# It leaves its socket, and its container to containerd.
test_a_killed_shim_leaves_nothing_in_the_list() {
	local shim socket
	keep op-dead
	shim=$(shim_of op-dead)
	socket=$(sandbox op-dead '| .socket')
	kill -STOP "$containerd_pid" # which would clean up at once
	kill -KILL "$shim"
	wait_gone "$shim"
	[ -S "$socket" ] || fail 'it did not leave its socket'
	expect '' "$(sandbox op-dead)" list
	[ ! -e "$socket" ] || fail 'its socket is there still'
	kill -CONT "$containerd_pid"
	until_true 30 ctr containers delete op-dead
}

# value NAME [LABEL=VALUE]...: of the page on stdin, the sum of the samples of ours that have these labels; "none".
value() {
	/usr/bin/python3 -c '
import sys
from prometheus_client.parser import text_string_to_metric_families as parse
wanted = dict(pair.split("=", 1) for pair in sys.argv[2:])
found = [s.value for f in parse(sys.stdin.read()) for s in f.samples
         if s.name == sys.argv[1] and wanted.items() <= s.labels.items()]
print("%g" % sum(found) if found else "none")
' "$@"
}

# of ID NAME [LABEL=VALUE]...: a sample of a sandbox of ours, of the page in $work/page.
of() { value "$2" sandbox="$1" namespace="$ns" "${@:3}" <"$work/page"; }

promtool() { PATH=$PATH:$BUILD command promtool "$@"; }

test_metrics_of_all() {
	local id
	keep op-m1
	keep op-m2
	ctl metrics >"$work/page"
	expect '' "$(promtool check metrics <"$work/page" 2>&1)" promtool
	for id in op-m1 op-m2; do
		expect 1 "$(of $id kiln_sandbox_up)" up
		expect 1 "$(of $id kiln_sandbox_guest_up)" guest_up
		expect 1 "$(of $id kiln_sandbox_info origin=pooled containerd_namespace="$ns")" info
		expect 1 "$(of $id kiln_sandbox_containers state=running)" containers
		expect 2.68435e+08 "$(of $id kiln_sandbox_memory_bytes)" memory
		expect 0 "$(of $id kiln_sandbox_guest_refused_lines)" 'lines refused'
		[ "$(of $id kiln_shim_open_files)" -ge 3 ] || fail "files of the shim: $(of $id kiln_shim_open_files)"
		[ "$(of $id kiln_container_processes container=$id)" -ge 1 ] || fail 'processes of the container'
		expect none "$(of $id kiln_container_processes container=other)" 'another container'
	done
	/usr/bin/python3 -c "
assert $(of op-m1 kiln_guest_memory_bytes item=MemTotal) > 100e6
assert $(of op-m1 kiln_vmm_memory_bytes kind=anonymous) > 1e6
assert $(of op-m1 kiln_vmm_cpu_seconds_total) > 0
assert $(of op-m1 kiln_guest_cpu_seconds_total) > 0
assert $(of op-m1 kiln_sandbox_start_time_seconds) > 1.7e9
assert 10e3 < $(of op-m1 kiln_shim_memory_bytes kind=anonymous) < 4 << 20"
	ctl metrics op-m1 >"$work/page"
	expect "1 none" "$(of op-m1 kiln_sandbox_up) $(of op-m2 kiln_sandbox_up)" 'one alone'
	expect_match "there is no sandbox 'nobody'" "$(fails 1 ctl metrics nobody)"
	remove_container op-m1
	remove_container op-m2
}

# serve OPTIONS: in the background; $server is its pid. It can be read when this returns.
serve() {
	"$BUILD/kiln-ctl" metrics serve "$@" 2>"$work/serve.log" &
	server=$!
}

page() { curl -sS --max-time 20 --unix-socket "$work/metrics.sock" http://host/metrics >"$work/page"; }

go_on() { page && [ "$(of op-s2 kiln_sandbox_up) $(of op-s3 kiln_sandbox_guest_up)" = '1 1' ]; }
test_metrics_are_served_whatever_hangs() {
	local server shim vmm readers=() i
	keep op-s1
	keep op-s2
	keep op-s3
	shim=$(shim_of op-s2)
	vmm=$(sandbox op-s3 '| .machine.vmm_pid')
	serve --address "$work/metrics.sock" --timeout 3
	until_true 10 test -S "$work/metrics.sock"
	expect 600 "$(stat -c %a "$work/metrics.sock")" mode
	page
	expect '1 1 1' "$(of op-s1 kiln_sandbox_up) $(of op-s2 kiln_sandbox_up) $(of op-s3 kiln_sandbox_guest_up)" well
	kill -STOP "$shim" "$vmm"
	for i in 1 2 3; do
		curl -sS --max-time 20 --unix-socket "$work/metrics.sock" http://host/metrics >"$work/page.$i" &
		readers+=($!)
	done
	page
	wait "${readers[@]}" || fail 'a reader got no page'
	kill -CONT "$shim" "$vmm"
	expect '1 1' "$(of op-s1 kiln_sandbox_up) $(of op-s1 kiln_sandbox_guest_up)" 'of what is well'
	expect '0 none' "$(of op-s2 kiln_sandbox_up) $(of op-s2 kiln_sandbox_guest_up)" 'of the hung shim'
	[ "$(of op-s2 kiln_shim_open_files)" -ge 3 ] || fail 'nothing of the hung shim'
	expect '1 0 none' "$(of op-s3 kiln_sandbox_up) $(of op-s3 kiln_sandbox_guest_up) $(of op-s3 kiln_guest_load)" 'of the hung guest'
	expect '' "$(promtool check metrics <"$work/page" 2>&1)" promtool
	until_true 10 go_on
	expect 404 "$(curl -s -o /dev/null -w '%{http_code}' --unix-socket "$work/metrics.sock" http://host/)" 'another page'
	kill -TERM "$server"
	wait "$server" || fail "the server ended with $?: $(cat "$work/serve.log")"
	[ ! -e "$work/metrics.sock" ] || fail 'its socket is there still'
	for i in 1 2 3; do remove_container op-s$i; done
}

test_metrics_are_served_by_tcp() {
	local server port
	port=$(/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
	serve --address "127.0.0.1:$port"
	until_true 10 curl -sf --max-time 5 -o "$work/page" "http://127.0.0.1:$port/metrics"
	grep -q '^kiln_sandboxes{' "$work/page" || fail 'no page'
	expect_match 'cannot listen on' "$(fails 1 timeout 20 "$BUILD/kiln-ctl" metrics serve --address "127.0.0.1:$port")"
	kill -INT "$server"
	wait "$server" || fail "the server ended with $?"
}

# The one that works is above the one that sleeps.
test_top() {
	local lines
	ctr run -d --runtime io.containerd.kiln.v2 "$image" op-busy sh -c 'while :; do :; done'
	keep op-idle
	lines=$(ctl top --once --interval 1 | grep -E "^op-(busy|idle) +$ns ")
	expect_match "^op-busy +$ns +- +[1-9][0-9]*\.[0-9] +[0-9.]+ MiB +[0-9.]+ MiB +256 MiB +1 +running"$'\n'"op-idle " "$lines"
	remove_container op-busy
	remove_container op-idle
}

test_logs_of_the_guest() {
	local out
	keep op-log
	out=$(ctl logs op-log)
	expect_match '^\[[0-9]+\.[0-9]{6}\] ' "$out"
	ctr tasks exec --exec-id k op-log true
	expect_match 'which sandbox' "$(fails 2 ctl logs)"
	kill -STOP "$(sandbox op-log '| .machine.vmm_pid')"
	expect_match 'sandbox op-log: ' "$(fails 1 ctl logs op-log --timeout 1)"
	kill -CONT "$(sandbox op-log '| .machine.vmm_pid')"
	remove_container op-log
}

# recorded N: so many policies are in the record, which goes by containerd.
recorded() { [ "$(grep -c 'audit policy sandbox=op-policy by_uid=0 by_pid=' "$work/containerd.log")" = "$1" ]; }

# Of the guest's own kinds: what is allowed still works, what is not is denied, and the record has it.
test_a_policy_is_set() {
	local allowed
	keep op-policy
	echo '{"allow": {"NoSuchMethod": true}}' >"$work/wrong.json"
	expect_match 'NoSuchMethod' "$(fails 1 ctl policy set op-policy "$work/wrong.json")"
	allowed='{"allow": {"SetPolicy": true, "GetMetrics": true, "WaitProcess": true, "SignalProcess": true,
		"RemoveContainer": true, "ReadStdout": true, "ReadStderr": true, "ListProcesses": true,
		"DestroySandbox": true, "StatsContainer": true}}'
	echo "$allowed" >"$work/policy.json"
	ctl policy set op-policy "$work/policy.json"
	expect_match 'denied|policy' "$(fails 1 ctl logs op-policy)"
	expect_match 'denied|policy' "$(ctr tasks exec --exec-id no op-policy true 2>&1 || true)"
	ctl metrics op-policy | grep '^kiln_sandbox_guest_up{.*} 1$' >/dev/null || fail 'GetMetrics was allowed'
	ctl policy set "$work/policy.json" --sandbox-id op-policy
	until_true 10 recorded 3
	remove_container op-policy
}

# Whether there are rules is the guest's to say.
test_iptables_are_the_guest_s() {
	keep op-rules
	printf '*filter\nCOMMIT\n' >"$work/rules"
	expect_match 'sandbox op-rules: .*the guest image has no iptables-save and iptables-restore' \
		"$(fails 1 ctl iptables get op-rules)"
	expect_match 'has no ip6tables-save' "$(fails 1 ctl iptables get --sandbox-id op-rules --v6)"
	expect_match 'has no iptables-save' "$(fails 1 ctl iptables set op-rules "$work/rules")"
	expect_match 'set wants a sandbox and a file' "$(fails 2 ctl iptables set op-rules)"
	expect_match 'get or set' "$(fails 2 ctl iptables list op-rules)"
	expect_match 'No such file' "$(fails 1 ctl iptables set op-rules /nonexistent)"
	remove_container op-rules
}

test_for_root_alone() {
	keep op-root
	expect 600 "$(stat -c %a "$(sandbox op-root '| .socket')")" mode
	expect_match 'cannot look for sandboxes in /run/kiln/shims: Permission denied' \
		"$(fails 1 setpriv --reuid=nobody --regid=nogroup --clear-groups "$BUILD/kiln-ctl" list)"
	remove_container op-root
}

write_config 2
start_factory
wait_full
start_containerd
run_tests "$@"
