#!/bin/bash
# Pods with a network of CNI's: real plugins, called by hand in a network namespace that stands for the
# host's, whose interfaces and routes are not touched.
[ -n "${KILN_TEST_HOST:-}" ] || exec env KILN_TEST_HOST=1 unshare --net bash "$0" "$@"
. "$(dirname "$0")/lib.sh"

. "$(dirname "$0")/cni.sh"

# Static busybox cannot look names up, and its wget tries to.
web='mkdir -p /www && echo hello from $HOSTNAME >/www/index.html && exec httpd -f -h /www'
get() { printf 'printf "GET / HTTP/1.0\\r\\n\\r\\n" | nc %s %s' "$1" "${2:-80}"; }

# Where the host has control groups v2, ctr knows statistics of the network since 2.2.
ctr_shows_network() {
	[ ! -e /sys/fs/cgroup/cgroup.controllers ] || ! "$CONTAINERD_DIR/ctr" --version | grep -qE ' v?(1|2\.[01])\.'
}

test_pods_reach_each_other_and_the_host() {
	make_pod a br0 1500 10.88.0.0/24
	make_pod b br0 1500 10.88.0.0/24
	start_pod a sh -c "$web"
	until_true 10 curl -sf -m 2 "http://$(address a)/"
	expect 'hello from a' "$(curl -s -m 5 "http://$(address a)/")" 'from the host'
	expect_match 'hello from a' "$(run_pod b -- sh -c "$(get "$(address a)")")"
	expect_nothing_left b
	# The namespace itself says nothing: what it sent would show at its interface.
	expect_match "$(mac a)" "$(ctr tasks exec --exec-id x a ip link show eth0)"
	expect 0 "$(in_pod a cat /proc/net/snmp | awk '/^Icmp:/ && $2 ~ /[0-9]/ { print $2 }')" 'ICMP to the namespace'
	ping_pod a
	! ctr_shows_network || expect_match '^eth0 [0-9]{3,} [0-9]{3,}$' "$(ctr tasks metrics --format json a |
		jq -r '.. | objects | .network?[]? | "\(.name) \(.rx_bytes) \(.tx_bytes)"')" 'statistics of the network'
	expect 0 "$(in_pod a cat /proc/net/snmp | awk '/^Icmp:/ && $2 ~ /[0-9]/ { print $2 }')" 'ICMP to the namespace'
	expect_match "$(mac a)" "$(ip neigh show "$(address a)")"
	remove_container a
	expect_nothing_left a
}

# The template, too: a guest's driver has agreed to what its card could do when it was frozen.
test_the_hosts_kernel_moves_packets_where_it_can() {
	local word=no
	! has_vhost_net || word=yes
	expect $word "$(baked vhost_net)" 'the template'
	make_pod vhost br0 1500 10.88.0.0/24
	start_pod vhost sh -c "dd if=/dev/urandom of=/big bs=1M count=8; mkdir /www; mv /big /www; exec httpd -f -h /www"
	until_true 60 curl -sf -m 20 -o "$work/big" "http://$(address vhost)/big"
	expect "$(sha256sum <"$work/big")" "$(inside vhost sh -c 'sha256sum </www/big')" 'what came out of the guest'
	has_vhost_nets vhost "$(baked network_cards)"
	remove_container vhost
	expect_nothing_left vhost
}

# asked_from_beside POD: one echo request for 127.0.0.1, framed to the pod; who answers it.
asked_from_beside() {
	timeout 20 python3 - "$(mac "$1")" <<-'END'
		import socket, struct, sys
		def check(data):
		    total = sum(struct.unpack(f">{len(data) // 2}H", data))
		    total = (total >> 16) + (total & 0xFFFF)
		    return ~(total + (total >> 16)) & 0xFFFF
		s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
		s.bind(("br0", 0))
		s.settimeout(2)
		ours, theirs = s.getsockname()[4], bytes.fromhex(sys.argv[1].replace(":", ""))
		echo = struct.pack(">BBHHH", 8, 0, 0, 1, 1)
		echo = echo[:2] + struct.pack(">H", check(echo)) + echo[4:]
		ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 28, 1, 0, 64, 1, 0, bytes([10, 88, 0, 1]), bytes([127, 0, 0, 1]))
		ip = ip[:10] + struct.pack(">H", check(ip)) + ip[12:]
		s.send(theirs + ours + b"\x08\x00" + ip + echo)
		try:
		    while True:
		        frame = s.recv(2000)
		        if frame[23] == 1 and frame[34] == 0:
		            print(socket.inet_ntoa(frame[26:30]))
		            break
		except TimeoutError:
		    print("nobody")
	END
}

# As containerd has it to forward a port, and nobody else.
test_the_loopback_of_a_pod_is_the_guests() {
	make_pod local br0 1500 10.88.0.0/24
	in_pod local ip link set lo up
	start_pod local sh -c "mkdir -p /www && echo hello >/www/index.html; httpd -h /www -p 127.0.0.1:8080; exec httpd -f -h /www"
	until_true 10 curl -sf -m 2 -o /dev/null "http://$(address local)/"
	expect hello "$(in_pod local curl -s -m 5 http://127.0.0.1/)" 'what listens everywhere'
	expect hello "$(in_pod local curl -s -m 5 http://127.0.0.1:8080/)" 'what listens there only'
	expect nobody "$(asked_from_beside local)" 'who answers a stranger'
	in_pod local tc filter del dev eth0 ingress prio 27496 # and that is why
	expect 127.0.0.1 "$(asked_from_beside local)" 'who would answer a stranger'
	remove_container local
	expect_nothing_left local
	in_pod local busybox ping -q -c 1 -W 2 127.0.0.1 >/dev/null || fail 'the namespace has no loopback any more'
}

test_a_port_of_the_host_leads_to_a_pod() {
	make_pod port br0 1500 10.88.0.0/24
	jq '{ cniVersion: "0.4.0", name: "br0", type: "portmap", capabilities: { portMappings: true }, prevResult: .,
	      runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] } }' \
		"$work/port.eth0" | cni ADD port portmap >/dev/null
	start_pod port sh -c "$web"
	until_true 10 curl -sf -m 2 "http://$(address port)/"
	# From beside the host, for portmap leaves its own loopback alone.
	make_pod c br1 1500 10.99.0.0/24
	expect 'hello from port' "$(in_pod c curl -s -m 5 http://10.99.0.1:8080/)" 'by the port'
	remove_container port
}

test_names_are_looked_up_where_the_pod_says() {
	make_pod dns br0 1500 10.88.0.0/24
	python3 - <<-'END' &
		import socket
		s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		s.bind(("10.88.0.1", 53))
		while True:
		    q, peer = s.recvfrom(512)
		    answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\x07"
		    is_a = q[-4:-2] == b"\0\1"
		    s.sendto(q[:2] + b"\x81\x80" + q[4:6] + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0" + q[12:]
		             + (answer if is_a else b""), peer)
	END
	server=$!
	until_true 10 grep -q ":0035 " /proc/net/udp
	echo 'nameserver 10.88.0.1' >"$work/resolv.conf"
	expect_match 192.0.2.7 "$(run_pod dns --mount \
		"type=bind,src=$work/resolv.conf,dst=/etc/resolv.conf,options=rbind:ro" -- nslookup kiln.test)"
	kill "$server"
}

test_what_cni_gave_is_what_the_guest_has() {
	local mtu
	for mtu in 1450 9000; do
		make_pod "m$mtu" "br$mtu" "$mtu" "10.$((mtu / 100)).0.0/24"
		in_pod "m$mtu" ip route add 10.200.0.0/16 via 192.0.2.1 dev eth0 onlink metric 50 mtu lock 1400
		in_pod "m$mtu" ip neigh add 192.0.2.1 lladdr 02:00:00:00:00:09 dev eth0 nud permanent
		expect_match "mtu $mtu .*10.200.0.0/16 via 192.0.2.1 dev eth0 .*metric 50.*00 packets received.*2:00:00:00:00:09" "$(
			run_pod "m$mtu" -- sh -c "ip link show eth0; ip route; ping -q -i 0.01 -c 100 -s $((mtu - 28)) -w 20 10.$((mtu / 100)).0.1
				ip neigh" | tr '\n' ' ')"
	done
}

test_ipv6_alone_and_beside_ipv4() {
	make_pod six br6 1500 fd00:6::/64
	make_pod both br46 1500 10.46.0.0/24 fd00:46::/64
	# At once: nobody else has the address.
	expect_match "$(address six 6)/64.* 0% packet loss" "$(run_pod six -- sh -c \
		'ip -6 addr show dev eth0; ip addr | grep -q tentative && echo tentative; ping -c 1 -W 10 fd00:6::1' | tr '\n' ' ')"
	start_pod both sh -c "$web"
	until_true 10 curl -sf -m 2 "http://[$(address both 6)]/"
	expect 'hello from both' "$(curl -s -m 5 "http://$(address both)/")" 'by IPv4'
	remove_container both
}

# The template of this test has two cards.
test_as_many_interfaces_as_cards() {
	make_pod two br0 1500 10.88.0.0/24
	add_interface two net1 br1 1400 10.99.0.0/24
	expect_match 'eth0: .*mtu 1500.*net1: .*mtu 1400.* 0% packet loss' "$(
		run_pod two -- sh -c 'ip link; ping -c 1 -W 10 -I net1 10.99.0.1' | tr '\n' ' ')"
	expect_nothing_left two
}

test_what_comes_later_is_joined() {
	make_pod late br0 1500 10.88.0.0/24
	start_pod late sleep 1000
	add_interface late net1 br1 1400 10.99.0.0/24
	until_true 30 reaches late net1 10.99.0.1
	expect_match 'net1: .*mtu 1400' "$(inside late ip link show net1)"
	expect_match "$(mac late)" "$(inside late ip link show eth0)"
	reaches late eth0 10.88.0.1 || fail 'eth0 is not as it was'
	in_pod late ip addr add 10.88.7.7/16 dev eth0
	until_true 30 eval 'inside late ip addr show eth0 | grep -q 10.88.7.7/16'
	bridge_conf br1 1400 10.99.0.0/24 | cni DEL late bridge net1
	add_interface late net2 br2 1500 10.77.0.0/24 # on the card of the one that is gone
	until_true 30 reaches late net2 10.77.0.1
	remove_container late
	expect_nothing_left late
}

test_refused() {
	local host="$work/host-ns" vmm task
	expect_match "the host's network" "$(kiln_run nethost --net-host -- true 2>&1)"
	: >"$host" && mount --bind /proc/self/ns/net "$host"
	expect_match "is the host's network namespace" "$(kiln_run nspath --with-ns "network:$host" -- true 2>&1)"
	ctr run -d --runtime io.containerd.kiln.v2 "$image" other sleep 1000
	vmm=$(factory_ctl list --json | jq '.vms[] | select(.sandbox_id == "other").pid')
	expect_match "is another machine's" "$(kiln_run nsother --with-ns "network:/proc/$vmm/ns/net" -- true 2>&1)"
	task=$(ctr tasks ls | awk '$1 == "other" { print $2 }')
	expect_match "is another machine's" "$(kiln_run nstask --with-ns "network:/proc/$task/ns/net" -- true 2>&1)"
	remove_container other
	expect_match 'is no network namespace' "$(kiln_run nsfile --with-ns "network:/proc/self/ns/mnt" -- true 2>&1)"
	make_pod one br0 1500 10.88.0.0/24
	start_pod one sleep 100
	expect_match "another machine is in the network namespace $work/ns-one" \
		"$(kiln_run second --with-ns "network:$work/ns-one" -- true 2>&1)"
	ping_pod one # the first is as it was
	remove_container one
}

test_without_a_namespace_of_cni_there_is_a_loopback() {
	expect '1: lo: <LOOPBACK,UP,LOWER_UP> 2: eth0: <BROADCAST,MULTICAST> 3: eth1: <BROADCAST,MULTICAST>' \
		"$(kiln_run alone ip link | grep -o '^.*>' | tr '\n' ' ' | sed 's/ $//')"
}

test_nothing_is_left_of_a_shim_that_was_killed() {
	local shim
	make_pod dead br0 1500 10.88.0.0/24
	start_pod dead sleep 100
	ping_pod dead
	shim=$(pgrep -f "containerd-shim-kiln-v2.*-id dead .*$(basename "$work")|containerd-shim-kiln-v2.*$(basename "$work").*-id dead")
	kill -9 $shim
	wait_gone "$shim"
	until_true 30 ctr containers delete dead
	expect_nothing_left dead
	# What comes after it works.
	expect_match ' 0% packet loss' "$(run_pod dead -- ping -c 1 -W 10 10.88.0.1)"
}

# hooked_spec FILTER: a spec as nerdctl makes it for a bridge: no path of a namespace, a hook that makes it.
# $work/hook notes what it was called with, and makes the network of the pod `hooked` by CNI.
hooked_spec() {
	cat >"$work/hook" <<-END
		#!/bin/sh -e
		state=\$(cat)
		echo "\$1 \$(echo "\$state" | jq -r '.id + " " + .status')" >>$work/hooks.log
		case \$1 in
		create) export CNI_NETNS=/proc/\$(echo "\$state" | jq .pid)/ns/net
			bridge_conf='$(bridge_conf br0 1500 10.88.0.0/24 | jq -c .)'
			echo "\$bridge_conf" | CNI_COMMAND=ADD CNI_CONTAINERID=hooked CNI_IFNAME=eth0 CNI_PATH=$plugins \
				$plugins/bridge >$work/hooked.eth0 ;;
		hang) sleep 60 ;;
		fail) echo no network today >&2; exit 3 ;;
		esac
	END
	chmod 755 "$work/hook"
	[ -d "$work/root" ] || "$tests/busybox-root" "$work/root"
	ctr oci spec | jq --arg hook "$work/hook" --arg root "$work/root" '
		def hook($word): { path: $hook, args: ["hook", $word], env: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
			timeout: (if $word == "hang" then 2 else 60 end) };
		.root.path = $root | .root.readonly = false | .process.args = ["sleep", "100"] | .process.terminal = false
		| '"$1" >"$work/hooked.json"
}

start_hooked() { ctr run -d --runtime io.containerd.kiln.v2 --config "$work/hooked.json" "$1" </dev/null; }

# As Docker from 23 on does.
test_an_engine_makes_the_network_between_create_and_start() {
	expect_match 'Connection refused' "$(filled made 1 'nc -w 10 10.88.0.1 9 </dev/null 2>&1')" # the bridge answers
	expect '4' "$(filled more 3 'ip -o link | wc -l')" # a loopback, and a card that was plugged in
	expect_match 'there is no card for interface eth9: the machine has 8' "$(filled many 9 true)"
}

test_hooks_make_the_network() {
	hooked_spec '.hooks = { createRuntime: [hook("create")], poststart: [hook("started")], poststop: [hook("stopped")] }'
	start_hooked hooked
	ping_pod hooked
	remove_container hooked
	expect 'create hooked creating started hooked running stopped hooked stopped' "$(xargs <"$work/hooks.log")"
	: >"$work/hooks.log"
	hooked_spec '.hooks = { prestart: [hook("fail")], poststop: [hook("stopped")] }'
	expect_match 'hook failed with status 3: no network today' "$(start_hooked failing 2>&1)"
	until_true 10 grep -q 'stopped failing' "$work/hooks.log"
	hooked_spec '.hooks = { createRuntime: [hook("hang")] }'
	expect_match 'did not end within its 2 s' "$(start_hooked hanging 2>&1)"
}

ip link set lo up
write_config 2 'del(.pool) | .network_cards = 2'
start_factory
wait_full
start_containerd || exit 1
run_tests "$@"
