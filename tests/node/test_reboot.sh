#!/bin/bash
# In the node, after it was started anew with the units enabled: nobody has touched it.
. "$(dirname "$0")/../integration/lib.sh"
. "$(dirname "$0")/installed.sh"

test_the_units_are_up() {
	until_true 120 systemctl -q is-active kiln-factory.service
	expect 'active active' "$(systemctl is-active kiln-factory.socket kiln-jailer.socket | xargs)" sockets
	CTL_TIMEOUT=600 ctl factory init || fail "$(journalctl -q -b -u kiln-factory -o cat)"
}

test_it_took_kvm_from_the_start() {
	expect_kvm
	expect_match 'accelerator kvm' "$(journalctl -q -b -u kiln-factory -o cat | grep -m 1 serving)" 'its first words'
	expect kvm "$(ctl factory inspect default --json | jq -r .accelerator)" 'of the template'
	expect '' "$(ctl factory status --json | jq -r '.templates[0].stale')"
}

test_a_container_runs() { expect hello "$(run_container c1 echo hello)"; }

run_tests "$@"
