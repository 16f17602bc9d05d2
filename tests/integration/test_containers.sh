#!/bin/bash
# Containers by real containerd through the pool: life cycle, exec, stdio, exit codes, signals.
. "$(dirname "$0")/lib.sh"

# remove ID: kills, waits and deletes, as a person would.
remove() {
	ctr tasks delete --force "$1" >/dev/null 2>&1 || true
	ctr containers delete "$1"
}

test_run_prints_and_exits_0() {
	expect 'hello from the guest' "$(kiln_run c1 echo 'hello from the guest')"
}

test_kernel_is_the_guests() {
	local inside
	inside=$(kiln_run c2 uname -r)
	[ -n "$inside" ] && [ "$inside" != "$(uname -r)" ] || fail "kernel inside is $inside"
}

test_exit_code_travels() {
	local code=0
	kiln_run c3 sh -c 'exit 42' || code=$?
	expect 42 "$code"
}

test_stderr_is_apart() {
	expect out "$(kiln_run c4 sh -c 'echo out; echo err >&2' 2>"$work/err")"
	expect err "$(cat "$work/err")"
}

test_container_is_confined() {
	local out
	out=$(kiln_run c5 sh -c 'echo $$; hostname; id -u; cat /proc/1/comm; ls /proc | grep -c "^[0-9]"')
	expect 1 "$(sed -n 1p <<<"$out")" 'pid of init'
	expect 0 "$(sed -n 3p <<<"$out")" uid
	expect sh "$(sed -n 4p <<<"$out")"
	expect 0::/ "$(kiln_run c5b cat /proc/self/cgroup)" 'cgroup namespace'
	! kiln_run c6 sh -c 'echo x >/proc/sys/kernel/hostname' 2>/dev/null ||
		fail '/proc/sys is writable'
}

test_env_and_cwd() {
	expect 'v /tmp' "$(kiln_run c7 --env K=v --cwd /tmp -- sh -c 'echo $K $PWD')"
}

test_stdin_and_stdout_of_10_mb() {
	local want
	head -c 10000000 /dev/urandom >"$work/blob"
	want=$(sha256sum <"$work/blob")
	expect "$want" "$(kiln_run c8 cat <"$work/blob" | sha256sum)" 'digest of what came back'
	expect "$want" "$(kiln_run c9 sha256sum <"$work/blob")" 'digest in the guest'
}

test_exec_into_a_running_container() {
	local code=0
	ctr run -d --runtime io.containerd.kiln.v2 "$image" c10 sleep 300
	expect 'from exec' "$(ctr tasks exec --exec-id e1 c10 echo 'from exec')"
	ctr tasks exec --exec-id e2 c10 sh -c 'exit 7' || code=$?
	expect 7 "$code"
	expect 'piped' "$(echo piped | ctr tasks exec --exec-id e3 c10 cat)"
	expect 65534 "$(ctr tasks exec --exec-id e4 --user 65534 c10 id -u)" 'uid of exec'
	expect_match RUNNING "$(ctr tasks ls)"
	remove c10
}

# As systemd and container engines do in a container. Its group takes no process any more, then.
test_exec_beside_an_init_that_has_enabled_controllers() {
	mkfifo "$work/moved"
	kiln_run moved --privileged -- sh -c 'umount /sys/fs/cgroup 2>/dev/null; mount -t cgroup2 cgroup2 /sys/fs/cgroup
		cd /sys/fs/cgroup && mkdir init && echo 1 >init/cgroup.procs && echo +memory >cgroup.subtree_control && echo ready
		exec sleep 300' >"$work/moved" &
	read -r -t $((60 * TIME_FACTOR)) <"$work/moved" || fail 'the container is not ready'
	expect 0::/init "$(ctr tasks exec --exec-id e1 moved cat /proc/self/cgroup)" 'the group of an exec'
	expect here "$(echo here | ctr tasks exec --exec-id e2 moved cat)" 'the streams of an exec'
	expect 7 "$(ctr tasks exec --exec-id e3 moved sh -c 'exit 7' || echo $?)" 'the status of an exec'
	ctr tasks kill -s KILL moved
	wait $! || expect 137 $?
}

# exit_code_after SIGNAL ID COMMAND...: of a container that got the signal once it was ready.
exit_code_after() {
	local signal=$1 id=$2 code=0
	mkfifo "$work/$id"
	kiln_run "$id" "${@:3}" >"$work/$id" &
	read -r -t 60 <"$work/$id" || fail 'the container is not ready'
	ctr tasks kill -s "$signal" "$id"
	wait $! || code=$?
	echo "$code"
}

test_signals_reach_the_process() {
	expect 9 "$(exit_code_after TERM c11 \
		sh -c 'trap "exit 9" TERM; echo ready; while :; do sleep 0.1; done')"
	expect 137 "$(exit_code_after KILL c12 sh -c 'echo ready; sleep 300')"
}

# on_terminal ID SCRIPT: a container at a terminal of its own, which may echo a "^@" that script types.
on_terminal() {
	timeout 60 script -qec "timeout --foreground 50 /usr/bin/ctr --address $work/containerd.sock \
		--namespace $(basename "$work") run --rm -t --runtime io.containerd.kiln.v2 $image $1 \
		sh -c '$2'" /dev/null </dev/null
}

test_tty() {
	expect_match '/dev/(pts/0|console)' "$(on_terminal c18 'tty; stty size')"
}

# What brings a line to the terminal's other side is not let in before the program after each line. A
# busy machine's own switches are far fewer than lines.
test_a_line_on_a_terminal_is_no_switch() {
	local out
	out=$(on_terminal c18b 'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i; done
		grep ^nonvoluntary /proc/$$/status' | tr -d '\r^@')
	expect "$(seq 1 3000)" "$(grep '^[0-9]*$' <<<"$out")"
	(($(sed -n 's/^nonvoluntary_ctxt_switches:\t//p' <<<"$out") < 1000)) || fail "$(tail -n 1 <<<"$out")"
}

test_privileged() {
	expect CapEff:0 "$(kiln_run c19 --privileged -- sh -c \
		'test -c /dev/full && grep CapEff /proc/self/status | tr -d "\t" | cut -c1-8')"
}

# The kernel's module of the guest, as container engines inside of containers want it.
test_bridge_in_the_guest() {
	expect made "$(kiln_run c26 --privileged -- sh -c \
		'brctl addbr br9 && [ -d /sys/class/net/br9/bridge ] && echo made')"
}

# by_the_agent ROOT RESOURCES COMMAND...: a container runs that the agent is asked for without a
# shim, in a sandbox without any storage. ROOT is a folder of the guest, RESOURCES as in an OCI
# config.json.
by_the_agent() {
	local container
	container=$(jq -nc '{container_id: "x", exec_id: "x", OCI: {
		root: {path: $ARGS.positional[0]}, mounts: [{destination: "/dev", type: "tmpfs", source: "tmpfs"}],
		linux: {resources: ($ARGS.positional[1] | fromjson)},
		process: {user: {uid: 0, gid: 0}, cwd: "/", args: $ARGS.positional[2:]}}}' --args -- "$@")
	ctl agent -c CreateSandbox -c "CreateContainer $container" \
		-c 'StartContainer {"container_id": "x"}' \
		-c 'WaitProcess {"container_id": "x", "exec_id": "x"}' 2>&1
}

# limited RESOURCES: ctr has no words for these.
limited() { by_the_agent /usr/share/kiln/rehearsal "$1" /program; }

test_limits_of_controllers_that_few_use() {
	expect_match '"status": 0' "$(limited '{"cpu": {"cpus": "0"}}')"
	expect_match '"status": 0' "$(limited '{"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}')"
	expect_match 'cannot set cpuset.cpus to "none"' "$(limited '{"cpu": {"cpus": "none"}}')"
	expect_match '"status": 0' "$(limited '{"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]}')"
	expect_match 'cannot set hugetlb.3MB.max: .* do not have the controller' \
		"$(limited '{"hugepageLimits": [{"pageSize": "3MB", "limit": 4096}]}')"
}

# The host puts something into the shares of the machines that wait; the one that is claimed runs it
# without being asked to mount anything.
test_a_parked_machine_has_its_share_mounted() {
	local vm vms root out
	wait_full
	vms=$(factory_ctl list --json | jq -r '.vms[] | select(.state == "parked").vm_id')
	for vm in $vms; do
		root=$run/vms/$vm/share/waiting
		mkdir -p "$root"/{dev,proc,sys,tmp,run}
		cp "$(command -v busybox)" "$root/"
	done
	out=$(by_the_agent /run/kata-containers/shared/containers/waiting '{}' /busybox sh -c 'exit 7') ||
		fail "$out"
	expect_match '"status": 7' "$out"
	expect_match ', pooled in' "$out"
}

test_rootfs_is_writable_and_thrown_away() {
	expect new "$(kiln_run c13 sh -c 'echo new >/file && cat /file')"
	! kiln_run c14 cat /file 2>/dev/null || fail 'a file outlived its container'
}

test_ten_sandboxes_at_once() {
	local pids=() i
	for i in 0 1 2 3 4 5 6 7 8 9; do
		kiln_run "m$i" sh -c "echo sandbox $i" >"$work/m$i" 2>&1 &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i" || fail "$(cat "$work"/m?)"; done
	for i in 0 1 2 3 4 5 6 7 8 9; do expect "sandbox $i" "$(cat "$work/m$i")"; done
}

test_sandbox_survives_its_factory() {
	ctr run -d --runtime io.containerd.kiln.v2 "$image" c15 sleep 300
	stop_factory KILL
	expect alive "$(ctr tasks exec --exec-id e1 c15 echo alive)" 'with the factory dead'
	start_factory
	expect alive "$(ctr tasks exec --exec-id e2 c15 echo alive)" 'with a new factory'
	expect 1 "$(factory_ctl list --json | jq '[.vms[] | select(.state == "claimed")] | length')" leases
	remove c15
	wait_full
	expect 'back to work' "$(kiln_run c16 echo 'back to work')"
}

test_sandbox_survives_a_clean_stop() {
	ctr run -d --runtime io.containerd.kiln.v2 "$image" c17 sleep 300
	stop_factory
	expect 1 "$(vmm_pids | wc -l)" 'machines after the stop'
	expect alive "$(ctr tasks exec --exec-id e1 c17 echo alive)"
	remove c17
	until_true 20 eval '[ -z "$(vmm_pids)" ]'
	start_factory
	wait_full
}

# silence ID: its VMM, $vmm of the machine $vm, runs no more: to the shim that is a guest that does not answer.
silence() {
	vm=$(factory_ctl list --json | jq -r --arg id "$1" '.vms[] | select(.sandbox_id == $id).vm_id')
	vmm=$(factory_ctl list --json | jq --arg id "$1" '.vms[] | select(.sandbox_id == $id).pid')
	kill -STOP "$vmm"
}

# waited_for ID COMMAND...: prints `ready` and runs in the background; $holder ends with its status.
waited_for() {
	mkfifo "$work/$1"
	"${@:2}" sh -c 'echo ready; sleep 300' >"$work/$1" &
	holder=$!
	read -r -t 60 <"$work/$1" || fail "$1 is not ready"
}

# configured ID SETTINGS: a container of a shim that has this file.
configured() {
	echo "$2" >"$work/shim.json"
	waited_for "$1" kiln_run "$1" --runtime-config-path "$work/shim.json" --
}

no_remains() {
	[ -z "$(find /sys/fs/cgroup "$run/vms" -path "*$vm*" 2>/dev/null)" ] && ! grep -q "$vm" /proc/self/mountinfo
}

# expect_killed HOLDER...: who waits has heard of the end, and nothing is left of the machine.
expect_killed() {
	local holder code
	for holder; do
		code=0
		wait "$holder" || code=$?
		expect 137 "$code" 'exit status'
	done
	wait_gone "$vmm" || fail "VMM $vmm is still there"
	until_true 20 no_remains
}

test_sigkill_ends_a_guest_that_does_not_answer() {
	local container
	configured c20 '{"kill_s": 2, "check_s": 0}'
	container=$holder
	waited_for c20e ctr tasks exec --exec-id e1 c20
	silence c20
	ctr tasks kill -s KILL c20
	expect_killed "$container" "$holder"
}

test_delete_by_force_ends_a_guest_that_does_not_answer() {
	echo '{"kill_s": 2, "check_s": 0}' >"$work/shim.json"
	ctr run -d --runtime io.containerd.kiln.v2 --runtime-config-path "$work/shim.json" "$image" c21 sleep 300
	silence c21
	remove_container c21
	expect_killed
}

test_a_guest_that_does_not_answer_is_noticed() {
	configured c22 '{"check_s": 1, "check_misses": 2}'
	silence c22
	expect_killed "$holder"
}

# One that is slow only is left alone.
test_a_guest_that_answers_again_lives() {
	configured c23 '{"check_s": 1, "check_misses": 4}'
	silence c23
	timeout 60 grep -q -m1 'c23.*agent is silent (1 of 4)' <(tail -n +1 -f "$work/containerd.log") ||
		fail 'the silence is not noticed'
	kill -CONT "$vmm"
	expect alive "$(ctr tasks exec --exec-id e1 c23 echo alive)"
	ctr tasks kill -s KILL c23
	expect_killed "$holder"
}

test_a_shims_socket_is_roots_alone() {
	local socket
	ctr run -d --runtime io.containerd.kiln.v2 "$image" c24 sleep 600
	socket=$(cat "$work"/containerd/state/io.containerd.runtime.v2.task/*/c24/address)
	socket=${socket#unix://}
	expect '600 root' "$(stat -c '%a %U' "$socket")" # a file: an abstract name would have no mode
	! setpriv --reuid=nobody --regid=nogroup --clear-groups python3 -c \
		'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])' "$socket" 2>"$work/err" ||
		fail 'another user is connected to the shim'
	expect_match 'Permission denied' "$(cat "$work/err")"
	remove_container c24
}

test_nothing_is_left() {
	wait_no_sandboxes
	factory_ctl destroy >/dev/null
	expect '' "$(vmm_pids)" machines
	expect 0 "$(find "$run/vms" -mindepth 1 | wc -l)" 'files of machines'
	until_true 20 no_shims
	expect '' "$(awk -v w="$run/" 'index($5, w) == 1 { print $5 }' /proc/self/mountinfo)" mounts
}

write_config 3
start_factory
start_containerd
wait_full
run_tests "$@"
