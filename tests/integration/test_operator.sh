#!/bin/bash
# What an operator sees of running sandboxes and does to them: kiln-ctl list, inspect.
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
