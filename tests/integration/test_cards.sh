#!/bin/bash
# Pods with more interfaces than cards wait in a machine, of which the template of this test has one: the others
# are plugged in. In a network namespace that stands for the host's.
[ -n "${KILN_TEST_HOST:-}" ] || exec env KILN_TEST_HOST=1 unshare --net bash "$0" "$@"
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/cni.sh"

# cards POD: how many the guest has
cards() { inside "$1" sh -c 'ls -d /sys/class/net/*/device | wc -l'; }

# same_mac POD INTERFACE: in the guest as in the namespace
same_mac() {
	expect_match "$(in_pod "$1" ip -j link show "$2" | jq -r '.[0].address')" "$(inside "$1" ip link show "$2")"
}

# is_reached POD.INTERFACE: from the host
is_reached() { busybox ping -q -c 1 -W 10 "$(jq -r '.ips[0].address | sub("/.*"; "")' "$work/$1")" >/dev/null; }

test_what_no_card_waits_for_is_plugged_in() {
	local name
	make_pod three br0 1500 10.88.0.0/24
	add_interface three eth2 br1 1400 10.99.0.0/24
	add_interface three eth1 br2 1500 10.77.0.0/24 fd00:77::/64
	start_pod three sleep 1000
	reaches three eth0 10.88.0.1 || fail 'out of the guest by eth0'
	reaches three eth2 10.99.0.1 || fail 'out of the guest by eth2'
	reaches three eth1 10.77.0.1 || fail 'out of the guest by eth1'
	until_true 30 reaches three eth1 fd00:77::1 # the bridge looks first whether its address is anybody else's
	for name in eth0 eth1 eth2; do
		same_mac three "$name"
		is_reached "three.$name" || fail "into the guest by $name"
	done
	expect_match 'eth2: .*mtu 1400' "$(inside three ip link show eth2)"
	expect 3 "$(cards three)"
	has_vhost_nets three 3
	# What comes later is, too; and what goes leaves its card for the next.
	add_interface three net3 br1 1400 10.99.0.0/24
	until_true 30 reaches three net3 10.99.0.1
	same_mac three net3
	bridge_conf br1 1400 10.99.0.0/24 | cni DEL three bridge net3
	add_interface three net4 br2 1500 10.77.0.0/24
	until_true 30 reaches three net4 10.77.0.1
	is_reached three.net4 || fail 'into the guest by net4'
	expect 4 "$(cards three)"
	reaches three eth2 10.99.0.1 || fail 'eth2 is not as it was'
	remove_container three
	expect_nothing_left three
}

test_a_sysctl_may_name_one() {
	make_pod named br0 1500 10.88.0.0/24
	add_interface named net1 br1 1400 10.99.0.0/24
	"$tests/busybox-root" "$work/root"
	ctr oci spec | jq --arg root "$work/root" --arg netns "$work/ns-named" '
		.root.path = $root | .root.readonly = false | .process.terminal = false
		| .process.args = ["cat", "/proc/sys/net/ipv4/conf/net1/forwarding"]
		| .linux.sysctl = { "net.ipv4.conf.net1.forwarding": "1" }
		| (.linux.namespaces[] | select(.type == "network")).path = $netns' >"$work/named.json"
	expect 1 "$(ctr run --rm --runtime io.containerd.kiln.v2 --config "$work/named.json" named </dev/null)"
}

# fill POD COUNT: interfaces net1, net2, ..., of which nobody is at the other end
fill() {
	local i
	for ((i = 1; i <= $2; i++)); do
		in_pod "$1" ip link add "net$i" type bridge
		in_pod "$1" ip link set "net$i" up
	done
}

test_there_is_a_most() {
	make_pod many br0 1500 10.88.0.0/24
	fill many 8
	expect_match 'interface net8 of the pod is one too many: a machine has 8 network cards at most' \
		"$(run_pod many -- true 2>&1)"
	in_pod many ip link del net8
	start_pod many sleep 1000
	expect 8 "$(cards many)"
	ping_pod many
	in_pod many ip link add late type bridge
	in_pod many ip link set late up
	until_true 30 grep -q 'no card for interface late: the machine has 8, and no machine can have more' "$work/containerd.log"
	ping_pod many # as before
	in_pod many ip link del net3
	until_true 30 eval 'inside many ip link show late 2>/dev/null | grep -q UP'
	remove_container many
	expect_nothing_left many
}

test_nothing_is_left_of_one_that_was_killed() {
	local victim
	for victim in shim vmm; do
		make_pod "$victim" br0 1500 10.88.0.0/24
		add_interface "$victim" net1 br1 1400 10.99.0.0/24
		start_pod "$victim" sleep 1000
		reaches "$victim" net1 10.99.0.1 || fail "$victim: out of the guest"
	done
	kill_shim_and_vmm
	for victim in shim vmm; do
		expect_nothing_left "$victim"
		until_true 10 no_queue "$victim" net1
	done
}

ip link set lo up
write_config 2 'del(.pool)'
start_factory
wait_full
start_containerd || exit 1
run_tests "$@"
