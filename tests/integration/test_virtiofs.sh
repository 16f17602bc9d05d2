#!/bin/bash
# Volumes by virtio-fs and real containerd: what 9p refuses, what the host sees and when, what the
# daemon is shut in, and what its end and the shim's leave behind.
. "$(dirname "$0")/volumes.sh"

vol=$work/vol
bind() { echo "--mount type=bind,src=$1,dst=$2,options=$3"; }
by=virtiofs # or virtiofs-locks

# with_volume ID COMMAND...: a container that has the folder $vol as /v.
with_volume() { kiln_run "$1" --annotation "io.kiln.volumes=$by" $(bind "$vol" /v rbind:rw) -- "${@:2}"; }

# fresh: an empty $vol with the probe in it.
fresh() {
	rm -rf --one-file-system "$vol"
	mkdir "$vol"
	[ -e "$work/probe" ] || gcc -D_GNU_SOURCE -O1 -static -o "$work/probe" "$tests/integration/volume_probe.c"
	cp "$work/probe" "$vol/probe"
}

# in_pod POD ID [CTR OPTIONS]: a container of the pod that stays.
in_pod() {
	local pod=$1 id=$2
	ctr run -d --runtime io.containerd.kiln.v2 --annotation "io.kiln.volumes=$by" \
		--annotation "io.kubernetes.cri.sandbox-id=$pod" \
		--annotation io.kubernetes.cri.container-type=container \
		"${@:3}" "$image" "$id" sleep 1000
}
inside() { ctr tasks exec --exec-id "e$RANDOM" "$1" "${@:2}"; }
daemons() { pgrep -f "virtiofsd .*$run/" || true; }
no_daemons() { [ "$(daemons)" = '' ]; }
claimed_vmm() { factory_ctl list --json | jq '.vms[] | select(.state == "claimed") | .pid'; }
status_of() { awk -v key="$2:" '$1 == key { print $2 }' "/proc/$1/status"; }

# ---------------------------------------------------------------- files

test_what_9p_refuses() {
	fresh
	expect 'ok ok ok 640 3 7 600 0 ok' "$(with_volume more sh -c \
		'cd /v; echo $(./probe mmap m) $(./probe socket s) $(mkfifo p && echo ok) $(./probe late f)')"
	[ -p "$vol/p" ] || fail 'the host has no FIFO'
	expect 7168 "$(with_volume sparse sh -c 'cd /v; fallocate -l 7168 big && stat -c %s big')" 'fallocate'
	expect EOPNOTSUPP "$(with_volume acl sh -c 'touch /v/acl; /v/probe acl /v/acl')" 'an ACL, which would not be asked'
	expect '12 34' "$(with_volume own sh -c 'touch /v/mine; chown 12:34 /v/mine'; stat -c '%u %g' "$vol/mine")"
}

test_what_is_on_the_host_and_when() {
	local i
	fresh
	mkdir "$vol/below"
	mount -t tmpfs -o size=1m tmpfs "$vol/below"
	in_pod seen seen $(bind "$vol" /v rbind:rw) $(bind "$vol/probe" /probe rbind:ro)
	for i in {1..8}; do
		echo "$i" >"$vol/file"
		expect "$i" "$(inside seen cat /v/file)" 'of the same length'
		inside seen sh -c "echo guest$i >/v/file"
		expect "guest$i" "$(cat "$vol/file")" 'on the host'
	done
	inside seen sh -c 'exec 3>/v/open; echo x >&3; sleep 1000' &
	until_true 10 grep -qs x "$vol/open"
	expect 1 "$(inside seen sh -c 'dd if=/dev/zero of=/v/below/a bs=64k count=32 2>/dev/null; echo $?')" 'dd on a full one'
	expect 3 "$(inside seen stat -c %d /v /v/below / | sort -u | wc -l)" 'numbers of file systems'
	remove_container seen
	wait
	umount "$vol/below"
}

test_two_sandboxes_append() { expect_whole_appends; }

test_locks_are_the_guests_or_the_hosts() {
	local holder
	fresh
	"$vol/probe" hold "$vol/lock" >"$work/held" &
	holder=$!
	until_true 10 grep -qc ok "$work/held"
	expect 'ok ok' "$(with_volume lock1 /v/probe lock /v/lock | xargs)" 'locks of the guest'
	by=virtiofs-locks
	expect 'EAGAIN EAGAIN' "$(with_volume lock2 /v/probe lock /v/lock | xargs)" 'locks of the host'
	kill "$holder"
	wait "$holder" || true
	expect 'ok ok' "$(with_volume lock3 /v/probe lock /v/lock | xargs)" 'nobody has it'
}

# ---------------------------------------------------------------- pods

test_a_containers_files_are_let_go_of() {
	local daemon
	fresh
	mkdir "$vol/two"
	mount -t tmpfs tmpfs "$vol/two"
	mkdir "$vol/two/folder"
	in_pod pod pod
	in_pod pod one $(bind "$vol" /v rbind:rw)
	in_pod pod two $(bind "$vol/two" /v rbind:rw)
	daemon=$(daemons)
	expect 1 "$(wc -w <<<"$daemon")" 'daemons of a pod'
	inside two ls /v/folder
	inside one ls /v/two/folder
	remove_container two
	expect '' "$(find "/proc/$daemon/fd" -lname '*/share/two/*' -printf '%l\n')" 'files of the container that ended'
	inside one test -e /v/probe || fail "the other container's volume is gone"
	by=virtiofs-locks
	expect_match 'another container of the pod has asked' "$(in_pod pod three 2>&1 || true)"
	ctr containers delete three
	remove_container one
	remove_container pod
	until_true 10 no_daemons
	umount "$vol/two"
}

test_the_daemon_is_shut_in() {
	local pid uid
	fresh
	in_pod jail jail $(bind "$vol" /v rbind:rw)
	pid=$(daemons)
	uid=$(status_of "$pid" Uid)
	[ "$uid" -ge 1879048192 ] || fail "the daemon is user $uid of the host"
	expect "$uid" "$(status_of "$(claimed_vmm)" Uid)" 'its user and the VMM'\''s'
	# CHOWN DAC_OVERRIDE FOWNER FSETID SETGID SETUID MKNOD SETFCAP, in its user namespace
	expect '00000000880000db 0000000000000000 1 2' "$(for key in CapEff CapBnd NoNewPrivs Seccomp; do
		status_of "$pid" $key
	done | xargs)" 'capabilities, new privileges, seccomp'
	expect_match '/vms/[0-9a-f]+/share$' "$(readlink "/proc/$pid/root")"
	expect '' "$(awk '$5 != "/" && $5 !~ "^/jail/mounts/" { print $5 }' "/proc/$pid/mountinfo")" 'mounts beside the share'
	expect '' "$(awk '$5 != "/" && ($6 !~ /nodev/ || $6 !~ /nosuid/ || $6 !~ /noexec/) { print $5, $6 }' \
		"/proc/$pid/mountinfo")" 'mounts that are not nodev, nosuid and noexec'
	grep -q "memory:.*$cgroup/" "/proc/$pid/cgroup" ||
		grep -q "0::.*$cgroup/" "/proc/$pid/cgroup" || fail 'it is not in the control group of its machine'
	remove_container jail
}

# ---------------------------------------------------------------- ends

stopped() { ctr tasks ls | grep -q "^$1 .*STOPPED"; }

test_the_daemons_end_is_the_sandboxs() {
	fresh
	in_pod dies dies $(bind "$vol" /v rbind:rw)
	kill -9 "$(daemons)"
	until_true 20 stopped dies
	grep -q 'dies: the sandbox is lost: volumes by virtio-fs: virtiofsd was killed by signal 9' "$work/containerd.log" ||
		fail 'the log does not say why'
	remove_container dies
	wait_no_sandboxes
}

# One that does not end when its VMM does, as a guest could make it.
test_nothing_is_left_when_the_shim_is_killed() {
	local daemon shim
	fresh
	in_pod killed killed $(bind "$vol" /v rbind:rw)
	daemon=$(daemons)
	shim=$(awk '$1 == "PPid:" { print $2 }' "/proc/$daemon/status")
	kill -STOP "$daemon"
	kill -9 "$shim"
	until_true 30 no_daemons
	wait_no_sandboxes
	ctr tasks delete --force killed >/dev/null 2>&1 || true
	ctr containers delete killed
}

test_nothing_is_left() {
	wait_no_sandboxes
	expect '' "$(daemons)" daemons
	expect '' "$(awk -v w="$run/vms" 'index($5, w) == 1 && $5 ~ "/mounts/" { print $5 }' /proc/self/mountinfo)" mounts
}

write_config 2 '.share = "never" | del(.pool)'
start_factory
start_containerd
wait_full
run_tests "$@"
