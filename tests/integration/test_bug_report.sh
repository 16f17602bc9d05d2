#!/bin/bash
# kiln-ctl env and bug-report on this very host: with a factory and without, as root and as somebody else.
. "$(dirname "$0")/lib.sh"

as_nobody() { timeout 60 setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; }

# The answer as JSON.
env_json() { timeout 60 kiln-ctl env --json --config "$work/factory.json"; }

# report NAME WORDS...: an archive, unpacked in $work/NAME.
report() {
	local name=$1
	shift
	mkdir "$work/$name" "$work/$name.tmp"
	TMPDIR=$work/$name.tmp timeout 120 kiln-ctl bug-report --config "$work/factory.json" \
		--output "$work/$name.tar.gz" "$@" >"$work/$name.out"
	tar -C "$work/$name" --strip-components=1 -xzf "$work/$name.tar.gz"
}

test_env() {
	local env
	env=$(env_json)
	expect false "$(jq .factory.answers <<<"$env")" factory
	expect "$run" "$(jq -r .configuration.values.run_dir <<<"$env")" run_dir
	expect "$work/factory.json" "$(jq -r .configuration.from.run_dir <<<"$env")" 'from the file'
	expect default "$(jq -r .configuration.from.max_vms <<<"$env")" 'from nowhere'
	expect default "$(jq -r '.templates[0].name' <<<"$env")" template
	expect "$(uname -r)" "$(jq -r .host.kernel <<<"$env")" kernel
	expect_match 'QEMU emulator' "$(jq -r .versions.qemu <<<"$env")"
	expect_match '^[0-9]+\.[0-9]+\.[0-9]+$' "$(jq -r .versions.libvirt <<<"$env")"
	expect_match 'containerd' "$(jq -r .versions.containerd <<<"$env")"
}

# Another reader than ours: the two forms say the same, but for what is null.
test_env_is_toml() {
	timeout 60 kiln-ctl env --config "$work/factory.json" >"$work/env.toml"
	env_json >"$work/env.json"
	/usr/bin/python3 - "$work/env.toml" "$work/env.json" <<-'END'
		import json, sys, tomllib
		def bare(value):
		    if isinstance(value, dict):
		        return {k: bare(v) for k, v in value.items() if v is not None}
		    return [bare(v) for v in value] if isinstance(value, list) else value
		toml, plain = tomllib.load(open(sys.argv[1], "rb")), bare(json.load(open(sys.argv[2])))
		for one in toml, plain:
		    del one["host"]["memory_available_mib"]
		if toml != plain:
		    sys.exit("TOML and JSON differ")
	END
}

test_env_as_nobody() {
	local env
	env=$(as_nobody kiln-ctl env --json --config "$work/factory.json")
	expect true "$(jq .configuration.valid <<<"$env")" configuration
	expect_match 'QEMU emulator' "$(jq -r .versions.qemu <<<"$env")"
}

test_report_without_a_factory() {
	report off
	expect 600 "$(stat -c %a "$work/off.tar.gz")" mode
	for file in README env.toml env.json check.txt check.json definitions/default.json; do
		[ -s "$work/off/$file" ] || fail "$file is not in it"
	done
	expect_match 'Left out:.*metrics.txt' "$(tr '\n' ' ' <"$work/off.out")"
	expect_match 'Left out:.*status.json' "$(tr '\n' ' ' <"$work/off/README")"
	expect '' "$(ls -A "$work/off.tmp")" 'folders left'
}

test_report_is_not_overwritten() {
	echo mine >"$work/mine"
	! timeout 120 kiln-ctl bug-report --config "$work/factory.json" --output "$work/mine" 2>"$work/err" || fail 'it was'
	expect mine "$(cat "$work/mine")" content
	ln -s "$work/elsewhere" "$work/link"
	! timeout 120 kiln-ctl bug-report --config "$work/factory.json" --output "$work/link" 2>"$work/err" || fail 'a link was followed'
	[ ! -e "$work/elsewhere" ] || fail 'a link was followed'
}

test_report_as_nobody() {
	install -d -o nobody "$work/theirs"
	as_nobody kiln-ctl bug-report --config "$work/factory.json" --output "$work/theirs/r.tar.gz" >"$work/out"
	expect_match 'env.toml' "$(tar -tzf "$work/theirs/r.tar.gz")"
}

test_report_with_a_factory() {
	start_factory
	wait_full
	KILN_TEST_SECRET=never-to-be-seen report on
	for file in status.json metrics.txt factory.log consoles/default.txt templates/default.json; do
		[ -s "$work/on/$file" ] || fail "$file is not in it: $(cat "$work/on.out")"
	done
	expect true "$(jq .on "$work/on/status.json")" status
	grep -q '^kiln_build_info' "$work/on/metrics.txt" || fail 'no metrics'
	expect ready "$(jq -r '.templates[0].state' "$work/on/env.json")" 'the template in env'
	! grep -rq never-to-be-seen "$work/on" || fail 'the environment is in it'
	stop_factory
}

write_config 1
run_tests
