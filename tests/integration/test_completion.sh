#!/bin/bash
# Completion of kiln-ctl by the shells themselves.
. "$(dirname "$0")/lib.sh"

at_terminal() { timeout 30 "$tests/integration/shell.py" "$@"; }

# complete WORDS...: what bash offers for the last of them.
complete() {
	bash --norc --noprofile -c '
		source <(kiln-ctl completion bash)
		COMP_WORDS=(kiln-ctl "$@") COMP_CWORD=$#
		_kiln_ctl
		printf "%s\n" "${COMPREPLY[@]}"' bash "$@" | sort | xargs
}

test_commands() {
	expect 'check completion' "$(complete c)"
	expect 'factory' "$(complete fac)"
	expect 'image inspect iptables' "$(complete i)"
	expect 'env exec' "$(complete e)"
	expect 'check completion' "$(complete help c)"
}

test_words_and_options() {
	expect 'init inspect' "$(complete factory in)"
	expect 'dashboard' "$(complete factory da)"
	expect '--port' "$(complete factory dashboard --p)"
	expect 'cgroups' "$(complete check cg)"
	expect 'get set' "$(complete iptables '')"
	expect 'kernel kvm' "$(complete check cgroups k)"
	expect '' "$(complete factory init in)"
	expect '--template --timeout --traces' "$(complete factory status --t)"
	expect '--output' "$(complete bug-report --o)"
	expect '--json' "$(complete list --j)"
	expect 'serve' "$(complete metrics s)"
	expect 'set' "$(complete policy s)"
	expect 'GetDiagnosticData GetGuestDetails GetIPTables GetMetrics GetOOMEvent GetVolumeStats' "$(complete agent Get)"
}

test_values() {
	mkdir "$work/some folder"
	touch "$work/some.json"
	expect "$work/some folder $work/some.json" "$(complete check --config "$work/some")"
	expect "$work/some.json" "$(complete check --config = "$work/some.")"
	expect 'high' "$(complete agent --priority h)"
	expect '' "$(complete factory init --timeout 6)"
}

test_bash_at_a_terminal() {
	at_terminal bash 'source <(kiln-ctl completion bash)' 'kiln-ctl bug\t--help' 'bug-report: pack env'
	at_terminal bash 'source <(kiln-ctl completion bash)' 'kiln-ctl factory dest\t --help' 'factory: bake'
}

test_zsh_at_a_terminal() {
	local setup='autoload -U compinit; compinit -u -D; source <(kiln-ctl completion zsh)'
	at_terminal zsh "$setup" 'kiln-ctl bug\t--help' 'bug-report: pack env'
	at_terminal zsh "$setup" 'kiln-ctl version --js\t' '"version":'
}

run_tests
