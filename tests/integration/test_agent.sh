#!/bin/bash
# The agent's protocol in a real clone: every method, with nothing in it and with what it is for.
. "$(dirname "$0")/lib.sh"

LIVES=${LIVES:-240} # of containers in one guest

# in_guest REQUEST...: requests to one machine, whatever comes of them; both outputs in order.
in_guest() {
	local requests=() request
	for request in "$@"; do requests+=(-c "$request"); done
	ctl agent --keep-going --timeout 20 "${requests[@]}" 2>&1 || true
}

# container ID PROCESS LINUX OTHERS: a CreateContainer that runs what a factory rehearses with.
container() {
	jq -nc --arg id "$1" --argjson process "$2" --argjson linux "$3" --argjson others "$4" '"CreateContainer " + ({
		container_id: $id, exec_id: $id, OCI: ({root: {path: "/usr/share/kiln/rehearsal"},
		mounts: [{destination: "/dev", type: "tmpfs", source: "tmpfs"}, {destination: "/proc", type: "proc", source: "proc"}],
		process: ({cwd: "/", args: ["/program"]} + $process), linux: $linux} + $others)} | tojson)' -r
}

# All that the list has, with an empty message. The agent is PID 1: where it dies, so does the machine,
# and Check at the end has nobody to answer it.
test_nothing_in_every_method() {
	local methods out
	methods=$(ctl agent list | grep -E '^  [A-Z][A-Za-z]+$')
	[ "$(wc -l <<<"$methods")" -ge 48 ] || fail "only these methods: $methods"
	{ echo "$methods" && echo Check; } >"$work/requests"
	out=$(ctl agent --keep-going --timeout 5 --file "$work/requests" 2>&1) && fail 'no method wants anything'
	expect_match '"status": "SERVING"' "$(tail -n 3 <<<"$out")"
	expect '' "$(grep -E 'UNAVAILABLE|INTERNAL' <<<"$out" || true)" 'what no empty message should lead to'
}

test_files_are_copied_in() {
	local out
	out=$(in_guest 'CopyFile {"path": "/run/kata-containers/a/b", "file_mode": 33188, "file_size": 6, "data": "YWJj"}' \
		'CopyFile {"path": "/run/kata-containers/a/b", "file_mode": 33188, "file_size": 6, "offset": 3, "data": "ZGVm"}' \
		'CopyFile {"path": "/etc/b", "file_size": 1, "data": "YQ=="}' \
		'GetVolumeStats {"volume_guest_path": "/run/kata-containers/a"}')
	expect 1 "$(grep -c '^.*CopyFile: ' <<<"$out")" "refused: $out"
	expect_match 'PERMISSION_DENIED: .*not below /run/kata-containers' "$out"
	expect_match '"unit": "BYTES"' "$out"
}

test_it_can_be_looked_into() {
	local out
	out=$(in_guest GetMetrics 'GetDiagnosticData {"log_type": "kernel"}')
	expect_match 'kiln_guest_memory_bytes.item=..MemTotal' "$out"
	expect_match 'Linux version' "$out"
	out=$(in_guest StatsGuest)
	expect_match '"usage": [0-9]{8,}, .*"limit": [0-9]{9,}' "$(tr '\n' ' ' <<<"$out")"
	expect_match '"op": "Read"' "$out"
}

test_what_the_guest_lacks_is_said() {
	local out
	out=$(in_guest 'GetIPTables {}' 'MemHotplugByProbe {"memHotplugProbeAddr": [1073741824]}' \
		'AddSwap {"PCIPath": [31]}' 'AddSwapPath {"path": "/dev/pmem0"}')
	expect_match 'GetIPTables: FAILED_PRECONDITION: .*iptables-save' "$out"
	expect_match 'MemHotplugByProbe: FAILED_PRECONDITION: .*CONFIG_ARCH_MEMORY_PROBE' "$out"
	expect_match 'AddSwap: .*no disk is at this place' "$out"
	expect_match 'AddSwapPath: .*cannot swap to /dev/pmem0' "$out"
}

test_a_policy_holds() {
	local out allow
	allow=$(jq -nc '{policy: ({allow: {GetGuestDetails: true}} | tojson)}')
	out=$(in_guest "SetPolicy $allow" GetGuestDetails ListInterfaces "SetPolicy $allow" Check)
	expect_match 'agent_details' "$out"
	expect_match 'ListInterfaces: PERMISSION_DENIED: .*policy' "$out"
	expect_match 'SetPolicy: PERMISSION_DENIED' "$out"
	expect_match 'SERVING' "$out"
}

test_fields_that_are_done() {
	local out
	out=$(in_guest CreateSandbox \
		"$(container a '{"scheduler": {"policy": "SCHED_BATCH", "nice": 5}, "ioPriority": {"class": "IOPRIO_CLASS_IDLE"}}' \
			'{"namespaces": [{"type": "uts"}], "personality": {"domain": "LINUX"}}' '{"domainname": "example.org"}')" \
		'StartContainer {"container_id": "a"}' 'WaitProcess {"container_id": "a", "exec_id": "a"}' \
		"$(container b '{}' '{"timeOffsets": {"boottime": {"secs": 1}}}' '{}')" \
		"$(container b '{}' '{"intelRdt": {"l3CacheSchema": "x"}}' '{}')")
	expect_match '"status": 0' "$out"
	expect_match 'CreateContainer: UNIMPLEMENTED: linux.timeOffsets is not supported' "$out"
	expect_match 'CreateContainer: UNIMPLEMENTED: linux.intelRdt is not supported' "$out"
}

# lives COUNT: containers, each from its creation to its removal.
lives() {
	local request i
	request=$(container life '{}' '{"namespaces": [{"type": "mount"}, {"type": "pid"}]}' '{}')
	for ((i = 0; i < $1; i++)); do
		printf '%s\n' "$request" 'StartContainer {"container_id": "life"}' \
			'WaitProcess {"container_id": "life", "exec_id": "life"}' 'RemoveContainer {"container_id": "life"}'
	done
}

# told NAME: this figure of each GetMetrics of the test, in order.
told() { grep -oE "kiln_agent_$1 [0-9]+" "$work/lives.out" | cut -d' ' -f2; }

# Under 3 MB at first, and after the first lives no more than the allocator's own. `make check-lives` has 10000. All
# requests are made again and again; the sandbox is there after the first time.
test_it_does_not_grow_with_containers() {
	local resident files rounds=$((LIVES / 60))
	{ echo GetMetrics && echo CreateSandbox && lives 60 && echo GetMetrics; } >"$work/lives"
	CTL_TIMEOUT=$((120 + LIVES)) ctl agent --keep-going --timeout 20 --repeat $rounds --file "$work/lives" \
		>"$work/lives.out" 2>"$work/lives.err" || true
	expect $((rounds * 60)) "$(grep -c '"status": 0' "$work/lives.out")" 'lives'
	expect '' "$(grep -E '^kiln-ctl: [A-Za-z]+: ' "$work/lives.err" | grep -v 'CreateSandbox: ALREADY_EXISTS' || true)" 'failures'
	mapfile -t resident <<<"$(told resident_bytes)"
	mapfile -t files <<<"$(told open_files)"
	echo "resident: ${resident[0]} bytes, ${resident[1]} after 60 lives, ${resident[-1]} after $((rounds * 60))"
	((resident[0] < 3000000)) || fail "${resident[0]} bytes after the boot"
	((resident[-1] - resident[1] < 128 * 1024)) || fail "${resident[1]} bytes became ${resident[-1]}"
	expect "${files[1]}" "${files[-1]}" 'open files'
}

# copied PATH MODE UID TEXT: a CopyFile below a root of the test's own.
copied() {
	jq -nc --arg path "/run/kata-containers/root/$1" --argjson mode $(($2)) --argjson uid "$3" --arg data "$4" \
		'"CopyFile " + ({path: $path, file_mode: $mode, file_size: ($data | length), data: ($data | @base64),
		dir_mode: 493, uid: $uid, gid: $uid} | tojson)' -r
}

# Who may enter a folder that is one user's alone is that user.
test_users_by_name() {
	local out id user requests=()
	local root='{"root": {"path": "/run/kata-containers/root"}, "mounts": [
		{"destination": "/program", "type": "bind", "source": "/usr/share/kiln/rehearsal/program", "options": ["bind", "ro"]},
		{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}, {"destination": "/proc", "type": "proc", "source": "proc"}]}'
	for id in kiln other ghost; do
		user="$(jq -nc --arg id $id '{string_user: {uid: $id, additionalGids: ["staff"]}}')"
		requests+=("$(container $id '{"cwd": "/home"}' '{}' "$root" | jq -Rr --argjson user "$user" \
			'ltrimstr("CreateContainer ") | fromjson + $user | "CreateContainer " + tojson')"
			"StartContainer {\"container_id\": \"$id\"}" "WaitProcess {\"container_id\": \"$id\", \"exec_id\": \"$id\"}")
	done
	out=$(in_guest CreateSandbox "$(copied home 0040700 1000 '')" \
		"$(copied etc/passwd 0100644 0 $'kiln:x:1000:1000::/home:\nother:x:1001:1001::/:\n')" \
		"$(copied etc/group 0100644 0 $'staff:x:50:\n')" "${requests[@]}")
	expect 1 "$(grep -c '"status": 0' <<<"$out")" "programs that ran: $out"
	expect_match 'CreateContainer: .*chdir to cwd .*/home.*Permission denied' "$out"
	expect_match "CreateContainer: INVALID_ARGUMENT: .*no user \"ghost\" is in the container's /etc/passwd" "$out"
}

write_config 2
start_factory
wait_full
run_tests "$@"
