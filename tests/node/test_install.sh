#!/bin/bash
# In a node where nothing of Kiln's is installed: the commands of docs/INSTALL.md, "Debian 12, from nothing to a pod", as
# they are there. The packages are made already, so the fourth is the first; what asks Kubernetes is asked of containerd
# as the kubelet does it. Docker's registry is one of the node's own.
. "$(dirname "$0")/../integration/lib.sh"
. "$(dirname "$0")/installed.sh"

readonly here=$tests/node page=$tests/../docs/INSTALL.md runtimeclass=$tests/../deploy/kubernetes/runtimeclass.yaml
readonly trusted=/usr/local/share/ca-certificates/registry.crt

# command N: with the lines that belong to it.
command_of() {
	awk -v wanted="$1" '
		/^## / { inside = /from nothing to a pod$/ }
		!sub(/^    /, "") { number = 0 }
		inside && match($0, / # [0-9]+( |$)/) { number = substr($0, RSTART + 3) + 0 }
		inside && number == wanted' "$page"
}

# by_the_page SECONDS N: in the folder that has kiln.
by_the_page() {
	local command
	command=$(command_of "$2")
	(cd "$work" && timeout "$1" bash -c "$command" </dev/null)
}

guest_release() { grep -aom1 'Linux version [0-9][^ ]*' /usr/share/kiln/vmlinux | cut -d ' ' -f 3; }

# serve_registry IMAGE.tar...: by the names of those that are asked for, with a certificate that the node trusts.
serve_registry() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=registry \
		-addext 'subjectAltName=DNS:registry-1.docker.io,DNS:registry.k8s.io' -keyout "$work/registry.key" -out "$trusted"
	update-ca-certificates
	echo '127.0.0.1 registry-1.docker.io registry.k8s.io' >>/etc/hosts
	systemd-run -q --unit=registry --collect "$here/registry.py" "$trusted" "$work/registry.key" "$@"
	until_true 30 curl -sf --max-time 10 -o /dev/null https://registry-1.docker.io/v2/
}

# The network of pods is the cluster's: a plugin of CNI, with a configuration.
network_of_pods() {
	mkdir -p /etc/cni/net.d
	jq -n '{cniVersion: "0.4.0", name: "pods", plugins: [{type: "bridge", bridge: "pods0", isGateway: true,
		ipam: {type: "host-local", ranges: [[{subnet: "10.88.0.0/16"}]], routes: [{dst: "0.0.0.0/0"}]}}]}' >/etc/cni/net.d/10-pods.conflist
}

to_mend() { ctl check --json | jq -r '.checks[] | select(.verdict == "mend") | "\(.name): \(.found)"'; }
verdict() { ctl check --json "$1" | jq -r '.checks[0].verdict'; }

test_the_page_has_ten_commands() {
	local n
	for n in {1..10}; do
		[ -n "$(command_of "$n")" ] || fail "there is no command $n"
	done
	expect '' "$(command_of 11)"
	expect 7 "$(command_of 8 | wc -l)" 'lines of the eighth'
}

# Modules too: whoever needs one has it loaded.
test_the_node_is_bare() {
	expect '' "$(dpkg-query -W 'kiln-*' 2>/dev/null || true)" packages
	expect '' "$(find /usr /etc /run /var/lib -xdev -name '*kiln*' -not -path '/var/lib/dpkg/*' 2>/dev/null)" files
	modprobe -r vhost_vsock vhost_net
}

test_the_packages_are_installed() {
	mkdir -p "$work/kiln/build/deb"
	cp "$tests"/../debs/kiln-*_amd64.deb "$work/kiln/build/deb/"
	by_the_page 300 4
	expect '4' "$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' 'kiln-*' | grep -c ' installed$')" packages
	expect active "$(systemctl is-active containerd)" containerd
}

test_the_factory_is_initialized() {
	expect_match 'vm factory initialized' "$(by_the_page 600 5)"
	expect_kvm
	expect '' "$(to_mend)" 'what kiln-ctl check finds'
}

test_the_image_is_pulled() {
	"$tests/busybox-root" "$work/root"
	"$tests/oci-image" docker.io/library/busybox:latest "$work/busybox.tar" "$work/root"
	"$tests/oci-image" registry.k8s.io/pause:3.6 "$work/pause.tar" "$work/root"
	serve_registry "$work/busybox.tar" "$work/pause.tar"
	by_the_page 120 6
}

test_a_container_says_the_guests_kernel() {
	[ "$(uname -r)" != "$(guest_release)" ] || fail 'the node has the same kernel'
	expect "$(guest_release)" "$(by_the_page 120 7)"
}

test_containerd_has_the_runtime() {
	by_the_page 60 8
	until_true 30 systemctl -q is-active containerd
	expect 'fine fine' "$(verdict containerd-runtime) $(verdict containerd-annotations)" 'what kiln-ctl check finds'
	expect '' "$(to_mend)" 'what else it finds'
}

# What the ninth and the tenth command have the kubelet ask for.
test_a_pod_says_the_guests_kernel() {
	local pod app
	expect kiln "$(sed -n 's/^handler: //p' "$runtimeclass")" 'the handler of the RuntimeClass'
	expect_match '--image=busybox .*"runtimeClassName": "kiln".* -- uname -r ' "$(command_of 10)"
	network_of_pods
	export CRI_SOCKET=/run/containerd/containerd.sock CRI_IMAGE=docker.io/library/busybox:latest CRI_CGROUP=/pods
	export CRI_LOGS=$work/logs CRI_COMMAND='uname -r'
	"$tests/integration/cri.py" pull busybox
	read -r pod app < <("$tests/integration/cri.py" run p1)
	until_true 60 ended "$pod" "$app"
	expect "$(guest_release)" "$(cut -d ' ' -f 4- "$CRI_LOGS/app.log")" 'its output'
	"$tests/integration/cri.py" remove "$pod"
}
ended() { [ "$("$tests/integration/cri.py" states "$@")" = '0 2 0' ]; }

run_tests "$@"
