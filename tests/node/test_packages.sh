#!/bin/bash
# In a node where nothing of Kiln's is installed: its packages, as apt and systemd do what they say. A pod runs while
# they are upgraded, and while the older come back. The older have a template of their own.
. "$(dirname "$0")/../integration/lib.sh"
. "$(dirname "$0")/installed.sh"

packages='kiln-bench kiln-ctl kiln-factory kiln-guest kiln-shim'
older=0.0.1
newer=$(dpkg-deb -f /opt/kiln/debs/kiln-ctl_*_amd64.deb Version)
cri=io.kubernetes.cri

apt() { DEBIAN_FRONTEND=noninteractive timeout 120 apt-get -y -q --no-install-recommends "$@"; }

install_version() {
	apt --allow-downgrades install /opt/kiln/debs/*_"$1"[_.]*deb
	expect "$1" "$(dpkg-query -W -f '${Version}\n' $packages | sort -u)" 'versions'
}

# keep ID TYPE: a container of the pod, which runs until it is ended.
keep() {
	system_ctr run --detach --runtime io.containerd.kiln.v2 --annotation "$cri.sandbox-id=pod" \
		--annotation "$cri.container-type=$2" "$image" "$1" sleep 2147483647 </dev/null
}

# claimed KEY: of the machines that sandboxes have.
claimed() { ctl factory list --json | jq -r --arg key "$1" '.vms[]? | select(.state == "claimed")[$key]'; }
no_sandboxes() { [ -z "$(claimed pid)" ]; }
only_the_pod() { [ "$(claimed pid)" = "$(<"$work/machine")" ]; } # others' machines end a while after them
no_processes() { ! pgrep '^kiln-' >/dev/null && ! pgrep '^containerd-shi' >/dev/null; }
template() { ctl factory status --json | jq -r ".templates[0].$1"; }

# The pod's sandbox has no process of its own.
expect_pod_goes_on() {
	expect_match '^pod +[0-9]+ +RUNNING$' "$(system_ctr tasks list | grep '^pod ')" "the pod after $1"
	expect still "$(system_ctr tasks exec --exec-id "e$RANDOM" app echo still </dev/null)" "its container after $1"
	until_true 60 only_the_pod
}

test_the_older_packages_are_installed() {
	install_version $older
	expect 'active active active' "$(systemctl is-active kiln-factory.service kiln-factory.socket kiln-jailer.socket | xargs)"
	CTL_TIMEOUT=600 ctl factory init
	expect_kvm
}

test_a_pod_runs() {
	"$tests/busybox-image" "$work/busybox.tar"
	system_ctr images import "$work/busybox.tar" >/dev/null
	keep pod sandbox
	keep app container
	claimed pid >"$work/machine"
	template id >"$work/older-id"
	expect 1 "$(wc -l <"$work/machine")" 'machines of the pod'
	expect_pod_goes_on 'its start'
}

# Whoever wants a sandbox meanwhile has one. A bake may take longer here than a claim waits for it: who asks again then,
# as a kubelet does, has one.
containers_meanwhile() {
	local i said
	for ((i = 0; ; i++)); do
		[ -e "$work/meanwhile" ] || return 0
		if said=$(run_container "meanwhile-$i" echo hello 2>&1); then
			expect hello "$said"
			echo "$i"
		else
			expect_match 'was not answered within' "$said"
		fi
	done
}

test_an_upgrade_leaves_the_pod_alone() {
	local factory
	factory=$(main_pid kiln-factory)
	touch "$work/meanwhile"
	containers_meanwhile >"$work/containers" &
	install_version "$newer"
	rm "$work/meanwhile"
	wait $!
	[ -s "$work/containers" ] || fail 'no container ran meanwhile'
	[ "$(main_pid kiln-factory)" != "$factory" ] || fail 'the factory was not restarted'
	expect_pod_goes_on 'the upgrade'
}

# Of the newer definition: it was baked at the newer factory's start.
test_the_upgrade_has_the_newer_template() {
	CTL_TIMEOUT=600 ctl factory init
	[ "$(template id)" != "$(<"$work/older-id")" ] || fail 'it is the same template'
	expect '' "$(template stale)"
	expect "$(<"$work/older-id")" "$(claimed template_id)" "the pod's"
	expect hello "$(run_container c1 echo hello)"
	expect_pod_goes_on 'the bake'
}

# By the newer shim's `start` and the older shim that runs.
test_a_container_joins_the_pod() {
	keep late container
	expect here "$(system_ctr tasks exec --exec-id e1 late echo here </dev/null)"
	expect_pod_goes_on 'another container'
}

test_going_back_leaves_the_pod_alone() {
	install_version $older
	CTL_TIMEOUT=600 ctl factory init
	expect_pod_goes_on 'going back'
	expect hello "$(run_container c2 echo hello)"
}

test_the_pod_is_removed() {
	local id
	for id in late app pod; do
		system_ctr tasks delete --force $id >/dev/null
		system_ctr containers delete $id
	done
	until_true 60 no_sandboxes
}

test_a_purge_leaves_nothing() {
	apt purge $packages
	until_true 30 no_processes
	expect '' "$(pgrep -f 'qemu-system-x86_64 .*/run/kiln' || true)" 'machines'
	expect '' "$(find /run/kiln /var/lib/kiln /etc/kiln /etc/systemd /lib/systemd/system/kiln-* /usr/share/kiln /usr/lib/kiln \
		/sys/fs/cgroup -name '*kiln*' 2>/dev/null || true)" 'files, units and control groups'
	expect '' "$(systemctl list-units --all --plain --no-legend 'kiln-*' | cut -d ' ' -f 1)" 'units'
}

run_tests "$@"
