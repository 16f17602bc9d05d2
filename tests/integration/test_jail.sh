#!/bin/bash
# What a clone's VMM is shut in, seen from the host and from a container: users, capabilities,
# namespaces, files, limits; and that the files of containers belong to whom they should.
. "$(dirname "$0")/lib.sh"

first=1879048192 # of the machines' user ids
state() { factory_ctl list --json | jq -r --arg s "$1" '[.vms[] | select(.state == $s)][0]'; }
pid_of() { state "$1" | jq .pid; }
id_of() { state "$1" | jq -r .vm_id; }

# start ID: a container that stays.
start() { ctr run -d --runtime io.containerd.kiln.v2 "${@:2}" "$image" "$1" sleep 1000; }
remove() {
	ctr tasks delete --force "$1" >/dev/null 2>&1 || true
	ctr containers delete "$1"
}

# With KVM a machine has its device, and the group that may open it.
kvm_group='' kvm_device=''
know_the_accelerator() {
	[ "$(status_json | jq -r .accelerator)" = kvm ] || return 0
	kvm_group=$(stat -c %g /dev/kvm) kvm_device=kvm
}

filters_of() { awk '/^Seccomp_filters:/ { print $2 }' "/proc/$1/status"; }

expect_jailed() {
	local pid=$1 uid ns
	uid=$(awk '/^Uid:/ { print $2 }' "/proc/$pid/status")
	[ "$uid" -ge $first ] || fail "$pid is user $uid of the host"
	expect 0 $(((uid - first) % 65536)) "offset of uid $uid"
	expect "$uid $uid $uid $uid" "$(awk '/^Uid:/ { print $2, $3, $4, $5 }' "/proc/$pid/status")"
	expect "$uid $uid $uid $uid" "$(awk '/^Gid:/ { print $2, $3, $4, $5 }' "/proc/$pid/status")"
	expect "$kvm_group" "$(awk '/^Groups:/ { print $2, $3 }' "/proc/$pid/status" | xargs)" 'groups'
	# chown, dac_override, fowner, fsetid, setfcap: in its user namespace only
	expect 000000008000001b "$(awk '/^CapEff:/ { print $2 }' "/proc/$pid/status")" CapEff
	expect 000000008000001b "$(awk '/^CapBnd:/ { print $2 }' "/proc/$pid/status")" CapBnd
	expect 1 "$(awk '/^NoNewPrivs:/ { print $2 }' "/proc/$pid/status")" NoNewPrivs
	expect 2 "$(awk '/^Seccomp:/ { print $2 }' "/proc/$pid/status")" Seccomp
	# kiln-jailer's where that has started it, the jail's and QEMU's own.
	expect "${2:-3}" $(($(filters_of "$pid") - $(filters_of self))) 'filters of system calls'
	for ns in user mnt net ipc uts; do
		[ "$(readlink "/proc/$pid/ns/$ns")" != "$(readlink "/proc/self/ns/$ns")" ] ||
			fail "$pid is in the host's $ns namespace"
	done
	expect "$uid 65536" "$(awk '{ print $2, $3 }' "/proc/$pid/uid_map")" 'ids in its namespace'
}

test_parked_machines_are_shut_in() {
	local pid pids other
	pids=$(factory_ctl list --json | jq '.vms[].pid')
	expect 2 "$(wc -w <<<"$pids")" machines
	for pid in $pids; do expect_jailed "$pid"; done
	pid=$(pid_of parked)
	other=$(factory_ctl list --json | jq "[.vms[].pid | select(. != $pid)][0]")
	[ "$(cat "/proc/$pid/uid_map")" != "$(cat "/proc/$other/uid_map")" ] ||
		fail 'two machines are the same user'
	expect 'lo kiln0' "$(nsenter --target "$pid" --net ip -br link | awk '{ print $1 }' | xargs)" 'network'
}

test_the_root_holds_what_it_needs() {
	local pid root wanted
	pid=$(pid_of parked)
	root=/proc/$pid/root
	wanted=$(printf '%s\n' dev etc lib lib64 proc usr "$(cut -d/ -f2 <<<"$run")" \
		"$(cut -d/ -f2 <<<"$store")" "$(cut -d/ -f2 <<<"$BUILD")" | sort -u)
	expect "$wanted" "$(ls "$root")" /
	expect "$(echo $kvm_device null shm urandom)" "$(ls "$root/dev" | xargs)" '/dev (and the store in it)'
	expect ld.so.cache "$(ls "$root/etc")" /etc
	expect '' "$(ls -A "$root$run/vms" | grep -v "$(id_of parked)")" 'folders of other machines'
	expect share "$(ls -A "$root$run/vms/$(id_of parked)")" 'its folder'
	! touch "$root/usr/lib/x" 2>/dev/null || fail '/usr/lib is writable'
	! touch "$root/x" 2>/dev/null || fail 'the root is writable'
}

# As the user a VMM is on the host, with the files it sees.
test_the_templates_memory_is_readable_and_not_writable() {
	local pid uid memory
	pid=$(pid_of parked)
	uid=$(awk '/^Uid:/ { print $2 }' "/proc/$pid/status")
	memory=$(echo "$store"/templates/*/memory)
	expect '444 0:0' "$(stat -c '%a %u:%g' "$memory")"
	cat >"$work/writes.py" <<-'PY'
		import os, sys
		root, uid, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
		os.chroot(root)
		os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
		os.close(os.open(path, os.O_RDONLY))
		for flags in os.O_RDWR, os.O_WRONLY:
		    try:
		        os.open(path, flags)
		        sys.exit("it can be opened for writing")
		    except OSError as e:
		        print(e.strerror)
		try:
		    os.open(os.path.dirname(path) + "/template.json", os.O_RDONLY)
		    sys.exit("template.json can be read")
		except PermissionError:
		    pass
		others = [name for name in os.listdir("/proc") if name.isdigit() and name != str(os.getpid())]
		if others:
		    sys.exit(f"processes {others} show in /proc")
	PY
	timeout 20 python3 "$work/writes.py" "/proc/$pid/root" "$uid" "$memory" >"$work/out" 2>&1 ||
		fail "$(cat "$work/out")"
}

test_parked_machines_hold_no_memory_for_nothing() {
	local pid zeros beside
	pid=$(pid_of parked)
	expect '' "$(awk '{ print $6 }' "/proc/$pid/maps" | grep -E 'libcapstone|libpmem|libcrypto')" 'libraries'
	expect 1 "$(grep -cE 'r-xp .*/kiln-no-capstone.so' "/proc/$pid/maps")" 'what stands for one'
	timeout 60 python3 "$(dirname "$0")/vmm_memory.py" "$pid" "$run/vms/$(id_of parked)/shim.sock" \
		>"$work/out" 2>&1 || fail "$(cat "$work/out")"
	read -r zeros beside <"$work/out"
	# An empty hash table of QEMU has 1024 KiB; descriptions on cache lines of their own take 240 bytes.
	((zeros < 512)) || fail "$zeros KiB of zeros"
	((beside < 200)) || fail "$beside bytes beside the code of each block"
	[ -n "$kvm_device" ] || ((beside > 0)) || fail 'no block of translated code'
}

test_files_belong_to_whom_they_should() {
	local upper
	mkdir -m 755 "$work/volume"
	echo data >"$work/volume/read"
	chown 1000:1000 "$work/volume" "$work/volume/read"
	start files --annotation io.kiln.rootfs=share --mount "type=bind,src=$work/volume,dst=/volume,options=rbind:rw"
	ctr tasks exec --exec-id e1 files sh -ec 'echo x >/root0; chown 1000:1001 /root0; mkdir /d
		chown 65534 /d; echo y >/zero; ln -s zero /link; chmod 4755 /zero; rm /bin/false 2>/dev/null || true
		cat /volume/read; echo z >/volume/by-root'
	expect '1000:1001' "$(ctr tasks exec --exec-id e2 files stat -c %u:%g /root0)"
	expect '0:0' "$(ctr tasks exec --exec-id e3 files stat -c %u:%g /bin/busybox)" 'a lower file'
	ctr tasks exec --exec-id e4 --user 1000 files sh -c \
		'echo w >/volume/by-1000 && ! echo v >/zero 2>/dev/null' || fail 'uid 1000 in the volume'
	upper=$(find "$work/containerd/root" -path '*/fs/root0' -printf '%h\n')
	[ -n "$upper" ] || fail 'the file is not in the upper layer'
	expect '1000:1001 644' "$(stat -c '%u:%g %a' "$upper/root0")"
	expect '65534:0' "$(stat -c %u:%g "$upper/d")"
	expect '0:0 4755' "$(stat -c '%u:%g %a' "$upper/zero")"
	expect '0:0' "$(stat -c %u:%g "$work/volume/by-root")"
	expect '1000:0' "$(stat -c %u:%g "$work/volume/by-1000")"
	expect_jailed "$(pid_of claimed)"
	expect '' "$(ls -A "$run/vms/$(id_of claimed)/layers")" 'layers in passing'
	remove files
	wait_full
}

# groups: the control groups of machines, in all hierarchies.
groups() { find /sys/fs/cgroup -path "*/$cgroup/*" -type d 2>/dev/null; }
limit() { cat "/sys/fs/cgroup/$1/$cgroup/$2/$3" 2>/dev/null ||
	cat "/sys/fs/cgroup/$cgroup/$2/$4"; }

test_control_groups_limit_memory_and_threads() {
	local id pid memory
	id=$(id_of parked) pid=$(pid_of parked)
	grep -q "$cgroup/$id" "/proc/$pid/cgroup" || fail "$(cat "/proc/$pid/cgroup")"
	memory=$(limit memory "$id" memory.limit_in_bytes memory.max)
	[ "$memory" -lt $((4 << 30)) ] || fail "limit of memory: $memory"
	[ "$(limit pids "$id" pids.max pids.max)" -le 512 ] || fail 'limit of threads'
}

# As root of the host with all capabilities, but in the machine's group and with its files. PATH new: a node
# that is made in a mount of its own, which may have devices.
opens_as_machine() {
	local pid=$1 path=$2
	timeout 20 python3 - "$pid" "$path" <<-'PY'
		import ctypes, os, sys
		pid, path = sys.argv[1:]
		for line in open(f"/proc/{pid}/cgroup"):
		    _, controllers, group = line.rstrip("\n").split(":", 2)
		    for door in (f"/sys/fs/cgroup/{controllers}{group}/tasks",
		                 f"/sys/fs/cgroup{group}/cgroup.procs"):
		        if group != "/" and controllers in ("devices", "") and os.path.exists(door):
		            open(door, "w").write("0")
		if ctypes.CDLL(None).setns(os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY), 0x00020000):
		    sys.exit("cannot enter its mounts")
		libc = ctypes.CDLL(None)
		if path == "new" and (libc.unshare(0x00020000) or libc.mount(b"none", b"/dev", b"tmpfs", 0, None)):
		    sys.exit("cannot mount")
		try:
		    if path == "new":
		        path = "/dev/full"
		        os.mknod(path, 0o020666, os.makedev(1, 7))
		    os.close(os.open(path, os.O_RDWR))
		    print("opened")
		except OSError as e:
		    print(e.strerror)
	PY
}

test_devices_stay_shut() {
	local pid seen
	start late --mount "type=bind,src=$work/shared,dst=/volume,options=rbind:rslave:rw"
	pid=$(pid_of claimed)
	mount -t tmpfs late "$work/shared/late"
	mknod -m 666 "$work/shared/late/full" c 1 7
	mknod -m 666 "$work/shared/late/loop" b 7 0
	mknod -m 666 "$work/shared/early" c 1 7
	ctr tasks exec --exec-id e1 late ls /volume/late/full >/dev/null || fail 'the late mount does not show'
	seen=$(awk '$5 ~ "/late$" { print $5; exit }' "/proc/$pid/mountinfo")
	[ -n "$seen" ] || fail 'the machine has no late mount'
	until_true 20 grep -q " $seen [^ ]*nodev" "/proc/$pid/mountinfo" # shim/late_mounts.h
	expect 'Permission denied' "$(opens_as_machine "$pid" "$seen/full")" 'a node of a late mount'
	expect 'Permission denied' "$(opens_as_machine "$pid" "$seen/loop")" 'a disk of a late mount'
	expect 'Operation not permitted' "$(opens_as_machine "$pid" new)" 'a node of its own'
	expect 'Permission denied' "$(opens_as_machine "$pid" "${seen%/late}/early")" 'a node of a volume'
	expect opened "$(opens_as_machine "$pid" /dev/null)" /dev/null
	umount "$work/shared/late"
	remove late
	wait_full
}

# group_of PID: its control group of memory, as a folder.
group_of() {
	awk -F: '$2 ~ /(^|,)memory(,|$)/ { print "/sys/fs/cgroup/memory" $3; exit }
		$1 == 0 { v2 = "/sys/fs/cgroup" $3 } END { if (v2) print v2 }' "/proc/$1/cgroup" | head -n 1
}
# memory_limit GROUP
memory_limit() { cat "$1"/memory.limit_in_bytes 2>/dev/null || cat "$1/memory.max"; }
shim_of() { pgrep -f "^[^ ]*containerd-shim-kiln-v2 .*-namespace $(basename "$work") .*-id $1 "; }

# Where whoever limits and accounts the pod finds it, if the shim is told so; its limits and what keeps devices shut
# come with it.
test_the_vmm_is_in_the_pods_group() {
	local name pid group limit pod=/sys/fs/cgroup/cpu/$(basename "$work")
	limit=$(memory_limit "$(group_of "$(pid_of parked)")")
	if [ -d /sys/fs/cgroup/cpu ]; then # v1 refuses a group a larger quota than its pod has
		mkdir "$pod"
		echo 150000 >"$pod/cpu.cfs_quota_us"
	fi
	echo '{"sandbox_cgroup_only": true}' >"$work/shim.json"
	for name in ended killed; do
		start $name --runtime-config-path "$work/shim.json"
		pid=$(pid_of claimed)
		group=$(group_of "$pid")
		expect_match "/$(basename "$work")/kiln_[0-9a-f]+\$" "$group"
		expect "$limit" "$(memory_limit "$group")" 'its own limit of memory'
		expect 'Operation not permitted' "$(opens_as_machine "$pid" new)" 'a node of its own'
		expect hello "$(ctr tasks exec --exec-id e1 $name echo hello)"
		if [ $name = killed ]; then
			kill -9 "$(shim_of $name)"
			until_true 30 eval '! ctr tasks ls | grep -q "^killed .*RUNNING"'
		fi
		remove $name
		until_true 20 [ ! -e "$group" ]
	done
	rmdir "$pod" "$(dirname "$group")" 2>/dev/null || true
	wait_full
}

# Every mount but the machine's programs (which are read-only) and its devices themselves.
test_mounts_are_harmless() {
	local pid
	start mounts --annotation io.kiln.rootfs=share --mount "type=bind,src=$work/tree,dst=/volume,options=rbind:rw"
	pid=$(pid_of claimed)
	grep -q "$run/vms/.*/deep" "/proc/$pid/mountinfo" || fail 'the tree is not there'
	expect '' "$(awk '$6 !~ /nosuid/ || ($6 !~ /nodev/ && $5 !~ "^/dev/(null|urandom|kvm)$") ||
		($6 !~ /noexec/ && $6 !~ /^ro/) { print $5, $6 }' "/proc/$pid/mountinfo")" 'mounts of the machine'
	remove mounts
	wait_full
}

test_open_files_are_bounded() {
	local pid
	expect '16384 16384' "$(awk '/^Max open files/ { print $4, $5 }' "/proc/$(pid_of parked)/limits")"
	expect 1 "$(awk '/^Max open files/ { print $4 == $5 }' "/proc/$(factory_pid)/limits")" 'as many as the factory may have'
	start open --annotation io.kiln.rootfs=share --mount "type=bind,src=$work/volume,dst=/volume,options=rbind:rw"
	pid=$(pid_of claimed)
	# Less than it began with: virtio-9p closes none of those before it is refused one more.
	prlimit --pid "$pid" --nofile=200
	ctr tasks exec --exec-id e1 open sh -c 'i=10
		while [ $i -lt 400 ] && eval "exec $i>/volume/many.$i"; do i=$((i + 1)); done' >"$work/out" 2>&1 || true
	expect_match 'Too many open files|No file descriptors available' "$(cat "$work/out")" 'the 400th file'
	expect hello "$(ctr tasks exec --exec-id e2 open sh -c 'rm /volume/many.*; echo hello')" 'the machine'
	expect "$pid" "$(pid_of claimed)" 'the VMM'
	remove open
	wait_full
}

# virtio-9p's requests wait in threads of QEMU's own pool, which is smaller than the limit: QEMU would
# abort where it could not make one.
test_threads_are_bounded() {
	local pid most=0 now
	start threads --mount "type=bind,src=$work/volume,dst=/volume,options=rbind:rw"
	pid=$(pid_of claimed)
	ctr tasks exec --exec-id e1 threads sh -c 'i=0; while [ $i -lt 100 ]; do
		dd if=/dev/zero of=/volume/t$i bs=64k count=8 conv=fsync 2>/dev/null & i=$((i + 1)); done; wait; rm /volume/t*' &
	while kill -0 $! 2>/dev/null; do
		now=$(find "/proc/$pid/task" -mindepth 1 -maxdepth 1 | wc -l)
		((now <= most)) || most=$now
		sleep 0.02
	done
	wait $! || fail 'the writers'
	((most > 4 && most < 100)) || fail "$most threads"
	echo "$most threads at most"
	remove threads
	wait_full
}

# What QEMU says of the control messages of a broken guest, said by hand: 20 MB of it.
test_what_qemu_says_is_bounded() {
	local pid log size
	start chatter
	pid=$(pid_of claimed)
	log=$run/vms/$(id_of claimed)/qemu.log
	flood() { timeout 20 python3 -c '
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_NONBLOCK)
line = b"virtio-serial-bus: Unexpected port id 4096 for device virtio-serial0.0\n"
dropped = 0
for i in range(300000):
    try:
        os.write(fd, line)
    except BlockingIOError:
        dropped += 1
sys.exit(dropped == 0)' "/proc/$pid/fd/2" || fail 'nothing was dropped'; }
	flood
	until_true 10 grep -q 'Unexpected port' "$log"
	stop_factory
	flood # nobody reads
	start_factory
	flood
	size=$(stat -c %s "$log")
	((size <= 65536)) || fail "$size bytes of log"
	expect hello "$(ctr tasks exec --exec-id e1 chatter echo hello)"
	remove chatter
	wait_full
}

test_processors_are_shared_by_vcpus() {
	local id vcpus
	id=$(id_of parked)
	vcpus=$(tr '\0' '\n' <"/proc/$(pid_of parked)/cmdline" | grep -A1 -x -- -smp | grep -oE '(maxcpus=|^)[0-9]+' |
		grep -oE '[0-9]+' | sort -n | tail -1)
	[ "$(limit cpu "$id" cpu.shares cpu.weight)" = $((vcpus * 1024)) ] ||
		[ "$(limit cpu "$id" cpu.shares cpu.weight)" = $((vcpus * 100)) ] || fail 'its weight'
	expect_match "^$(((vcpus + 1) * 100000))( |$)" "$(limit cpu "$id" cpu.cfs_quota_us cpu.max)" 'its quota'
}

test_a_claimed_one_without_a_factory_is_shut_in_too() {
	stop_factory
	start alone
	start_factory
	expect_jailed "$(pid_of claimed)" 2
	expect hello "$(ctr tasks exec --exec-id e1 alone echo hello)"
	remove alone
	wait_full
}

test_what_cannot_be_mapped_is_refused_by_name() {
	local code=0
	mkdir "$work/over" "$work/upper" "$work/work"
	mount -t overlay -o "lowerdir=$work/volume,upperdir=$work/upper,workdir=$work/work" overlay "$work/over"
	ctr run --rm --runtime io.containerd.kiln.v2 \
		--mount "type=bind,src=$work/over,dst=/p,options=rbind:rw" "$image" over true \
		>"$work/out" 2>&1 || code=$?
	umount "$work/over"
	[ $code != 0 ] || fail 'it was mounted'
	expect_match "$work/over: its file system.*idmapped" "$(cat "$work/out")"
	ctr containers delete over 2>/dev/null || true
	wait_full
}

# As packages install them: in a folder that the root has anyway.
test_programs_may_be_below_usr_lib() {
	local at=/usr/lib/kiln-test.$$
	trap 'rm -rf "/usr/lib/kiln-test.$$"' EXIT
	stop_factory
	mkdir "$at"
	find "$BUILD" -maxdepth 1 -name 'kiln-*' -type f -perm /111 -exec cp -t "$at" {} +
	PATH=$at:$PATH start_factory && wait_full
	grep -q "$at/kiln-preload.so" "/proc/$(pgrep -f "qemu-system-x86_64 .*$run/vms/" | head -n 1)/maps" ||
		fail 'its library is not there'
	stop_factory
	start_factory && wait_full
}

test_nothing_is_left() {
	umount -l "$work/shared" "$work/tree/deep"
	factory_ctl destroy >/dev/null
	expect '' "$(vmm_pids)" machines
	expect 0 "$(find "$run/vms" "$run/uids" -mindepth 1 ! -lname bake | wc -l)" 'files of machines'
	expect '' "$(groups)" 'control groups'
	expect '' "$(awk -v w="$run/" 'index($5, w) == 1 { print $5 }' /proc/self/mountinfo)" mounts
}

mkdir -p "$work/shared" "$work/tree/deep"
mount -t tmpfs shared "$work/shared"
mount --make-shared "$work/shared"
mkdir "$work/shared/late"
mount -t tmpfs deep "$work/tree/deep"
write_config 2
start_factory
start_containerd
wait_full
know_the_accelerator
run_tests "$@"
