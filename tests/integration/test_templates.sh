#!/bin/bash
# Several templates side by side: choice, inspection, staleness, rolling rebuild, verification.
. "$(dirname "$0")/lib.sh"

definitions=$work/templates

# define NAME JQ: a definition made from the usual one.
define() { jq --arg name "$1" '.name = $name | '"$2" "$work/template.json" >"$work/new.json" &&
	mv "$work/new.json" "$definitions/$1.json"; }

template_json() { status_json | jq --arg name "$1" '.templates[] | select(.name == $name)'; }

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		read -r -t 0.2 <> <(:) || true
	done
}

is_stale() { template_json "$1" | jq -e '.stale != ""' >/dev/null; }
has_rolled() { template_json "$1" | jq -e --arg old "$2" '.id != $old and (.rebuilding | not)' >/dev/null; }
baking_phase() { [ "$(template_json "$1" | jq -r '.phase')" = "$2" ]; }

test_clash_of_names_is_refused_by_both_files() {
	local out code=0
	mkdir "$work/clash"
	cp "$work/template.json" "$work/clash/a.json"
	cp "$work/template.json" "$work/clash/b.json"
	jq --arg t "$work/clash" '.templates = $t | .run_dir += "-clash" | .store = .run_dir' "$work/factory.json" >"$work/clash.json"
	out=$(timeout 30 kiln-factory --config "$work/clash.json" 2>&1) || code=$?
	expect 1 "$code" 'exit code'
	expect_match 'clash/a.json and .*clash/b.json both define a template "default"' "$out"
}

test_console_during_the_bake() {
	(factory_ctl init 2>"$work/init.err" || true) >"$work/init.out" &
	wait_for 60 baking_phase large answering || wait_for 60 baking_phase default answering
	wait_for 60 console_has_text || fail 'no console text'
	wait
	expect 'vm factory initialized' "$(cat "$work/init.out")"
}
console_has_text() {
	[ -n "$(factory_ctl console default 2>/dev/null)$(factory_ctl console large 2>/dev/null)" ]
}

test_two_templates_side_by_side() {
	expect 'ready ready' "$(status_json | jq -r '[.templates[].state] | join(" ")')"
	expect 'default large' "$(status_json | jq -r '[.templates[].name] | join(" ")')"
	expect 2 "$(find "$store/templates" -name template.json | wc -l)" templates
}

test_bakes_came_one_after_another() {
	# Between a bake's boot and its end nobody else boots.
	awk '/bake: [a-z]+ -> booting/ { if (++n > 1) bad = 1 } /bake: [a-z]+ -> done/ { n-- } END { exit bad }' \
		"$work/factory.log" || fail 'two bakes at once'
}

test_claims_name_their_template() {
	ctl agent --template large -c GetGuestDetails >"$work/large" 2>"$work/err" || fail "$(cat "$work/err")"
	local code=0
	ctl agent --template nobody -c Check >/dev/null 2>"$work/err" || code=$?
	[ "$code" != 0 ] || fail 'a claim of no template'
	expect_match 'no template is named' "$(cat "$work/err")"
}

test_inspect() {
	local out
	out=$(factory_ctl inspect large)
	expect_match 'definition +.*/large.json' "$out"
	expect_match 'MiB before trimming' "$out"
	expect_match 'sha256 [0-9a-f]{64}' "$out"
	expect_match 'host_kernel' "$out"
	expect_match 'qemu-system-x86_64' "$out"
	out=$(factory_ctl inspect large --json)
	expect "$(sha256sum <"$definitions/image/rootfs.erofs" | cut -d' ' -f1)" \
		"$(jq -r '.inputs[] | select(.name == "image") | .baked' <<<"$out")" 'digest of the image'
	# Punching the pages that happen to be zero saves a sixth; what the guest gives up, more.
	[ "$(jq '.memory_before_trim_bytes * 3 / 4 > .status.memory_allocated_bytes' <<<"$out")" = true ] ||
		fail "the guest was not trimmed: $out"
}

test_console_after_the_bake() {
	expect_match '.' "$(factory_ctl console large)"
	expect '' "$(factory_ctl console large --json | jq -r '.phase')" 'bake under way'
}

test_verify_finds_an_intact_template_intact() {
	expect 'memory  intact state   intact image   intact' "$(factory_ctl verify large | xargs -d '\n')"
	expect true "$(factory_ctl verify default --json | jq .intact)"
}

test_stale_is_told_and_kept() {
	local id
	id=$(template_json default | jq -r .id)
	define default '.kernel_params += " loglevel=3" | .on_stale = "keep"'
	wait_for 20 is_stale default || fail 'not stale'
	expect 'kernel_params changed (+loglevel=3)' "$(template_json default | jq -r .stale)"
	expect 1 "$(metrics kiln_template_stale template=default)" 'in /metrics'
	expect "$id" "$(template_json default | jq -r .id)" 'template'
	ctl agent --template default -c Check >/dev/null 2>&1 || fail 'a stale template does not serve'
	define default .
	wait_for 20 eval '! is_stale default' || fail 'still stale'
	expect 0 "$(metrics kiln_template_stale template=default)" 'in /metrics'
}

# claim_loop NAME: claims for as long as $work/claiming is there, at a pace the pool can follow.
claim_loop() {
	local name=$1
	while [ -e "$work/claiming" ]; do
		ctl agent --template "$name" -c Check >/dev/null 2>>"$work/claims" || echo failed >>"$work/claims"
		wait_for 60 eval '[ "$(template_json '"$name"' | jq .pool.parked)" -ge 2 ]'
	done
}

# with_claims NAME COMMAND...: runs it while claims go on; none of them may meet an empty pool.
with_claims() {
	: >"$work/claiming"
	: >"$work/claims"
	claim_loop "$1" &
	trap 'rm -f "$work/claiming"; wait' EXIT
	"${@:2}"
	rm "$work/claiming"
	wait $!
	grep -q pooled "$work/claims" || fail "no claims: $(cat "$work/claims")"
	! grep -E 'failed|cloned' "$work/claims" || fail 'a claim met an empty pool'
}

change_image() {
	local old
	old=$(template_json large | jq -r .id)
	# Two MiB of nothing behind the file system.
	head -c 2097152 /dev/zero >>"$definitions/image/rootfs.erofs"
	wait_for 120 has_rolled large "$old" || fail "did not roll: $(template_json large)"
}

test_changed_image_rolls_while_claims_go_on() {
	local vm old
	old=$(template_json large | jq -r .id)
	ctr run -d --runtime io.containerd.kiln.v2 "$image" held sleep 600 || fail 'no sandbox'
	expect "$old" "$(factory_ctl list --json | jq -r '.vms[] | select(.state == "claimed").template_id')"
	with_claims large change_image
	expect 1 "$(find "$store/templates" -path "*$(template_json large | jq -r .id)/template.json" | wc -l)" 'new template'
	[ ! -e "$store/templates/$old" ] || fail 'the old template is still there'
	expect '' "$(template_json large | jq -r .stale)" stale
	vm=$(factory_ctl list --json | jq -r '[.vms[] | select(.state == "parked" and .template == "large").template_id] | unique | join(" ")')
	expect "$(template_json large | jq -r .id)" "$vm" 'template of the parked'
	expect still-here "$(ctr task exec --exec-id e1 held echo still-here)" 'the sandbox of before'
	ctr task kill -s KILL held
	wait_for 30 eval 'ctr task ls | grep -q STOPPED' || fail 'it does not end'
	ctr task rm held >/dev/null
	ctr containers rm held
}

test_verify_detects_one_byte_and_rebuild_mends() {
	local dir old code=0
	old=$(template_json large | jq -r .id)
	dir=$store/templates/$old
	# The last byte of the memory, whatever it was.
	printf "\\x$(tail -c 1 "$dir/memory" | od -An -tx1 | tr -d ' ' | sed 's/^/0x/' |
		xargs -I{} printf '%02x' $(($(tail -c 1 "$dir/memory" | od -An -tu1) ^ 1)))" |
		dd of="$dir/memory" bs=1 seek=$(($(stat -c %s "$dir/memory") - 1)) conv=notrunc status=none
	factory_ctl verify large >"$work/out" 2>"$work/err" || code=$?
	expect 1 "$code" 'exit code of verify'
	expect_match 'memory +damaged' "$(cat "$work/out")"
	expect_match 'state +intact' "$(cat "$work/out")"
	expect_match 'memory has changed since it was baked' "$(cat "$work/err")"
	expect false "$(factory_ctl verify large --json | jq .intact)"
	with_claims large rebuild_large
	[ ! -e "$dir" ] || fail 'the damaged template is still there'
	factory_ctl verify large >/dev/null || fail 'still damaged'
}
rebuild_large() { expect_match 'template large is rebuilt: ' "$(factory_ctl rebuild large)"; }

test_failed_rebuild_leaves_the_template_serving() {
	local id code=0
	id=$(template_json default | jq -r .id)
	define default '.boot_timeout_s = 5 | .kernel_params = "panic=-1 init=/nowhere console=ttyS0 root=/dev/nowhere rdinit=/nowhere"'
	factory_ctl rebuild default >/dev/null 2>"$work/err" || code=$?
	expect 1 "$code" 'exit code'
	expect "$id" "$(template_json default | jq -r .id)" template
	expect ready "$(template_json default | jq -r .state)" state
	expect_match 'console|guest|answering|booting' "$(template_json default | jq -r .rebuild_error)"
	ctl agent --template default -c Check >/dev/null 2>&1 || fail 'it does not serve'
	define default .
}

# A template whose definition was taken away stays in the store until somebody says so.
expect_unconfigured_is_destroyed() {
	stop_factory
	mv "$definitions/default.json" "$work/default.away"
	start_factory
	expect_match 'template default .* is in the store and configured no more' "$(factory_ctl list)"
	expect default "$(factory_ctl list --json | jq -r '.unconfigured[].name')" 'configured no more'
	factory_ctl destroy nowhere 2>"$work/err" && fail 'what is not there was destroyed'
	factory_ctl destroy default >/dev/null || fail 'it cannot be destroyed'
	expect '' "$(factory_ctl list --json | jq -r '.unconfigured[].name')" 'after its end'
	expect large "$(jq -r .name "$store"/templates/*/template.json)" 'templates in the store'
	stop_factory
	mv "$work/default.away" "$definitions/default.json"
	start_factory
}

# The machine being baked, and the helper that booted it.
baked_machine() { pgrep -f "qemu-system-x86_64 .*$run/bake/" >/dev/null; }
helper_pid() { pgrep -f "kiln-libvirt $run "; }

# Its caller is told, and so is the next one's; with the pool it goes on.
test_rebuild_of_a_paused_pool() {
	local i
	factory_ctl pause default >/dev/null
	for i in 1 2; do
		! factory_ctl rebuild default >/dev/null 2>"$work/err" || fail 'it succeeded'
		expect_match 'baked anew, but the machines of the one before stay: it is paused' "$(cat "$work/err")"
	done
	expect_match ': it is paused' "$(template_json default | jq -r .rebuild_error)"
	factory_ctl resume default >/dev/null
	until_true 60 eval 'template_json default | jq -e "(.rebuilding | not) and .rebuild_error == \"\"" >/dev/null'
	factory_ctl rebuild default >/dev/null || fail 'the next rebuild fails'
}

test_dead_libvirt_fails_its_bake_alone() {
	local id rebuild code=0
	id=$(template_json default | jq -r .id)
	factory_ctl rebuild default >/dev/null 2>"$work/err" &
	rebuild=$! # a substitution has a process of its own
	wait_for 60 baked_machine || fail 'nothing is baked'
	kill -9 "$(helper_pid)"
	wait "$rebuild" || code=$?
	expect 1 "$code" 'exit code'
	expect_match 'kiln-libvirt is gone' "$(cat "$work/err")"
	! baked_machine || fail 'the machine of the bake is left'
	expect '' "$(helper_pid)" 'helper'
	expect "$id" "$(template_json default | jq -r .id)" template
	ctl agent --template default -c Check >/dev/null 2>&1 || fail 'it does not serve'
	factory_ctl rebuild default >/dev/null || fail 'the next bake fails too'
	expect '' "$(helper_pid)" 'helper after a good bake'
}

# Digests that are not the files': the bake finds it, and the next one reads what it is made of.
test_wrong_digests_are_forgotten() {
	local id code=0
	keeps_change_times "$definitions" || { echo "skip: digests of files on $(stat -f -c %T "$definitions") are not kept"; return; }
	id=$(template_json default | jq -r .id)
	stop_factory
	start_factory
	factory_ctl init default >/dev/null 2>&1 # by then all files are old enough to be known
	stop_factory
	sed -i "/sha256/ s/\"[0-9a-f]\{64\}\"/\"$(printf %064d 0)\"/" "$store/digests.json" # jq rounds such large numbers
	start_factory
	factory_ctl init default >/dev/null 2>"$work/err" || code=$?
	expect 1 "$code" 'exit code'
	expect_match 'kernel /.*/vmlinux was written to during the bake' "$(cat "$work/err")"
	[ ! -e "$store/digests.json" ] || fail 'they are still there'
	factory_ctl init default large >/dev/null 2>&1 || fail 'the next one fails too'
	expect "$id" "$(template_json default | jq -r .id)" template
}

test_destroy_by_name_leaves_the_other() {
	expect 'vm factory destroyed' "$(factory_ctl destroy default)"
	expect absent "$(template_json default | jq -r .state)"
	expect ready "$(template_json large | jq -r .state)"
	ctl agent -c Check >/dev/null 2>"$work/err" || fail "no other template was chosen: $(cat "$work/err")"
	expect 'vm factory initialized' "$(factory_ctl init default large 2>/dev/null)"
	expect 'ready ready' "$(status_json | jq -r '[.templates[].state] | join(" ")')"
	expect_unconfigured_is_destroyed
	expect 'vm factory destroyed' "$(factory_ctl destroy default large)"
	expect 0 "$(find "$store/templates" -mindepth 1 | wc -l)" 'template files left'
	expect '' "$(vmm_pids)" 'machines left'
}

write_config 3
mkdir -p "$definitions/image"
cp "$BUILD/image/rootfs.erofs" "$definitions/image/"
define default .
define large '.memory_mib = 320 | .on_stale = "rebuild" | .image = "image/rootfs.erofs"'
configure --arg t "$definitions" '.templates = $t'
export KILN_TEMPLATE=large # of the shim's sandboxes
start_containerd
start_factory
run_tests "$@"
