#!/bin/bash
# The shim as containerd wants it: what `start` is told and answers, the Task service's methods and
# events, the life of a task between them.
. "$(dirname "$0")/lib.sh"

export SHIM_WORK=$work/pods SHIM_NAMESPACE=$(basename "$work")

shim() { timeout 200 /usr/bin/python3 -B "$tests/integration/shim.py" "$@" 2>"$work/shim.log"; }

claims() { metrics kiln_claims_total; }

# The machine that `start` claims is the one that Create wants, also where options name a file.
test_a_pod_is_one_claim() {
	local before
	echo '{"check_s": 7}' >"$work/shim.json"
	before=$(claims)
	expect one "$(kiln_run once --runtime-config-path "$work/shim.json" -- echo one)"
	expect $((before + 1)) "$(claims)" 'claims by an older containerd with options'
	expect two "$(kiln_run twice echo two)"
	expect $((before + 2)) "$(claims)" 'claims by an older containerd without options'
	mkdir -p "$SHIM_WORK"
	root=$(jq -nc --arg dir "$work/root" '[{type: "bind", source: $dir, options: ["rbind", "rw"]}]')
	expect $'a\nb' "$(SHIM_CONFIG=$work/shim.json shim run pod "$root" 'echo a' "$root" 'echo b')"
	expect $((before + 3)) "$(claims)" 'claims by a newer containerd with options'
}

write_config 3
start_factory
start_containerd
"$tests/busybox-root" "$work/root"
wait_full
run_tests "$@"
