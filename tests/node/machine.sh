# A node to try Kiln on: a virtual machine with Debian, systemd, control groups v2 and a /dev/kvm of its own,
# which is nested. Sourced by tests/node/check and bench.
#
# Where this host has a KVM that can be nested, the node runs by it; else a QEMU that is not this host's
# (tests/node/make-qemu) emulates a processor with AMD's SVM, and most things take some ten times as long in the node.
# The disk stays as it was made: what the node writes goes into a file that ends with it, so each start is of a new
# node. By emulation a boot takes a minute and more: one is kept beside the disk, and each node goes on from there. The
# rest is below $node, which is removed at the end together with the processes that were started.
#
# Where the node's kernel panics its QEMU is ended, and node_lost tells why.
#
#   BUILD             the build folder
#   NODE_DISK         what tests/node/make-disk printed
#   DEBIAN_RUN        packages that Kiln needs to run, with blanks between them
#   NODE_DEBS         the folder of Kiln's own packages, where the node is to have them
#   NODE_MEMORY_MIB   of the node (7168)
#   TIME_FACTOR       how many times as long as on a host of its own things may take in the node (1 by KVM, 8 by
#                     emulation); more for a host that is busy

: "${BUILD:?}" "${NODE_DISK:?}" "${DEBIAN_RUN:?}"
BUILD=$(realpath "$BUILD") NODE_DISK=$(realpath "$NODE_DISK")
node_qemu='' node_port='' node_off='' node_booted=''
node_processors=2 # of one that is started
node_up_s=240 # from QEMU's start to an answer by ssh, by KVM

# The processor has what the node's /dev/kvm is made of, and this host's kernel hands it on.
host_nests_kvm() {
	grep -qwE 'vmx|svm' /proc/cpuinfo && [ -w /dev/kvm ] &&
		cat /sys/module/kvm_{intel,amd}/parameters/nested 2>/dev/null | grep -q '^[1Yy]'
}

if host_nests_kvm; then
	node_how='by KVM'
	node_program=qemu-system-x86_64
	node_processor=(-accel kvm -cpu host)
	: "${TIME_FACTOR:=1}"
else
	node_how='by emulation'
	node_program=$(tests/node/make-qemu "$BUILD/node-qemu") || exit 1
	# Page tables of four levels are less to walk; string instructions that are said to be fast are slow. A thread for
	# each processor is needed: with one for both, guests in the node do not come up in time.
	node_processor=(-accel tcg,thread=multi -cpu 'max,la57=off,erms=off,fsrm=off,svm=on,npt=on')
	: "${TIME_FACTOR:=8}"
fi
node=$(mktemp -d "${TMPDIR:-/tmp}/kiln-node.XXXXXX") || exit 1
payload=$node/payload.tar
payload_size=2G # of the node's second disk, however long the archive in it is

# node_fail TEXT...: says it, with the end of the console, and is false.
node_fail() {
	printf 'node: %s\n' "$*" >&2
	[ ! -s "$node/console" ] || tail -n 30 "$node/console" | tr -d '\r' >&2
	return 1
}

# node_put_jq FOLDER: where the node is emulated, a jq for the tests that starts in a tenth of the time that the disk's
# own takes, which is half a second of each of a test's looks.
node_put_jq() {
	local root=${node_program%/*}/root library
	[ -e "$root/usr/bin/jq" ] || return 0
	mkdir "$1/jq"
	for library in ld-linux-x86-64.so.2 libc.so.6 libm.so.6 libjq.so.1 libonig.so.5; do
		cp -L "$root/usr/lib/x86_64-linux-gnu/$library" "$1/jq/" || return 1
	done
	cp "$root/usr/bin/jq" "$1/jq/"
	cat >"$1/build/jq" <<-'END'
		#!/bin/sh
		exec /opt/kiln/jq/ld-linux-x86-64.so.2 --library-path /opt/kiln/jq /opt/kiln/jq/jq "$@"
	END
	chmod 755 "$1/build/jq"
}

# node_payload: makes the archive of what is unpacked in the node, unless it is there: what `make install` installs, and
# in /opt/kiln this tree's tests with the build folder's programs, the page that says how to install, and in its debs the
# packages of NODE_DEBS: these, and older ones whose template is another.
node_payload() {
	local root=$node/payload program systemd=252 # of the disk
	[ ! -e "$payload" ] || return 0
	mkdir -p "$root/opt/kiln/build/faults"
	make --no-print-directory -s BUILD="$BUILD" DESTDIR="$root" SYSTEMD_VERSION=$systemd install \
		>"$node/install.log" 2>&1 ||
		{ node_fail "make install failed: $(tail -n 3 "$node/install.log")"; return 1; }
	for program in "$root"/usr/local/{sbin/kiln-*,bin/{kiln-*,containerd-shim-kiln-v2},lib/kiln/*.so}; do
		LC_ALL=C readelf -d "$program" | sed -n "s|.*(NEEDED).*\[\(.*\)\]$|${program##*/} \1|p"
	done >"$root/opt/kiln/needed"
	echo "$DEBIAN_RUN" >"$root/opt/kiln/packages"
	cp -r tests bench "$root/opt/kiln/"
	cp --parents docs/INSTALL.md deploy/kubernetes/runtimeclass.yaml "$root/opt/kiln/"
	rm -rf "$root/opt/kiln/bench/out"
	cp -r "$BUILD/image" "$root/opt/kiln/build/"
	find "$BUILD" -maxdepth 1 -type f -perm /111 -exec cp -t "$root/opt/kiln/build" {} +
	find "$BUILD/faults" -maxdepth 1 -type f -perm /111 -exec cp -t "$root/opt/kiln/build/faults" {} +
	node_put_jq "$root/opt/kiln" || return 1
	# An emulated disk is slow to read.
	strip "$root"/usr/local/{sbin,bin}/* "$root"/opt/kiln/build/{,faults/}kiln-* "$root"/opt/kiln/build/{,faults/}containerd-shim-*
	if [ -n "${NODE_DEBS:-}" ]; then
		tests/packages/repack "$NODE_DEBS" 0.0.1 "$root/opt/kiln/debs" '.memory_mib += 32' || return 1
		find "$NODE_DEBS" -maxdepth 1 -name 'kiln-*.deb' ! -name '*-dbgsym*' -exec cp -t "$root/opt/kiln/debs" {} +
	fi
	tar -C "$root" --owner=0 --group=0 -cf "$payload" . && truncate -s ">$payload_size" "$payload" || return 1
	rm -rf "$root"
}

node_runs() { kill -0 "$node_qemu" 2>/dev/null; }

# What QEMU is told of any node, in $node_machine.
describe_machine() {
	node_machine=(-name kiln-node -nodefaults -no-user-config -display none
		-machine q35 "${node_processor[@]}" -smp "$node_processors" -m "${NODE_MEMORY_MIB:-7168}"
		-kernel "$NODE_DISK/vmlinuz" -initrd "$NODE_DISK/initrd.img"
		-append 'root=/dev/vda rw console=ttyS0 mitigations=off nowatchdog oops=panic module_blacklist=iTCO_wdt systemd.show_status=0'
		-device virtio-net-pci,netdev=n,romfile= -device virtio-rng-pci -device vmgenid,guid=auto
		-serial chardev:console -monitor stdio)
}

# node_qemu_on PORT DISK PAYLOAD [OPTION...]: in the background, with its ssh on this port of 127.0.0.1. What is written
# to $node/monitor is commands to QEMU.
node_qemu_on() {
	[ -p "$node/monitor" ] || mkfifo "$node/monitor"
	: >"$node/monitor.log"
	TMPDIR=$node "$node_program" "${node_machine[@]}" \
		-drive "file=$2,format=raw,if=virtio,cache=unsafe" \
		-drive "file=$3,format=raw,if=virtio,readonly=on" \
		-netdev "user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:$1-:22" \
		-chardev "file,id=console,path=$node/console" "${@:4}" \
		<>"$node/monitor" >"$node/monitor.log" 2>"$node/qemu.log" &
	node_qemu=$!
}

# node_end_at_panic: in the background, until this QEMU ends.
node_end_at_panic() {
	grep -q 'end Kernel panic' < <(tail -s 0.5 -n +1 --pid="$node_qemu" -f "$node/console" 2>/dev/null) &&
		kill "$node_qemu" 2>/dev/null
}

# What a kernel says of its end, and of what led there.
node_last_words='Kernel panic - not syncing|BUG: |Oops: |kernel BUG at|int3: |general protection fault'

# node_lost: why this node is of no use any more; false where it is, or was powered off.
node_lost() {
	local panic
	panic=$(tr -d '\r' <"$node/console" | grep -m 1 -oE 'Kernel panic - not syncing.*')
	if [ -n "$panic" ]; then
		echo "$panic"
	elif [ -n "$node_off" ]; then
		return 1
	elif ! node_runs; then
		echo "QEMU ended: $(tail -n 1 "$node/qemu.log")"
	elif ! timeout $((60 * TIME_FACTOR)) ssh -F "$node/ssh.conf" node true </dev/null >/dev/null 2>&1; then
		echo 'it does not answer'
	else
		return 1
	fi
}

# node_begin DISK PAYLOAD [OPTION...]: one that answers.
node_begin() {
	local try
	node_off=''
	for try in {1..20}; do
		node_port=$((20000 + RANDOM % 12000))
		: >"$node/console"
		node_qemu_on $node_port "$@"
		grep -qm 1 '^QEMU' < <(tail -s 0.1 -n +1 --pid="$node_qemu" -f "$node/monitor.log" 2>/dev/null)
		node_runs && break
		# Somebody else has the port.
		grep -q 'host forwarding' "$node/qemu.log" || break
	done
	node_runs || { node_fail "QEMU ended at try $try: $(tail -n 3 "$node/qemu.log")"; return 1; }
	node_end_at_panic &
	cat >"$node/ssh.conf" <<-END
		Host node
		HostName 127.0.0.1
		Port $node_port
		User root
		IdentityFile $NODE_DISK/key
		BatchMode yes
		StrictHostKeyChecking no
		UserKnownHostsFile /dev/null
		LogLevel ERROR
		ConnectTimeout 60
		ServerAliveInterval 60
		ServerAliveCountMax 10
		ControlMaster auto
		ControlPersist yes
		ControlPath $node/ssh
	END
	node_wait_up
}

# node_keep_booted: by emulation, the disk and the memory of one that has booted, in $node_booted, unless they are there.
# Two with as many processors differ in nothing that this is named after.
node_keep_booted() {
	local blank=$node/blank making
	describe_machine
	[ "$node_how" = 'by emulation' ] || return 0
	node_booted=$NODE_DISK/booted-$node_processors.$(printf '%s\n' "$node_program" "${node_machine[@]}" | sha256sum | cut -c1-16)
	[ ! -e "$node_booted" ] || return 0
	printf '  NODE    a boot, which is kept (once)\n'
	rm -rf "$NODE_DISK/booted-$node_processors".*
	making=$node_booted.making
	mkdir "$making" && cp --sparse=always "$NODE_DISK/disk.ext4" "$making/" && truncate -s $payload_size "$blank" || return 1
	node_begin "$making/disk.ext4" "$blank" || return 1
	# Nothing of the blank payload is to be remembered.
	node_run 'systemctl is-system-running --wait >/dev/null && modprobe -a vhost_vsock vhost_net && sync && blockdev --flushbufs /dev/vdb' ||
		{ node_fail "it did not boot whole: $(node_run 'systemctl --failed --plain --no-legend')"; return 1; }
	node_hang_up
	printf 'migrate file:%s\ninfo migrate\nquit\n' "$making/ram" >"$node/monitor"
	timeout $((60 * TIME_FACTOR)) tail -s 0.2 --pid="$node_qemu" -f /dev/null
	node_stop
	grep -q 'Migration status: completed\|^Status: *completed' "$node/monitor.log" ||
		{ node_fail "its memory could not be kept: $(tail -n 3 "$node/monitor.log" "$node/qemu.log")"; return 1; }
	mv "$making" "$node_booted"
}

# node_start: boots a new one and unpacks of the payload what $node_unpacks says to tar.
node_unpacks=(--exclude=./opt/kiln/debs)
node_start() {
	node_payload && node_keep_booted || return 1
	if [ -n "$node_booted" ]; then
		node_begin "$node_booted/disk.ext4,snapshot=on" "$payload" -incoming "file:$node_booted/ram"
	else
		node_begin "$NODE_DISK/disk.ext4,snapshot=on" "$payload"
	fi || return 1
	node_run "date -s @$(date +%s) >/dev/null && modprobe -a vhost_vsock vhost_net && tar -C / -xf /dev/vdb ${node_unpacks[*]} &&
		systemd-sysusers && systemctl daemon-reload" || node_fail 'the payload could not be unpacked'
}

# node_run COMMAND: in the node, as root; its status, 255 where the node does not answer.
node_run() { ssh -F "$node/ssh.conf" node "$@" </dev/null; }

# node_hang_up: the connection that node_run keeps.
node_hang_up() { ssh -F "$node/ssh.conf" -O exit node 2>/dev/null; }

# node_wait_up [OLD]: until a boot answers that is not OLD; its id is in $node_boot then.
node_wait_up() {
	local deadline=$((SECONDS + node_up_s * TIME_FACTOR))
	until node_boot=$(timeout 90 ssh -F "$node/ssh.conf" -o ControlMaster=no -o ControlPath=none node \
		cat /proc/sys/kernel/random/boot_id 2>/dev/null </dev/null) && [ "$node_boot" != "${1:-}" ]; do
		node_runs || { node_fail "QEMU ended: $(tail -n 3 "$node/qemu.log")"; return 1; }
		[ $SECONDS -lt $deadline ] || { node_fail 'it does not answer; the end of its console:'; return 1; }
		sleep 1
	done
}

node_reboot() {
	local old=$node_boot
	node_run 'systemctl reboot' || true
	node_hang_up
	node_wait_up "$old"
}

# node_power_off: false where it had to be killed.
node_power_off() {
	node_run 'systemctl poweroff' || true
	node_hang_up
	timeout $((120 * TIME_FACTOR)) tail -s 0.2 --pid="$node_qemu" -f /dev/null
	node_off=1
	! node_runs
}

# node_stop: by force.
node_stop() {
	[ -n "$node_qemu" ] || return 0
	node_hang_up
	kill "$node_qemu" 2>/dev/null
	wait "$node_qemu" 2>/dev/null
	node_qemu=''
}

node_cleanup() {
	trap - EXIT
	node_stop
	rm -rf "$node"
}
trap node_cleanup EXIT
trap 'exit 130' INT TERM
