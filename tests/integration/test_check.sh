#!/bin/bash
# kiln-ctl check on this very host: with a factory and without, as root and as somebody else.
. "$(dirname "$0")/lib.sh"

# run_check WORDS...: its answer in $work/check.json, its exit status in $status.
run_check() {
	status=0
	timeout 60 kiln-ctl check --json --config "$work/factory.json" "$@" >"$work/check.json" || status=$?
}

# as_nobody WORDS...: the same by a user who may read the configuration.
as_nobody() {
	status=0
	timeout 60 setpriv --reuid=nobody --regid=nogroup --clear-groups kiln-ctl check --json \
		--config "$work/factory.json" "$@" >"$work/check.json" || status=$?
}

# verdict NAME
verdict() { jq -r --arg name "$1" '.checks[] | select(.name == $name).verdict' "$work/check.json"; }

# The exit status is that of the worst, and each verdict comes with what belongs to it.
expect_sound() {
	expect "$(jq -r '{fine: 0, unseen: 1, without: 1, mend: 2}[.verdict]' "$work/check.json")" "$status" 'exit status'
	expect "$(kiln-ctl check list | awk '{ print $1 }' | xargs)" "$(jq -r '.checks[].name' "$work/check.json" | xargs)" checks
	expect true "$(jq '.fine + .without + .mend + .unseen == (.checks | length)' "$work/check.json")" sums
	expect '' "$(jq -r '.checks[] | select((.verdict == "without" and .lost == null)
		or (.verdict == "mend" and .command == null) or .found == "").name' "$work/check.json")" 'without a reason'
}

test_without_a_factory() {
	run_check
	expect_sound
	expect without "$(verdict factory)" factory
	expect unseen "$(verdict templates)" templates
	for name in qemu libvirt tools programs containerd configuration definitions seccomp; do
		expect fine "$(verdict "$name")" "$name"
	done
	expect_match 'QEMU emulator version' "$(jq -r '.checks[] | select(.name == "qemu").found' "$work/check.json")"
	expect_match '^libvirt [0-9]+\.[0-9]+' "$(jq -r '.checks[] | select(.name == "libvirt").found' "$work/check.json")"
}

# What the shim's tests do on this host can be done here as well.
test_what_is_tried() {
	run_check traffic-control idmapped-mounts
	expect fine "$(verdict traffic-control)" 'traffic control'
	expect_match '^(fine|without)$' "$(verdict idmapped-mounts)"
	expect '' "$(pgrep -f "kiln-ctl check .*$work" || true)" 'processes left'
}

test_text() {
	local text
	text=$(timeout 60 kiln-ctl check --config "$work/factory.json" configuration vhost)
	expect_match "fine +configuration +$work/factory.json" "$text"
	expect_match '2 fine, 0 without, 0 to mend, 0 unseen: this host runs Kiln' "$text"
}

test_as_nobody() {
	as_nobody
	expect_sound
	expect unseen "$(verdict idmapped-mounts)" 'idmapped mounts'
	expect fine "$(verdict qemu)" QEMU
	expect fine "$(verdict definitions)" definitions
}

test_broken_configuration() {
	cp "$work/factory.json" "$work/whole.json"
	configure '.max_vmss = 3'
	run_check
	mv "$work/whole.json" "$work/factory.json"
	expect 2 "$status" 'exit status'
	expect mend "$(verdict configuration)" configuration
	expect_match 'max_vmss' "$(jq -r '.checks[] | select(.name == "configuration").found' "$work/check.json")"
}

test_missing_image() {
	jq '.image = "/nowhere/rootfs.erofs"' "$work/template.json" >"$work/no-image.json"
	jq --arg t "$work/no-image.json" '.templates = $t' "$work/factory.json" >"$work/other.json"
	run_check --config "$work/other.json" definitions
	expect mend "$(verdict definitions)" definitions
	expect 'make image && make install' "$(jq -r '.checks[0].command' "$work/check.json")" command
}

test_image_that_is_none() {
	truncate -s 4M "$work/empty.erofs"
	jq --arg i "$work/empty.erofs" '.image = $i' "$work/template.json" >"$work/bad-image.json"
	jq --arg t "$work/bad-image.json" '.templates = $t' "$work/factory.json" >"$work/other.json"
	run_check --config "$work/other.json" definitions
	expect mend "$(verdict definitions)" definitions
}

# What containerd itself says of its configuration.
test_containerd() {
	local head='[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.vm]'
	echo 'version = 2' >"$work/c.toml"
	run_check --containerd-config "$work/c.toml" containerd-runtime containerd-annotations
	expect without "$(verdict containerd-runtime)" 'no runtime'
	expect unseen "$(verdict containerd-annotations)" 'annotations of none'
	printf 'version = 2\n%s\nruntime_type = "io.containerd.kiln.v2"\n' "$head" >"$work/c.toml"
	# containerd 1 has forgotten its own runc now, and does not start CRI.
	run_check --containerd-config "$work/c.toml" containerd-runtime
	expect without "$(verdict containerd-runtime)" 'no runc'
	expect_match "is runc, the default one" "$(jq -r '.checks[0].found' "$work/check.json")"
	sed -i '1a [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]\nruntime_type = "io.containerd.runc.v2"' "$work/c.toml"
	run_check --containerd-config "$work/c.toml" containerd-runtime containerd-annotations
	expect fine "$(verdict containerd-runtime)" runtime
	expect without "$(verdict containerd-annotations)" 'annotations closed'
	echo 'pod_annotations = ["io.kiln.*"]' >>"$work/c.toml"
	run_check --containerd-config "$work/c.toml" containerd-runtime containerd-annotations
	expect fine "$(verdict containerd-annotations)" annotations
	expect 0 "$status" 'exit status'
	# containerd 1 passes over what is named as of version 2.
	sed -i 1d "$work/c.toml"
	run_check --containerd-config "$work/c.toml" containerd-runtime
	expect without "$(verdict containerd-runtime)" 'no version'
	expect_match 'has to say version = 2' "$(jq -r '.checks[0].command' "$work/check.json")"
}

test_with_a_factory() {
	start_factory
	wait_full
	run_check
	expect_sound
	expect fine "$(verdict factory)" factory
	expect fine "$(verdict templates)" templates
	expect_match 'default is ready, 1 parked' "$(jq -r '.checks[] | select(.name == "templates").found' "$work/check.json")"
	# Not for everybody: its socket is root's.
	as_nobody factory templates
	expect unseen "$(verdict factory)" "nobody's factory"
	stop_factory
}

write_config 1
run_tests
