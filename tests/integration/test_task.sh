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

test_a_refusal_is_the_same_when_it_is_asked_again() {
	local refused="is no network namespace"
	mkdir -p "$SHIM_WORK"
	expect_match "$refused.*$refused" "$(shim twice refused /dev/null | tr '\n' ' ')"
}

# CRI-O has the variable by containerd's library and reads a line, as of old.
test_who_takes_no_events_is_answered_by_a_line() {
	local bundle=$work/line
	mkdir -p "$bundle"
	answer() { (cd "$bundle" && MAX_SHIM_VERSION=2 timeout 20 containerd-shim-kiln-v2 -namespace "$SHIM_NAMESPACE" -address "$1" -id "$2" start </dev/null); }
	expect_match '^unix:///run/kiln/shims/[0-9a-f]+$' "$(answer '' line)"
	expect_match '^\{"version":2,"address":"unix:///run/kiln/shims/[0-9a-f]+","protocol":"ttrpc"\}$' "$(answer "$work/none.sock" json)"
	pkill -f "containerd-shim-kiln-v2 -namespace $SHIM_NAMESPACE -address .* -id (line|json) start" || fail 'no shim runs'
}

# As a containerd 2 leaves them, whose unit has no LimitNOFILE.
test_a_shim_has_as_many_files_as_it_may() {
	local bundle=$work/files pid
	mkdir -p "$bundle"
	(ulimit -Sn 1024 && cd "$bundle" && timeout 20 containerd-shim-kiln-v2 -namespace "$SHIM_NAMESPACE" -address '' -id files start </dev/null >/dev/null)
	pid=$(pgrep -f "containerd-shim-kiln-v2 -namespace $SHIM_NAMESPACE -address .* -id files start")
	expect 1 "$(awk '/^Max open files/ { print ($4 == $5 && $4 > 1024) }' "/proc/$pid/limits")" "$(grep files "/proc/$pid/limits")"
	kill "$pid"
}

# shared CONTAINERS...: what they say; PIDS and COMMAND for each.
shared() {
	mkdir -p "$SHIM_WORK"
	shim pod "shared$RANDOM" "$(jq -nc --arg dir "$work/root" '[{type: "bind", source: $dir, options: ["rbind", "rw"]}]')" "$@" ||
		echo "status $?"
}

# CRI's modes POD and TARGET; each container is still one of its own to Kill and Pids.
test_containers_of_a_pod_share_processes() {
	local runs='echo up; : this_one; while :; do sleep 1000; done'
	local looks='cat /proc/1/comm; cat /proc/[0-9]*/cmdline | grep -ac "this[_]one"'
	expect $'up\npod-init\n1' "$(shared joins "$runs" joins "$looks")" 'mode POD'
	expect $'up\nsh\n1' "$(shared own "$runs" 0 "$looks")" 'mode TARGET'
	expect $'up\nsh\n0' "$(shared joins "$runs" own "$looks; exit 0")" 'mode CONTAINER'
	# Of two sidecars it is the one that is named.
	local other='echo up; : that_one; while :; do sleep 1000; done'
	expect $'up\nup\nsh\n1' "$(shared own "$runs" own "$other" 0 "$looks")" 'the first of two'
	expect $'up\nup\nsh\n0' "$(shared own "$runs" own "$other" 1 "$looks; exit 0")" 'the second of two'
}

# containerd offers recursive read-only mounts where the shim does.
test_info_says_what_mounts_can_be() {
	expect_match 'runtime-spec/1/features/Features.*"mountOptions":\["rro".*"namespaces":\[[^]]*"user".*"idmap":.*"enabled":true' "$(containerd-shim-kiln-v2 -info | tr -cd '[:print:]')"
}

# detached ID [CTR OPTIONS --] COMMAND...: a container that runs on.
detached() {
	local id=$1 options=()
	shift
	case " $* " in *" -- "*)
		while [ "$1" != -- ]; do options+=("$1"); shift; done
		shift ;;
	esac
	ctr run -d --runtime io.containerd.kiln.v2 "${options[@]}" "$image" "$id" "$@"
}

# ask ID METHOD [FIELDS]: a call that ctr has no word for; FIELDS as pack() of ttrpc.py takes them.
ask() {
	timeout 60 /usr/bin/python3 -B - "$tests/integration" \
		"$(cat "$work/containerd/state/io.containerd.runtime.v2.task/$(basename "$work")/$1/address")" \
		"$2" "$1" "${3:-}" <<-'END'
		import sys
		sys.path.insert(0, sys.argv[1])
		from ttrpc import Task, pack
		try:
		    print(Task(sys.argv[2]).call(sys.argv[3], (1, sys.argv[4]), *eval(f"({sys.argv[5]},)" if sys.argv[5] else "()")))
		except RuntimeError as error:
		    print(error)
	END
}

# file_in ID FILE: as the container has it.
file_in() { ctr tasks exec --exec-id "x$RANDOM$RANDOM" "$1" cat "$2"; }

test_stats_and_processes_are_the_guests() {
	detached s1 sh -c 'sleep 300 & dd if=/dev/zero of=/dev/shm/file bs=1M count=8 2>/dev/null; wait'
	ctr tasks exec -d --exec-id x1 s1 sleep 300
	until_true 20 eval '[ $(ctr tasks metrics s1 | awk "/^memory.usage_in_bytes|^memory.usage / { print \$2 }") -gt 8000000 ]'
	until_true 20 eval '[ "$(ctr tasks ps s1 | grep -c "^[0-9]")" = 3 ]' # sh and two that sleep
	expect_match 'x1' "$(ctr tasks ps s1)"
	remove_container s1
}

# written ID: to disks, as statistics say it, in bytes; from the first question on they are counted.
written() {
	ctr tasks metrics --format json "$1" | jq '[.. | objects | select(.op? == "Write").value, .wbytes? | numbers] | max // 0'
}

test_block_devices_are_counted() {
	detached d1 sleep 300
	expect 0 "$(written d1)"
	ctr tasks exec --exec-id x1 d1 dd if=/dev/zero of=/file bs=1M count=4 conv=fsync 2>/dev/null
	until_true 20 eval '[ "$(written d1)" -ge 4194304 ]'
	remove_container d1
}

test_pause_and_resume() {
	detached p1 sh -c 'while :; do echo >>/ticks; sleep 0.05; done'
	ctr tasks pause p1
	expect_match 'p1 .*PAUSED' "$(ctr tasks ls)"
	expect_match 'paused' "$(ctr tasks exec --exec-id x p1 true 2>&1 || true)"
	expect_match 'paused already' "$(ctr tasks pause p1 2>&1 || true)"
	ctr tasks resume p1
	expect_match 'p1 .*RUNNING' "$(ctr tasks ls)"
	expect alive "$(ctr tasks exec --exec-id x p1 echo alive)"
	ctr tasks pause p1
	ctr tasks kill -s KILL p1 # as in a group of v2, which lets it through
	remove_container p1
}

test_update_changes_what_runs() {
	detached u1 sh -c 'sleep 300'
	ask u1 Update "(2, pack((2, b'{\"memory\": {\"limit\": 50331648}, \"cpu\": {\"cpus\": \"7\", \"shares\": 512}}')))"
	expect_match 'limit(_in_bytes)? +50331648' "$(ctr tasks metrics u1)"
	expect_match 'cannot be checkpointed' "$(ask u1 Checkpoint)"
	remove_container u1
}

test_a_signal_to_all_reaches_all() {
	detached k1 sh -c 'trap "echo main >>/dev/shm/got" TERM
		(trap "echo child >>/dev/shm/got; exit" TERM; echo up >/dev/shm/up; while :; do sleep 0.1; done) &
		while :; do sleep 0.1; done'
	until_true 20 file_in k1 /dev/shm/up
	ctr tasks kill -a -s TERM k1
	until_true 20 eval '[ "$(file_in k1 /dev/shm/got | sort | xargs)" = "child main" ]'
	ctr tasks kill -s KILL k1
	until_true 20 eval 'ctr tasks ls | grep -q "k1 .*STOPPED"'
	expect_match 'already finished' "$(ctr tasks kill k1 2>&1 || true)"
	remove_container k1
}

test_one_id_in_two_namespaces() {
	local other=("$CONTAINERD_DIR/ctr" --address "$work/containerd.sock" --namespace "$(basename "$work")-2")
	detached i1 sleep 300
	timeout 60 "${other[@]}" images import "$work/busybox.tar" >/dev/null
	expect second "$(timeout 60 "${other[@]}" run --rm --runtime io.containerd.kiln.v2 "$image" i1 echo second)"
	expect first "$(ctr tasks exec --exec-id x i1 echo first)"
	remove_container i1
}

# refused OPTION...: a container that would have what these ask for.
refused() {
	local id=r$RANDOM out
	out=$(kiln_run "$id" "$@" -- true 2>&1) && fail "it ran with $*"
	ctr containers delete "$id" 2>/dev/null || true
	echo "$out"
}

test_namespaces_of_others_are_refused() {
	expect_match 'another one is another machine' "$(refused --with-ns "pid:/proc/$$/ns/pid")"
	expect_match 'another one is another machine' "$(refused --with-ns "ipc:/proc/$$/ns/ipc")"
}

test_lists_that_ask_for_the_hosts_are_refused() {
	expect_match "the host's ipc namespace" "$(refused_list '[{type: "mount"}, {type: "pid"}, {type: "network"}]')"
	expect_match "the host's pid namespace" "$(refused_list '[{type: "mount"}, {type: "ipc"}, {type: "network"}]')"
	expect_match "the host's network" "$(refused_list '[{type: "mount"}, {type: "ipc"}, {type: "pid"}]')"
	ctr_with_list only '[{type: "mount"}]' # as containerd's shimtest has it
}

# refused_list JQ: what is said of a container with this list of namespaces.
refused_list() {
	local id=r$RANDOM out
	out=$(ctr_with_list "$id" "$1" 2>&1) && fail "it ran with $1"
	ctr containers delete "$id" 2>/dev/null || true
	echo "$out"
}

ctr_with_list() {
	ctr oci spec | jq ".linux.namespaces = $2 | .process.args = [\"true\"] | .process.terminal = false
		| .root = {path: \"$work/root\"}" >"$work/list.json"
	ctr run --rm --runtime io.containerd.kiln.v2 --config "$work/list.json" "$1" </dev/null
}

# Asked to end while there is a container, and deleted by hand: as shimtest does, and containerd where it has
# lost the connection.
test_delete_ends_a_shim_that_lives() {
	mkdir -p "$SHIM_WORK"
	expect $'2\n137' "$(shim leave left "$(jq -nc --arg dir "$work/root" '[{type: "bind", source: $dir, options: ["rbind", "rw"]}]')" \
		'sleep 1000')"
	until_true 5 eval '! pgrep -f "containerd-shim-kiln-v2 -namespace $SHIM_NAMESPACE -id left "'
	wait_no_sandboxes
}

# events: what containerd tells of tasks since begin_events.
begin_events() {
	"$CONTAINERD_DIR/ctr" --address "$work/containerd.sock" --namespace "$(basename "$work")" events >"$work/events" &
	listener=$!
}
end_events() { kill "$listener" && wait "$listener" || true; }

test_out_of_memory_is_told() {
	local code=0
	begin_events
	kiln_run m1 --memory-limit 33554432 -- sh -c 'dd if=/dev/zero of=/dev/null bs=50M; exit $?' || code=$?
	expect 137 "$code"
	code=0
	detached m2 --memory-limit 33554432 -- sleep 300
	ctr tasks exec --exec-id x m2 sh -c 'dd if=/dev/zero of=/dev/null bs=50M' >/dev/null 2>&1 || code=$?
	expect 137 "$code"
	remove_container m2
	until_true 20 grep -q '/tasks/delete.*m2' "$work/events"
	end_events
	expect '/tasks/oom /tasks/exit' "$(grep m1 "$work/events" | grep -o '/tasks/oom\|/tasks/exit' | xargs)"
	expect 1 "$(grep -c '/tasks/oom.*m2' "$work/events")" 'events of an exec'
}

# Of 256 MiB and one vCPU, whose container begins with less.
test_an_update_goes_as_far_as_the_machine() {
	local beyond='and does not grow while it runs'
	detached u1 --memory-limit $((200 << 20)) -- sleep 1000
	update() { ask u1 Update "(2, pack((1, 'resources'), (2, '$1')))"; }
	expect '{}' "$(update "{\"memory\": {\"limit\": $((256 << 20))}, \"cpu\": {\"quota\": 100000, \"period\": 100000}}")"
	expect_match "Update: container u1: a memory limit of 257 MiB is wanted, and the machine has 256 $beyond" \
		"$(update "{\"memory\": {\"limit\": $((257 << 20))}}")"
	expect_match "Update: container u1: a limit of 1.50 processors is wanted, and the machine has 1 $beyond" \
		"$(update '{"cpu": {"quota": 150000}}')"
	expect '{}' "$(update '{"pids": {"limit": 100}}')"
	expect '{}' "$(update '{"memory": {"limit": -1}, "cpu": {"quota": -1}}')"
	remove_container u1
}

# It writes again when the exec is long deleted.
test_what_an_exec_left_running_is_told_that_nobody_reads() {
	detached left sleep 1000
	ctr tasks exec --exec-id e1 left sh -c '((while echo line; do sleep 3; done); echo $? >/dev/shm/status) &' >/dev/null
	until_true 30 eval '[ "$(file_in left /dev/shm/status 2>/dev/null)" = 141 ]'
	expect here "$(ctr tasks exec --exec-id e1 left echo here)"
	remove_container left
}

# The program is busy with its start when the signal comes.
test_a_signal_right_after_the_start_is_kept() {
	local i
	begin_events
	for i in 0 0.05 0.1; do
		detached "t$i" sh -c 'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; trap "exit 9" TERM; while :; do sleep 0.1; done'
		sleep "$i"
		ctr tasks kill -s TERM "t$i"
		until_true 20 grep -q "/tasks/exit.*\"t$i\"" "$work/events"
		expect_match '"exit_status":9,' "$(grep "/tasks/exit.*\"t$i\"" "$work/events")"
		remove_container "t$i"
	done
	end_events
}

test_no_stdin_is_dev_null() {
	detached n1 --null-io -- sh -c 'readlink /proc/self/fd/0 >/dev/shm/stdin; cat >>/dev/shm/stdin; echo over >>/dev/shm/stdin; sleep 300'
	until_true 20 eval '[ "$(file_in n1 /dev/shm/stdin | xargs)" = "/dev/null over" ]'
	remove_container n1
}

# on_terminal COMMAND...: ctr at a terminal, which has the lines of stdin typed a second after another. It
# is killed then: what it would do at its terminal's end is its own affair.
on_terminal() {
	{
		while read -r line; do sleep 1; echo "$line"; done
		sleep $((9 * TIME_FACTOR)) # script would type an end of file
	} |
		timeout 60 script -qec "timeout --foreground -s KILL $((8 * TIME_FACTOR)) $CONTAINERD_DIR/ctr --address $work/containerd.sock \
			--namespace $(basename "$work") $*" /dev/null || true
}

test_a_terminal_is_left_and_attached_again() {
	on_terminal run -d -t --runtime io.containerd.kiln.v2 "$image" a1 sh </dev/null
	expect_match 'first:2' "$(on_terminal tasks attach a1 <<<'echo fi""rst:$((1+1))')"
	expect_match 'second:4' "$(on_terminal tasks attach a1 <<<$'echo sec""ond:$((2+2))\nexit 3')"
	until_true 20 eval '! ctr tasks ls | grep -q a1' # ctr has deleted it at its end
	ctr containers delete a1
}

test_a_logging_program_gets_all_lines() {
	cat >"$work/logger" <<-END
		#!/bin/sh
		exec 5>&-
		/bin/cat <&4 >$work/logged.err &
		/bin/cat <&3 >$work/logged.out
		wait
		echo "\$*" >$work/logged.words
	END
	chmod +x "$work/logger"
	detached l1 --log-uri "binary://$work/logger?a=b" -- sh -c 'seq 1 1000; echo wrong >&2'
	until_true 20 test -s "$work/logged.words"
	expect "$(seq 1 1000)" "$(cat "$work/logged.out")"
	expect wrong "$(cat "$work/logged.err")"
	expect 'a b' "$(cat "$work/logged.words")"
	remove_container l1
}

# mapped HOST [LAYER]: the root of containerd 2.x for a user namespace whose uid 0 is HOST on the host, as containerd
# prepares it: an overlay that says so, whose upper folder is that user's.
mapped() {
	local upper
	mkdir -p "$SHIM_WORK" "$work/empty"
	upper=$(mktemp -d "$work/mapped-XXXXXX")
	mkdir "$upper/fs" "$upper/work"
	chmod 755 "$upper" "$upper/fs"
	chown "$1:$1" "$upper/fs"
	jq -nc --arg upper "$upper" --arg map "0:$1:65536" --arg lower "$work/empty:$work/root" '[{type: "overlay", source: "overlay",
		options: ["workdir=\($upper)/work", "upperdir=\($upper)/fs", "lowerdir=\($lower)", "uidmap=\($map)", "gidmap=\($map)"]}]'
}

# The guest's clocks are a container's, also where it asks for a time namespace, as all of shim.py do.
test_a_time_namespace_shows_the_guests_clocks() {
	mkdir -p "$SHIM_WORK"
	expect $'1\nmonotonic 0 0\nboottime 0 0' "$(shim run time1 "$(jq -nc --arg dir "$work/root" \
		'[{type: "bind", source: $dir, options: ["rbind", "rw"]}]')" 'cd /proc/self/ns
		for i in time time_for_children; do readlink $i; done | grep "^time:" | uniq | wc -l; sed "s/ \+/ /g" /proc/self/timens_offsets')"
}

# The guest maps nothing; on disk a user is who it is in the container, as by runc with idmapped mounts.
test_a_user_namespace_is_the_machine() {
	local volume=$work/volume out
	mkdir -m 777 "$volume"
	echo roots >"$volume/roots" && chmod 600 "$volume/roots"
	export SHIM_VOLUME=$volume
	expect $'0 0 4294967295\n0 0 755\nroots\nwritten' "$(shim run mapped1 "$(mapped 100000)" \
		'sed "s/ \+/ /g; s/^ //" /proc/self/uid_map; stat -c "%u %g %a" /; cat /v/roots; echo x >/v/mine; echo x >/bin/mine;
		echo x >/v/theirs; chown 1234:4321 /v/theirs; cat /v/mine >/dev/null && echo written')"
	expect '0 0' "$(stat -c '%u %g' "$volume/mine")" "the owner of what root has written"
	expect '1234 4321' "$(stat -c '%u %g' "$volume/theirs")" "the owner that a file was given"
	out=$(shim pod mapped2 "$(mapped 200000)" own 'echo one >/v/one; echo up; while :; do sleep 1000; done' \
		own 'cat /v/one; cat /proc/self/uid_map') || fail "$out"
	expect_match $'^up\none\n +0 +0 +4294967295$' "$out"
	echo '{"rootfs": "share"}' >"$work/share.json"
	expect_match 'linux.uidMappings need io.kiln.rootfs=overlay' "$(SHIM_CONFIG=$work/share.json shim run mapped4 "$(mapped 100000)" true)"
	expect_match 'mounts.*uidMappings ./v. are missing' "$(SHIM_MAPPED='' shim run mapped3 "$(mapped 100000)" true)"
}

# The copy that ctr makes has the host's ids on disk, and is no root of the guest's.
test_a_root_that_is_shifted_on_disk_is_refused() {
	local out
	out=$(kiln_run shifted --uidmap 0:100000:65536 --gidmap 0:100000:65536 -- true 2>&1) && fail 'it started'
	expect_match 'linux.uidMappings 0:100000:65536 are not those that the root is mounted with' "$out"
	ctr containers delete shifted 2>/dev/null || true # its record, where ctr leaves it
}

write_config 3
start_factory
start_containerd
"$tests/busybox-root" "$work/root"
wait_full
run_tests "$@"
