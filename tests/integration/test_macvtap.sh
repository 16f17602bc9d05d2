#!/bin/bash
# Pods whose interfaces are joined to their machines by macvtaps (internetworking_model). In a network namespace
# that stands for the host's.
[ -n "${KILN_TEST_HOST:-}" ] || exec env KILN_TEST_HOST=1 unshare --net bash "$0" "$@"
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/cni.sh"

# start_macvtap POD COMMAND...: in the background
start_macvtap() {
	ctr run -d --runtime io.containerd.kiln.v2 --runtime-config-path "$work/shim.json" --cap-add CAP_NET_ADMIN \
		--with-ns "network:$work/ns-$1" "$image" "$1" "${@:2}" </dev/null
}

# macvtaps POD: their names, hardware addresses and modes
macvtaps() { in_pod "$1" ip -j -d link show type macvtap | jq -r '.[] | "\(.ifname) \(.address) \(.linkinfo.info_data.mode)"'; }

test_pods_reach_each_other_and_the_host() {
	local pod bytes=$((8 << 20))
	for pod in a b; do
		make_pod $pod br0 9000 10.88.0.0/24 fd00:88::/64
		start_macvtap $pod sh -c "mkdir /www && head -c $bytes /dev/zero >/www/bytes && exec httpd -f -h /www"
	done
	expect "kiln1 $(mac a) passthru" "$(macvtaps a)"
	expect '' "$(in_pod a tc qdisc show dev eth0 ingress)" 'a queue at eth0'
	expect_match "eth0: .*mtu 9000 .*$(mac a)" "$(inside a ip link show eth0 | xargs)"
	until_true 10 eval 'curl -sf -m 20 -o /dev/null "http://$(address a)/bytes"'
	expect $bytes "$(curl -s -m 60 "http://$(address a)/bytes" | wc -c)" 'bytes to the host'
	expect $bytes "$(curl -s -m 60 "http://[$(address a 6)]/bytes" | wc -c)" 'bytes to the host by IPv6'
	expect_match ' 0% packet loss' "$(inside a ping -c 3 -W 10 -s 8972 10.88.0.1)"
	expect_match ' 0% packet loss' "$(inside a ping -c 3 -W 10 -s 8972 "$(address b)")"
	expect_match ' 0% packet loss' "$(inside b ping -c 3 -W 10 "$(address a 6)")"
	expect $bytes "$(inside b sh -c "wget -q -O - http://$(address a)/bytes | wc -c")" 'bytes to a pod'
	ping_pod a
	expect 0 "$(in_pod a cat /proc/net/snmp | awk '/^Icmp:/ && $2 ~ /[0-9]/ { print $2 }')" 'ICMP to the namespace'
	# Who asks for an address that the guest alone has, asks a group.
	inside a ip -6 addr add fd00:88::aaaa/64 dev eth0
	busybox ping -6 -q -c 1 -W 10 fd00:88::aaaa >/dev/null || fail 'what is for a group does not reach the guest'
	remove_container a
	remove_container b
	expect_nothing_left a
}

test_what_comes_later_has_one_of_its_own() {
	make_pod late br0 1500 10.88.0.0/24
	add_interface late net1 br1 1400 10.99.0.0/24
	start_macvtap late sleep 1000
	reaches late eth0 10.88.0.1 || fail 'by eth0'
	reaches late net1 10.99.0.1 || fail 'by net1'
	bridge_conf br1 1400 10.99.0.0/24 | cni DEL late bridge net1
	add_interface late net2 br2 1500 10.77.0.0/24
	until_true 30 reaches late net2 10.77.0.1
	add_interface late net1 br1 1400 10.99.0.0/24 # whose name a card of the guest's has already
	until_true 30 reaches late net1 10.99.0.1
	expect 'kiln1 kiln3 kiln4' "$(macvtaps late | cut -d ' ' -f 1 | sort | xargs)"
	ping_pod late
	remove_container late
	expect_nothing_left late
}

test_an_engine_makes_the_network_between_create_and_start() {
	expect_match '^3 .*Connection refused' "$(SHIM_CONFIG=$work/shim.json filled made 2 \
		'ip -o link | grep -c UP; nc -w 10 10.88.0.1 9 </dev/null 2>&1' | tr '\n' ' ')" # the bridge answers
}

test_nothing_is_left_of_one_that_was_killed() {
	local victim
	for victim in shim vmm; do
		make_pod "$victim" br0 1500 10.88.0.0/24
		start_macvtap "$victim" sleep 1000
		ping_pod "$victim"
	done
	kill_shim_and_vmm
	for victim in shim vmm; do
		expect_nothing_left "$victim"
		start_macvtap "$victim" sleep 1000 # in what is left of the pod's namespace
		ping_pod "$victim"
		remove_container "$victim"
	done
}

test_refused() {
	local conf
	make_pod one br0 1500 10.88.0.0/24
	start_macvtap one sleep 1000
	expect_match "another machine is in the network namespace $work/ns-one" \
		"$(kiln_run second --with-ns "network:$work/ns-one" -- true 2>&1)"
	ping_pod one # the first is as it was
	remove_container one
	conf='{ "cniVersion": "0.4.0", "name": "m", "type": "macvlan", "master": "br0", "ipam": {} }'
	: >"$work/ns-own"
	unshare --net="$work/ns-own" ip link set lo up
	cni ADD own macvlan <<<"$conf" >/dev/null
	expect_match 'internetworking_model tcfilter can join it' "$(start_macvtap own true 2>&1)"
	ctr containers delete own 2>/dev/null || true
	expect '' "$(macvtaps own)"
	expect_match 'annotation io.kiln.internetworking_model is not allowed here' \
		"$(kiln_run free --annotation io.kiln.internetworking_model=macvtap -- true 2>&1)"
}

ip link set lo up
ip link add under type bridge
if ! ip link add link under name probe type macvtap 2>/dev/null; then
	echo 'skip: this kernel has no macvtap'
	exit 0
fi
ip link del under
echo '{"internetworking_model": "macvtap"}' >"$work/shim.json"
write_config 2 'del(.pool)'
start_factory
wait_full
start_containerd || exit 1
run_tests "$@"
