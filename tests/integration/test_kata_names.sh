#!/bin/bash
# kiln-ctl under the names of Kata Containers' programs.
. "$(dirname "$0")/lib.sh"

ln -s "$(command -v kiln-ctl)" "$work/kata-ctl"
ln -s "$(command -v kiln-ctl)" "$work/kata-runtime"

kata() { timeout 60 "$work/kata-$1" "${@:2}"; }

# fails STATUS COMMAND...: its output, and that it ends so.
fails() {
	local status=0
	"${@:2}" 2>&1 || status=$?
	expect "$1" "$status" "status of ${*:2}"
}

test_same_words() {
	expect "$(kiln-ctl version)" "$(kata ctl version)" version
	expect "$(kiln-ctl check list)" "$(kata ctl check list)" 'check list'
	expect 1 "$(kata ctl check vhost --config "$work/factory.json" | grep -c '^fine')" check
	expect "$run" "$(kata ctl env --json --config "$work/factory.json" | jq -r .configuration.values.run_dir)" env
	kata ctl env --json --file "$work/env.json" --config "$work/factory.json"
	expect "$run" "$(jq -r .configuration.values.run_dir "$work/env.json")" 'env --file'
	expect /etc/kiln/factory.json "$(kata ctl --show-default-config-paths)" paths
}

test_words_of_kata_runtime() {
	expect "$run" "$(kata runtime kata-env --json --config "$work/factory.json" | jq -r .configuration.values.run_dir)" kata-env
	expect 1 "$(kata runtime kata-check --no-network-checks vhost --config "$work/factory.json" | grep -c '^fine')" kata-check
	expect_match "there is no command 'kata-env'" "$(fails 2 kiln-ctl kata-env)"
}

test_factory() {
	expect 1 "$(fails 3 kata runtime factory status | grep -cx 'vm factory is off')" off
	start_factory
	expect 'vm factory initialized' "$(kata runtime factory init 2>/dev/null)" init
	expect 'vm factory is on' "$(kata ctl factory status | head -1)" on
	expect 'vm factory destroyed' "$(kata ctl factory destroy 2>/dev/null)" destroy
	stop_factory
}

# As kata-ctl's are given, and as kata-runtime's.
test_direct_volume() {
	local info
	truncate -s 8M "$work/disk"
	mkfs.ext4 -q "$work/disk"
	mkdir "$work/volume"
	info=$(jq -nc --arg device "$work/disk" '{"volume-type": "block", $device, fstype: "ext4"}')
	kata ctl direct-volume add "$work/volume" "$info" --run-dir "$run"
	find "$run" -type f -exec cat {} + | grep -q "$work/disk" || fail 'no record of it'
	kata ctl direct-volume remove "$work/volume" --run-dir "$run"
	kata runtime direct-volume add --volume-path "$work/volume" --mount-info "$info" --run-dir "$run"
	kata runtime direct-volume remove --volume-path "$work/volume" --run-dir "$run"
	expect '' "$(find "$run" -type f -exec grep -l "$work/disk" {} +)" 'left behind'
}

test_what_is_not_here() {
	local word
	for word in monitor block-device log-parser; do
		expect_match "Kiln has no command '$word': " "$(fails 2 kata ctl "$word")"
	done
	expect_match "there is no command 'monitor'" "$(fails 2 kiln-ctl monitor)"
}

# What they do of a sandbox that is there: test_exec.sh, test_operator.sh.
test_what_is_asked_of_sandboxes() {
	echo '*filter' >"$work/rules"
	expect_match "there is no sandbox 'nobody'" "$(fails 255 kata runtime exec nobody)"
	expect_match "there is no sandbox 'nobody'" "$(fails 1 kata runtime iptables get --sandbox-id nobody --v6)"
	expect_match "there is no sandbox 'nobody'" "$(fails 1 kata ctl iptables set --sandbox-id nobody "$work/rules")"
}

write_config 1
run_tests
