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
	expect_match 'in below.*Operation not permitted' "$(inside c3 sh -c '
		mkdir /cg && mount -t cgroup2 cgroup2 /cg && mkdir /cg/below && echo $$ >/cg/below/cgroup.procs &&
		echo in $(sed s/0::.// /proc/self/cgroup); mknod /dev/pmem b 259 0; head -c 1 /dev/pmem' | xargs)"
	remove_container c3
}

# Who may open all devices still cannot change the images that the guest runs of.
test_images_are_read_only_for_everybody() {
	start c4 --privileged
	inside c4 sh -c 'mknod /dev/pmem b 259 0; head -c 1 /dev/pmem >/dev/null'
	expect_match 'Operation not permitted' "$(inside c4 dd if=/dev/zero of=/dev/pmem bs=512 count=1 conv=notrunc || true)"
	remove_container c4
}

# A process that looks at each new one's root, folders and descriptors.
test_an_exec_is_born_in_its_container() {
	local i
	gcc -D_GNU_SOURCE -O2 -static -o "$work/exec_watch" "$(dirname "$0")/exec_watch.c"
	start c5 --cap-add CAP_SYS_PTRACE
	ctr tasks exec --exec-id put c5 sh -c 'cat >/exec_watch && chmod 755 /exec_watch' <"$work/exec_watch"
	ctr tasks exec --exec-id watch c5 /exec_watch 8 >"$work/watched" 2>&1 &
	for i in {1..60}; do
		inside c5 true
		kill -0 $! 2>/dev/null || break
	done
	kill $! 2>/dev/null && fail "too few births were seen: $(cat "$work/watched")"
	wait $! || fail "$(cat "$work/watched")"
	expect 'seen 8' "$(cat "$work/watched")"
	remove_container c5
}

write_config 3
start_factory
start_containerd
wait_full
run_tests "$@"
