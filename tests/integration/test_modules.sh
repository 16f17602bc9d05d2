#!/bin/bash
# Modules of the guest's kernel, which it loads when a container asks for what they bring (agent/modules.h).
. "$(dirname "$0")/lib.sh"

net_image=docker.io/kiln/firewall:test

# root_image IMAGE: its files, below $work/root.
root_image() {
	rm -rf "$work/root"
	fsck.erofs --extract="$work/root" "$1" >"$work/fsck.log" 2>&1 || fail "fsck.erofs: $(cat "$work/fsck.log")"
	modules=$work/root/lib/modules/kiln
}

# by_net_admin ID COMMAND: of a container of the image with iptables that may set up its network.
by_net_admin() { ctr run --rm --runtime io.containerd.kiln.v2 --cap-add CAP_NET_ADMIN "$net_image" "$1" sh -ec "$2" 2>&1; }

test_the_image_has_what_its_table_names() {
	local name files
	root_image "$BUILD/image/rootfs.erofs"
	grep -q '^dummy dummy.ko:numdummies=0$' "$modules/aliases" || fail 'no line of dummy'
	for name in tun veth macvlan ipvlan vxlan 8021q br_netfilter wireguard sctp loop nfs nfsv3 nfsv4 \
		ip_tables ip6_tables iptable_nat ip6table_filter nf_tables nft_chain_nat nft_compat nf_conntrack xt_REDIRECT \
		xt_owner xt_conntrack ip_set ip_vs; do
		grep -q "^$name .*\b$name.ko\$" "$modules/aliases" || fail "no line of $name"
	done
	files=$(cut -d ' ' -f 2- "$modules/aliases" | tr ' ' '\n' | sed 's/:.*//' | sort -u)
	expect '' "$(for name in $files; do
		[ -s "$modules/$name" ] || echo "$name"
	done)" 'files that are named and not there'
	expect '' "$(grep -xF "$files" "$modules/load")" 'files of both lists'
	expect kiln-agent "$(readlink "$work/root/sbin/modprobe")"
}

# Nothing but what the list and the initramfs have.
test_a_container_that_asks_for_none_has_none() {
	local demand
	root_image "$BUILD/image/rootfs.erofs"
	demand=$(sed -n 's/.* \(.*\)\.ko[^ ]*$/\1/p' "$modules/aliases" | sort -u)
	expect '' "$(kiln_run m1 cut -d ' ' -f 1 /proc/modules | grep -xF "$demand" | xargs)"
}

test_tunnels() {
	expect tap7 "$(kiln_run m2 --cap-add CAP_NET_ADMIN --device /dev/net/tun -- sh -ec \
		'tunctl -t tap7 >/dev/null && ls /sys/class/net | grep tap')"
}

test_interfaces() {
	expect 'dummy0 i0 l0 m0 v0 v1 wg0 x0' "$(by_net_admin m3 '
		alias ip=/bin/ip # busybox has one of its own in the shell
		ip link add dummy0 type dummy
		ip link add v0 type veth peer name v1
		ip link add link dummy0 name l0 type vlan id 5
		ip link add link dummy0 name m0 type macvlan
		ip link add link v0 name i0 type ipvlan
		ip link add wg0 type wireguard
		ip link add x0 type vxlan id 7 dstport 4789
		ls /sys/class/net | grep -v -e ^lo -e ^eth | xargs')"
}

# As the programs do that lead a pod's traffic to a proxy beside it.
rules='
	$tables -t nat -N PROXY
	$tables -t nat -A PROXY -m owner --uid-owner 1337 -j RETURN
	$tables -t nat -A PROXY -p tcp -m multiport --dports 80,443 -m comment --comment web -j REDIRECT --to-ports 15001
	$tables -t nat -A OUTPUT -m conntrack --ctstate NEW -j PROXY
	$tables -t mangle -A PREROUTING -j MARK --set-mark 1
	$tables -A INPUT -m addrtype --dst-type LOCAL -m limit --limit 5/s -j ACCEPT
	$tables -t nat -S PROXY'
made='-N PROXY
-A PROXY -m owner --uid-owner 1337 -j RETURN
-A PROXY -p tcp -m multiport --dports 80,443 -m comment --comment web -j REDIRECT --to-ports 15001'

test_iptables_legacy() {
	expect "$made" "$(by_net_admin m4 "tables=iptables-legacy; $rules")"
	expect "$made" "$(by_net_admin m5 "tables=ip6tables-legacy; $rules")"
}

test_iptables_by_nftables() {
	expect "$made" "$(by_net_admin m6 "tables=iptables-nft; $rules")"
	expect "$made" "$(by_net_admin m7 "tables=ip6tables-nft; $rules")"
}

# The rule, and what it does.
test_a_rule_redirects() {
	expect hello "$(by_net_admin m8 '
		iptables-legacy -t nat -A OUTPUT -p tcp --dport 80 -j REDIRECT --to-ports 8080
		mkdir /www; echo hello >/www/index.html; httpd -p 127.0.0.1:8080 -h /www
		wget -q -O - http://127.0.0.1:80/')"
}

test_a_file_as_a_disk() {
	truncate -s 4M "$work/disk" && mke2fs -q "$work/disk"
	expect content "$(kiln_run m10 --privileged --mount "type=bind,src=$work,dst=/work,options=rbind:ro" -- sh -ec '
		[ -c /dev/loop-control ] || mknod /dev/loop-control c 10 237 # where the host has none
		[ -b /dev/loop0 ] || mknod /dev/loop0 b 7 0
		cp /work/disk /disk; mkdir /m
		mount -o loop /disk /m; echo content >/m/file; umount /m
		mount -o loop /disk /m; cat /m/file')"
}

test_sctp() {
	expect ok "$(ctr run --rm --runtime io.containerd.kiln.v2 "$net_image" m11 socket_of 2 1 132)"
	expect ok "$(ctr run --rm --runtime io.containerd.kiln.v2 "$net_image" m12 socket_of 10 5 132)"
}

# Names that no module has, many at a time, and names that are paths and patterns.
test_what_there_is_no_module_for() {
	expect $'Protocol not supported\nup' "$(by_net_admin m13 'socket_of 2 1 140 60 || true; echo up')"
	expect $'Address family not supported by protocol\nup' "$(by_net_admin m14 'socket_of 9 5 0 60 || true; echo up')"
	expect $'none\nnone\nnone\nup' "$(by_net_admin m15 '
		for name in "../tun" "*" "v*"; do ip link add n0 type "$name" 2>/dev/null || echo none; done
		echo up')"
}

# As docs/SECURITY.md has it for who wants none. The agent's own are there.
test_a_template_may_have_none_loaded() {
	start_empty_factory none always '.kernel_params += " sysctl.kernel.modprobe=/none"'
	factory_ctl init --socket "$store/none-run/factory.sock" >/dev/null
	jq -n --arg factory "unix://$store/none-run/factory.sock" '{$factory}' >"$work/none.json"
	expect $'Protocol not supported\nip_tables' "$(ctr run --rm --runtime io.containerd.kiln.v2 \
		--runtime-config-path "$work/none.json" --cap-add CAP_NET_ADMIN "$net_image" m16 \
		sh -c 'socket_of 2 1 132; cut -d " " -f 1 /proc/modules | grep -x -e ip_tables -e sctp')"
}

# Those that an image of one's own has besides, and one that the kernel does not have.
test_other_modules() {
	local build=("$tests/../templates/build-image" --agent "$BUILD/kiln-agent" --init "$BUILD/kiln-init"
		--program "$BUILD/rehearsal-program" --kernel "$BUILD/image/vmlinux"
		--modules "$(echo "$BUILD"/kernel/debian-*/lib/modules/*)" --out "$work/made")
	expect_match 'no module nonesuch' "$("${build[@]}" --extra nonesuch 2>&1 || true)"
	"${build[@]}" --extra 'xfrm-user ifb' >/dev/null
	root_image "$work/made/rootfs.erofs"
	expect 'net_pf_16_proto_6 xfrm_algo.ko xfrm_user.ko' "$(grep '^net_pf_16_proto_6 ' "$modules/aliases")"
	expect 'rtnl_link_ifb ifb.ko:numifbs=0' "$(grep '^rtnl_link_ifb ' "$modules/aliases")"
	rm -r "$work/made"
}

# make_image FOLDER: busybox, Debian's iptables of both kinds and ip, and socket_of.
make_image() {
	local name programs=(/usr/sbin/xtables-{legacy,nft}-multi /usr/lib/x86_64-linux-gnu/xtables/lib*.so)
	mkdir -p "$1"/{bin,run}
	cp --parents -L "${programs[@]}" "$1"
	cp -L "$(command -v ip)" "$1/bin/ip"
	ldd "${programs[@]}" "$1/bin/ip" | sed -nE 's|.*[[:blank:]](/[^ ]+) \(0x.*|\1|p' | sort -u |
		xargs cp --parents -Lu -t "$1"
	for name in iptables ip6tables; do
		ln -s /usr/sbin/xtables-legacy-multi "$1/bin/$name-legacy"
		ln -s /usr/sbin/xtables-nft-multi "$1/bin/$name-nft"
	done
	gcc -O2 -static -o "$1/bin/socket_of" "$tests/integration/socket_of.c"
	"$tests/busybox-root" "$1"
}

write_config 2
start_factory
start_containerd
make_image "$work/firewall" && "$tests/oci-image" "$net_image" "$work/firewall.tar" "$work/firewall" &&
	ctr images import "$work/firewall.tar" >/dev/null || exit 1
wait_full
run_tests "$@"
