#!/bin/bash
# No two clones are the same machine: random numbers, boot id, machine id, host name, hardware
# address, VMGENID; and the clock of a sandbox is the host's.
. "$(dirname "$0")/lib.sh"

CLOCK_LIMIT_MS=100
PARKED_FOR_S=5 # how long a clone has waited when its clock is looked at

# An image that asks for the machine's id: an empty file in its place.
import_image_with_empty_machine_id() {
	local dir=$work/machine-id-image layer
	mkdir -p "$dir/oci" "$dir/extra/etc"
	tar -C "$dir/oci" -xf "$work/busybox.tar"
	: >"$dir/extra/etc/machine-id"
	tar -C "$dir/extra" --owner=0 --group=0 -cf "$dir/layer" etc/machine-id
	layer=$(put_blob "$dir/layer")
	local index=$dir/oci/index.json manifest config old
	old=$(jq -r '.manifests[0].digest[7:]' "$index")
	manifest=$dir/oci/blobs/sha256/$old
	config=$dir/oci/blobs/sha256/$(jq -r '.config.digest[7:]' "$manifest")
	jq --arg d "sha256:${layer% *}" '.rootfs.diff_ids += [$d]' "$config" >"$dir/config"
	config=$(put_blob "$dir/config")
	jq --arg c "sha256:${config% *}" --argjson cs "${config#* }" \
		--arg l "sha256:${layer% *}" --argjson ls "${layer#* }" \
		'.config.digest = $c | .config.size = $cs | .layers += [{
			mediaType: "application/vnd.oci.image.layer.v1.tar", digest: $l, size: $ls }]' \
		"$manifest" >"$dir/manifest"
	manifest=$(put_blob "$dir/manifest")
	jq --arg m "sha256:${manifest% *}" --argjson ms "${manifest#* }" --arg name "$1" \
		'.manifests[0] |= (.digest = $m | .size = $ms
			| .annotations["io.containerd.image.name"] = $name)' "$index" >"$dir/index"
	mv "$dir/index" "$index"
	tar -C "$dir/oci" -cf "$dir/image.tar" .
	ctr images import "$dir/image.tar" >/dev/null
}

# put_blob FILE: copies it among the blobs; prints its digest and size.
put_blob() {
	local digest
	digest=$(sha256sum <"$1" | cut -d' ' -f1)
	cp "$1" "$work/machine-id-image/oci/blobs/sha256/$digest"
	stat -c "$digest %s" "$1"
}

# in_two COMMAND...: its output in two sandboxes; they are not to be the same.
in_two() {
	local first second
	first=$(kiln_run "a$RANDOM" "$@")
	second=$(kiln_run "b$RANDOM" "$@")
	[ -n "$first" ] && [ -n "$second" ] || fail "no output of: $*"
	[ "$first" != "$second" ] || fail "two clones have the same: $first"
	echo "$first $second"
}

# parked_vms: their ids.
parked_vms() { factory_ctl list --json | jq -r '.vms[] | select(.state == "parked").vm_id'; }

# generation_id VM: as QEMU has it, by the monitor its claimer will have.
generation_id() {
	timeout 20 perl -MIO::Socket::UNIX -MSocket -e '
		my $qmp = IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => $ARGV[0]) or die "$!";
		my $greeting = <$qmp>;
		for my $command ("qmp_capabilities", "query-vm-generation-id") {
			syswrite($qmp, "{\"execute\": \"$command\"}\n");
			$answer = <$qmp>;
		}
		print $answer' "$run/vms/$1/shim.sock" | jq -r .return.guid
}

test_random_numbers_differ() { in_two sh -c 'head -c 32 /dev/urandom | od -An -tx1'; }

test_boot_ids_differ() {
	expect_match '^[0-9a-f-]{36} [0-9a-f-]{36}$' "$(in_two cat /proc/sys/kernel/random/boot_id)"
}

test_host_names_differ() { in_two hostname; }

test_hardware_addresses_differ() {
	local both
	both=$(in_two cat /sys/class/net/eth0/address)
	# Locally administered, of one card: the second digit is 2, 6, a or e.
	expect_match '^.[26ae](:[0-9a-f]{2}){5} .[26ae](:[0-9a-f]{2}){5}$' "$both"
	[[ $both != *02:6b:69:6c:6e:00* ]] || fail "the template's: $both"
}

test_network_card_has_no_link() {
	expect 0 "$(kiln_run nic1 --privileged -- sh -c \
		'ip link set eth0 up && cat /sys/class/net/eth0/carrier')" carrier
}

test_machine_ids_differ_where_the_image_asks_for_one() {
	local asking=docker.io/kiln/asking:test
	import_image_with_empty_machine_id "$asking"
	image=$asking
	expect_match '^[0-9a-f]{32} [0-9a-f]{32}$' "$(in_two cat /etc/machine-id)"
	! kiln_run mi1 sh -c 'echo x >/etc/machine-id' 2>/dev/null || fail 'it is writable'
}

test_an_image_without_machine_id_is_left_as_it_is() {
	! kiln_run mi2 test -e /etc/machine-id || fail 'there is one'
}

test_generation_ids_differ_and_are_in_the_device_tree() {
	local vms first second
	wait_full
	read -r -d '' -a vms < <(parked_vms) || true
	first=$(generation_id "${vms[0]}")
	second=$(generation_id "${vms[1]}")
	expect_match '^[0-9a-f-]{36}$' "$first"
	expect_match '^[0-9a-f-]{36}$' "$second"
	[ "$first" != "$second" ] || fail "two clones have the generation id $first"
	kiln_run g1 test -e /sys/bus/acpi/devices/QEMUVGID:00 || fail 'the guest has no VMGENID'
}

# microseconds SECONDS.FRACTION
microseconds() { echo "${1/./}"; }

# The guest's time lies between the host's before and after it was asked, which bounds the
# difference; what several answers allow together is narrower than each alone. EPOCHREALTIME
# is the shell's own: no process is started for it on either side.
test_clock_is_the_hosts() {
	local low=-60000000 high=60000000 i before after guest vm age=0 clock
	wait_full
	vm=$(parked_vms | head -n1)
	while [ "$age" -lt $((PARKED_FOR_S * 1000)) ]; do
		sleep 0.2
		age=$(factory_ctl list --json | jq --arg vm "$vm" '.vms[] | select(.vm_id == $vm).age_ms')
		[ -n "$age" ] || fail "$vm is gone"
	done
	coproc kiln_run clock sh -c 'while read -r line; do echo $EPOCHREALTIME; done'
	clock=$!
	for i in 1 2 3 4 5 6 7 8 9 10; do
		before=$(microseconds "$EPOCHREALTIME")
		echo "$i" >&"${COPROC[1]}"
		read -r -t 60 guest <&"${COPROC[0]}" || fail 'no time from the guest'
		after=$(microseconds "$EPOCHREALTIME")
		# The first answer waits for the container to start.
		[ "$i" -gt 1 ] || continue
		guest=$(microseconds "$guest")
		[ $((guest - after)) -le "$low" ] || low=$((guest - after))
		[ $((guest - before)) -ge "$high" ] || high=$((guest - before))
	done
	eval "exec ${COPROC[1]}>&-"
	wait "$clock" || fail "the container ended with $?"
	echo "the guest's clock less the host's: $low to $high us"
	[ "$low" -ge $((-CLOCK_LIMIT_MS * 1000)) ] && [ "$high" -le $((CLOCK_LIMIT_MS * 1000)) ] ||
		fail "the guest's clock less the host's is $low to $high us"
	grep -q "audit claim sandbox=clock vm=$vm " "$work/factory.log" ||
		fail 'it was not the machine that had waited'
}

# A spare is started and frozen before it is known what it will be.
test_clones_of_spares_differ_as_well() {
	local check mark vm vms
	redefine '.pool.spares = 3' # for the up to three sandboxes of a check
	kill -HUP "$(factory_pid)"
	until_true 60 at_rest 2 3
	for _ in 1 2; do ctl agent -c Check >/dev/null; done # those that were parked before
	until_true 60 at_rest 2 3
	mark=$(($(wc -l <"$work/factory.log") + 1))
	for check in random_numbers_differ boot_ids_differ hardware_addresses_differ \
		generation_ids_differ_and_are_in_the_device_tree \
		machine_ids_differ_where_the_image_asks_for_one; do
		"test_$check"
		until_true 60 at_rest 2 3
	done
	vms=$(tail -n "+$mark" "$work/factory.log" | sed -n 's/.* audit claim .* vm=\([0-9a-f]*\) .*/\1/p')
	expect 10 "$(wc -w <<<"$vms")" 'sandboxes'
	for vm in $vms; do
		grep -q " $vm: machine: warming -> spare\$" "$work/factory.log" || fail "$vm was no spare"
	done
}

write_config 2
start_factory
start_containerd
wait_full
run_tests "$@"
