#!/bin/bash
# A hostile container against its guest: devices, processes that are being made, system calls.
. "$(dirname "$0")/lib.sh"

# start ID [CTR OPTION]...: a container that waits.
start() { ctr run -d --runtime io.containerd.kiln.v2 "${@:2}" "$image" "$1" sleep 600; }

# inside ID COMMAND...: an exec; what it says, errors too.
inside() { ctr tasks exec --exec-id "e$RANDOM$RANDOM" "$1" "${@:2}" 2>&1; }

# by_user ID COMMAND...: by a user without capabilities.
by_user() { ctr tasks exec --exec-id "e$RANDOM$RANDOM" --user 1000 "$1" "${@:2}" 2>&1; }

# The guest's root is on pmem0, 259:0.
test_the_guests_disks_are_not_the_containers() {
	local where
	start c1
	for where in /dev /; do
		inside c1 sh -c "mknod -m 666 $where/pmem b 259 0 && mknod -m 666 $where/kmsg c 1 11"
		expect_match 'Operation not permitted' "$(inside c1 head -c 1 $where/pmem || true)"
		expect_match 'Operation not permitted' "$(by_user c1 head -c 1 $where/pmem || true)"
		expect_match 'Operation not permitted' "$(by_user c1 sh -c "echo >$where/pmem" || true)"
		expect_match 'Operation not permitted' "$(inside c1 head -c 1 $where/kmsg || true)"
	done
	remove_container c1
}

test_what_every_container_has_works_anywhere() {
	start c2
	expect 'ok' "$(inside c2 sh -c 'mkdir /jail && mknod -m 666 /jail/null c 1 3 && echo x >/jail/null && echo ok')"
	expect 'ok' "$(by_user c2 sh -c 'head -c 1 /jail/null && head -c 1 /dev/urandom >/dev/null && echo ok')"
	remove_container c2
}

test_a_cgroup_below_changes_nothing() {
	start c3 --cap-add CAP_SYS_ADMIN
	expect_match 'in below.*Operation not permitted' "$(inside c3 sh -c 'exec 2>&1
		mkdir /cg && mount -t cgroup2 cgroup2 /cg && mkdir /cg/below && echo $$ >/cg/below/cgroup.procs &&
		echo in $(sed s/0::.// /proc/self/cgroup); mknod /dev/pmem b 259 0; head -c 1 /dev/pmem' | xargs)"
	remove_container c3
}

# By its own namespace's root, which an exec is in as well. What it makes below is its own.
test_limits_are_not_the_containers_to_lift() {
	start c11 --privileged --memory-limit 67108864
	expect 'refused 67108864 33554432 0::/below' "$(inside c11 sh -c 'exec 2>/dev/null
		mkdir /cg && mount -t cgroup2 cgroup2 /cg && mkdir /cg/below && echo $$ >/cg/below/cgroup.procs
		echo max >/cg/memory.max || echo refused; cat /cg/memory.max
		for i in $(cat /cg/cgroup.procs); do echo $i >/cg/below/cgroup.procs; done; echo +memory >/cg/cgroup.subtree_control
		echo 33554432 >/cg/below/memory.max; cat /cg/below/memory.max; cat /proc/self/cgroup' | xargs)"
	remove_container c11
}

# Who may open all devices still cannot change the images that the guest runs of.
test_images_are_read_only_for_everybody() {
	start c4 --privileged
	inside c4 sh -c 'mknod /dev/pmem b 259 0; head -c 1 /dev/pmem >/dev/null'
	expect_match 'Operation not permitted' "$(inside c4 dd if=/dev/zero of=/dev/pmem bs=512 count=1 conv=notrunc || true)"
	remove_container c4
}

# watch ID [ptrace]: a process in the container looks at each new one until it has seen 8 births; what it says.
watch() {
	local i
	ctr tasks exec --exec-id put "$1" sh -c 'cat >/exec_watch && chmod 755 /exec_watch' <"$work/exec_watch"
	ctr tasks exec --exec-id watch "$1" /exec_watch "${@:2}" 8 >"$work/watched" 2>&1 &
	for i in {1..60}; do
		inside "$1" true >/dev/null
		kill -0 $! 2>/dev/null || break
	done
	kill $! 2>/dev/null && fail "too few births were seen: $(cat "$work/watched")"
	wait $! || fail "$(cat "$work/watched")"
	cat "$work/watched"
}

# Its root, folders and descriptors.
test_an_exec_is_born_in_its_container() {
	start c5 --cap-add CAP_SYS_PTRACE
	expect 'seen 8' "$(watch c5)"
	remove_container c5
}

test_an_exec_cannot_be_taken_over_before_it_is_its_program() {
	start c9
	expect 'seen 8' "$(watch c9 ptrace)"
	remove_container c9
}

# Nor is the first process of a container whose processes others see, or the namespace's own.
test_a_container_that_shares_processes_is_born_outside() {
	local looks="echo up; exec /exec_watch 3" ends='until ! grep -qs exec_watch /proc/[0-9]*/comm; do :; done'
	mkdir "$work/pods"
	"$tests/busybox-root" "$work/watching"
	cp "$work/exec_watch" "$work/watching"
	expect $'up\nseen 3\nup\nup\nup\nup\nup' "$(SHIM_WORK=$work/pods SHIM_NAMESPACE=$(basename "$work") timeout 300 \
		/usr/bin/python3 -B "$tests/integration/shim.py" pod watched \
		"$(jq -nc --arg dir "$work/watching" '[{type: "bind", source: $dir, options: ["rbind", "rw"]}]')" \
		joins "$looks" joins 'echo up' joins 'echo up' joins 'echo up' joins 'echo up' joins "echo up; $ends" \
		2>"$work/shim.log" || echo "status $?")"
}

# Here a folder that is mounted nowhere any more; a descriptor of the host's would look the same.
test_the_working_folder_is_below_the_root() {
	local where
	start c10 --cap-add CAP_SYS_ADMIN
	ctr tasks exec -d --exec-id hold c10 sh -c 'mkdir /m && mount -t tmpfs m /m && cd /m && umount -l /m &&
		echo /proc/$$/cwd >/where.new && mv /where.new /where && exec sleep 600'
	until_true 20 inside c10 test -e /where >/dev/null
	where=$(inside c10 cat /where)
	expect_match 'is outside of the container.s root' "$(ctr tasks exec --exec-id out --cwd "$where" c10 true 2>&1)"
	expect /etc "$(ctr tasks exec --exec-id in --cwd /proc/self/root/etc c10 pwd 2>&1)"
	remove_container c10
}

# profile SYSCALLS [MEMBERS]: allows all else.
profile() {
	jq -n --argjson list "$1" --argjson members "${2:-{\}}" \
		'{defaultAction: "SCMP_ACT_ALLOW", architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
		  syscalls: $list} + $members' >"$work/profile.json"
}

filtered() { grep -q '^Seccomp:[[:space:]]*2$'; }

# With no_new_privs the filter is loaded last of all, without it while the process may still do so.
test_the_profile_holds_for_all_processes() {
	local option
	for option in '' --allow-new-privs; do
		start c6 --seccomp $option
		inside c6 cat /proc/1/status | filtered || fail "the first process $option"
		inside c6 cat /proc/self/status | filtered || fail "an exec $option"
		expect "$(inside c6 grep ^Cap /proc/1/status)" "$(inside c6 grep ^Cap /proc/self/status)" capabilities
		expect 00000000a80425fb "$(inside c6 sed -n 's/^CapEff:.//p' /proc/self/status)" 'as without a filter'
		by_user c6 cat /proc/self/status | filtered || fail "an exec of a user $option"
		remove_container c6
	done
}

test_what_a_profile_says_is_done() {
	profile '[{"names": ["mkdir", "no_such_call"], "action": "SCMP_ACT_LOG"},
		{"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 40,
		 "args": [{"index": 1, "op": "SCMP_CMP_MASKED_EQ", "value": 2048, "valueTwo": 2048}]},
		{"names": ["rmdir"], "action": "SCMP_ACT_ERRNO"},
		{"names": ["swapon"], "action": "SCMP_ACT_KILL_PROCESS"}]'
	start c7 --seccomp --seccomp-profile "$work/profile.json"
	expect ok "$(inside c7 sh -c 'mkdir /f && chmod 755 /f && chmod 1777 /f && echo ok')"
	expect_match 'Too many levels of symbolic links' "$(inside c7 chmod 4755 /f || true)"
	expect_match 'Operation not permitted' "$(inside c7 rmdir /f || true)"
	expect_match 'status 159' "$(inside c7 sh -c '(swapon /f); echo status $?')"
	remove_container c7
}

# refused SENTENCE SYSCALLS [MEMBERS]
refused() {
	local said
	profile "${@:2}"
	said=$(kiln_run c8 --seccomp --seccomp-profile "$work/profile.json" -- true 2>&1) && fail "it runs: $2"
	expect_match "$1" "$said"
	ctr containers delete c8 2>/dev/null || true
}

test_what_a_profile_cannot_have_is_named() {
	refused 'linux.seccomp: syscalls\[0\]: SCMP_ACT_NOTIFY is not supported' \
		'[{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]'
	refused 'listenerPath' '[]' '{"listenerPath": "/run/x"}'
	refused 'syscalls\[0\]: "no_such_call": the system call is unknown' \
		'[{"names": ["no_such_call"], "action": "SCMP_ACT_ERRNO"}]'
	refused 'flag "SECCOMP_FILTER_FLAG_X"' '[]' '{"flags": ["SECCOMP_FILTER_FLAG_X"]}'
}

gcc -D_GNU_SOURCE -O2 -static -o "$work/exec_watch" "$(dirname "$0")/exec_watch.c"
write_config 3
start_factory
start_containerd
wait_full
run_tests "$@"
