# Pods' network namespaces, filled by real plugins of CNI's, which are called by hand. A test file sources this
# after lib.sh, in a network namespace that stands for the host's.

plugins=/usr/lib/cni
export PATH=$PATH:/usr/sbin

# cni COMMAND POD PLUGIN [IFNAME]: with the configuration on stdin
cni() {
	CNI_COMMAND=$1 CNI_CONTAINERID=$2 CNI_NETNS=$work/ns-$2 CNI_IFNAME=${4:-eth0} CNI_PATH=$plugins \
		timeout 20 "$plugins/$3"
}

# bridge_conf NAME MTU SUBNET...
bridge_conf() {
	jq -n --arg name "$1" --argjson mtu "$2" --arg data "$work/cni" '{
		cniVersion: "0.4.0", name: $name, type: "bridge", bridge: $name, isGateway: true, mtu: $mtu,
		ipam: { type: "host-local", dataDir: $data, ranges: [$ARGS.positional[] | [{ subnet: . }]],
			routes: [$ARGS.positional[] | { dst: (if test(":") then "::/0" else "0.0.0.0/0" end) }] }
	}' --args "${@:3}"
}

# add_interface POD IFNAME BRIDGE MTU SUBNET...: what CNI says is then in $work/POD.IFNAME
add_interface() {
	bridge_conf "${@:3}" | cni ADD "$1" bridge "$2" >"$work/$1.$2" || fail "CNI: $(<"$work/$1.$2")"
	until_true 10 has_addresses "$3"
}
# has_addresses LINK: while its own IPv6 address is tentative, the host talks to a pod with another link's, which
# none can answer.
has_addresses() { [ -z "$(ip -6 addr show dev "$1" tentative)" ]; }

# make_pod POD BRIDGE MTU SUBNET...: its namespace, with an eth0
make_pod() {
	: >"$work/ns-$1"
	unshare --net="$work/ns-$1" ip link set lo up
	add_interface "$1" eth0 "${@:2}"
}

# address POD [FAMILY]
address() { jq -r --arg family "${2:-4}" '[.ips[] | select(.version == $family)][0].address | sub("/.*"; "")' "$work/$1.eth0"; }

mac() { in_pod "$1" ip -j link show eth0 | jq -r '.[0].address'; }

in_pod() { nsenter --net="$work/ns-$1" "${@:2}"; }

# run_pod POD [CTR OPTIONS --] COMMAND...: a container in a pod's namespace, of the pod's name
run_pod() { kiln_run "$1" --with-ns "network:$work/ns-$1" "${@:2}"; }

# start_pod POD COMMAND...: in the background; `remove_container POD` ends it
start_pod() {
	ctr run -d --runtime io.containerd.kiln.v2 --with-ns "network:$work/ns-$1" "$image" "$1" "${@:2}" </dev/null
}

# expect_nothing_left POD: of ours, in its namespace; CNI's own is there
expect_nothing_left() {
	until_true 10 no_tap "$1"
	until_true 10 no_queue "$1" eth0
	in_pod "$1" ip link show eth0 >/dev/null || fail "eth0 is gone"
}
no_tap() { ! in_pod "$1" ip -o link | grep -q kiln; }
no_queue() { [ -z "$(in_pod "$1" tc qdisc show dev "$2" ingress)" ]; }

# inside POD COMMAND...
inside() { ctr tasks exec --exec-id "x$RANDOM$RANDOM" "$@"; }

# reaches POD INTERFACE ADDRESS: from the guest
reaches() { inside "$1" ping -q -c 1 -W 2 -I "$2" "$3" >/dev/null 2>&1; }

# ping_pod POD: from the host
ping_pod() { busybox ping -q -c 1 -W 10 "$(address "$1")" >/dev/null || fail "$1 does not answer"; }

# kill_shim_and_vmm: of the pod `shim` its shim, of the pod `vmm` its VMM; then both are removed.
kill_shim_and_vmm() {
	kill -9 "$(ctr tasks ls | awk '$1 == "vmm" { print $2 }')"
	kill -9 "$(pgrep -f "containerd-shim-kiln-v2.*-id shim .*$(basename "$work")|containerd-shim-kiln-v2.*$(basename "$work").*-id shim")"
	until_true 30 ctr containers delete shim
	remove_container vmm
}

# filled POD CARDS COMMAND: a container whose network an engine makes after its creation, with so many interfaces.
filled() {
	mkdir -p "$work/pods"
	[ -d "$work/root" ] || "$tests/busybox-root" "$work/root"
	cat >"$work/fill" <<-END
		#!/bin/sh -e
		for i in \$(seq $2); do
			echo '$(bridge_conf br0 1500 10.88.0.0/24 | jq -c .)' | CNI_COMMAND=ADD CNI_CONTAINERID=$1 \
				CNI_NETNS=\$1 CNI_IFNAME=eth\$i CNI_PATH=$plugins $plugins/bridge >/dev/null
		done
	END
	chmod 755 "$work/fill"
	SHIM_WORK=$work/pods SHIM_NAMESPACE=$(basename "$work") SHIM_BETWEEN=$work/fill timeout 200 \
		/usr/bin/python3 -B "$tests/integration/shim.py" run "$1" \
		"$(jq -nc --arg dir "$work/root" '[{type: "bind", source: $dir, options: ["rbind", "rw"]}]')" "$3" 2>"$work/filled.log"
}

modprobe -q vhost_net 2>/dev/null
has_vhost_net() { [ -e /sys/class/misc/vhost-net ] && [ -e /dev/vhost-net ] && [ "$(baked accelerator)" = kvm ]; }

# baked INPUT: of the template
baked() { factory_ctl inspect default --json | jq -r --arg name "$1" '.inputs[] | select(.name == $name).baked'; }

# has_vhost_nets POD CARDS: the VMM has a descriptor for each card, if the host has vhost-net and KVM, and uses them.
has_vhost_nets() {
	local pid want=0
	pid=$(factory_ctl list --json | jq -r --arg id "$1" '.vms[] | select(.sandbox_id == $id).pid')
	! has_vhost_net || want=$2
	expect "$want" "$(find "/proc/$pid/fd" -lname /dev/vhost-net | wc -l)" "descriptors of vhost-net of $1"
	! grep 'falling back on userspace virtio' "$work/factory.log" || fail "the VMM of $1 cannot use vhost-net"
}
