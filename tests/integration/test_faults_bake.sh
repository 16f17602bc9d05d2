#!/bin/bash
# Faults of bakes, and of taking templates away, that do not kill the factory (test_faults.sh has the
# others): nothing is left of a template, and in the end one is baked.
. "$(dirname "$0")/faults.sh"

# expect_no_template WHAT: nothing is left of a bake.
expect_no_template() {
	expect '' "$(find "$store/templates" -mindepth 1)" "files in the store after $1"
	expect '' "$(find "$store" -name memory)" "memory after $1"
	expect_nothing_astray "$1"
}

# bake_fails REGEX WHAT
bake_fails() {
	! factory_ctl init >"$work/out" 2>&1 || fail "it bakes with $2"
	expect_match "$1" "$(cat "$work/out")"
	expect_no_template "$2"
}

test_store_is_full() {
	fill "$store"
	bake_fails "the store $store has 0 MiB free" 'a full store'
	empty "$store"
}

# It had room when that was looked at; then the guest's memory grows.
test_store_fills_while_the_guest_boots() {
	local init
	mark_log
	factory_ctl init >"$work/out" 2>&1 &
	init=$!
	logged 'bake: answering'
	fill "$store"
	! wait "$init" || fail 'it bakes without room for memory'
	expect_match 'has no room to grow' "$(cat "$work/out")"
	expect_no_template 'a store that fills'
	empty "$store"
}

test_steps_of_bakes() {
	local point error=ENOSPC
	for point in $(points bake); do
		arm "$point=$error"
		bake_fails "$point: $(error_text $error)" "$point=$error"
		expect_met "$point=$error"
		[ $error = ENOSPC ] && error=EIO || error=ENOSPC
	done
	recovered 'bakes that fail'
}

# Half-way, it is no template any more, and what is left goes with the next try.
test_a_removal_fails() {
	arm template.removing=EIO
	! factory_ctl destroy >"$work/out" 2>&1 || fail 'destroyed in spite of template.removing=EIO'
	expect_met template.removing=EIO
	expect_match 'template.removing: Input/output error' "$(cat "$work/out")"
	expect_match '\.removed$' "$(find "$store/templates" -mindepth 1 -maxdepth 1)"
	factory_ctl destroy >/dev/null
	expect_no_template 'a removal that failed'
}

start_faulty_factory
run_tests "$@"
