# What the integration tests share: private daemons (tests/private.sh) and sub-tests.
#
# A test file sources this, defines functions named test_*, and ends with `run_tests`.

. "$(dirname "${BASH_SOURCE[0]}")/../private.sh"

test_log=/dev/stderr # of the test that runs: also where output is caught or thrown away

# tell TEXT...: why the test fails, and where: the lines that led there, innermost first.
tell() {
	local i where=
	for ((i = 2; i < ${#FUNCNAME[@]}; i++)); do
		[ "${FUNCNAME[i]}" != run_tests ] || break
		where+=" < ${BASH_SOURCE[i]##*/}:${BASH_LINENO[i - 1]}"
	done
	echo "failed: $*; at ${where# < }" >>"$test_log"
}

fail() {
	tell "$@"
	exit 1
}

# expect WANTED GOT [WHAT]
expect() { [ "$1" = "$2" ] || fail "${3:-value}: expected \"$1\", got \"$2\""; }

# expect_match REGEX TEXT
expect_match() { [[ $2 =~ $1 ]] || fail "expected /$1/ in: $2"; }

# until_true SECONDS COMMAND...: for what the factory tells only when it is asked.
until_true() {
	local deadline=$((SECONDS + $1 * TIME_FACTOR))
	shift
	until "$@"; do
		[ $SECONDS -lt $deadline ] || fail "not within its time: $*"
		sleep 0.1
	done
}

http() { curl -sS --max-time 20 --unix-socket "$run/http.sock" "http://factory$1" "${@:2}"; }

# metrics NAME [LABEL=VALUE]...: the sum of the samples that have these labels. The whole page
# goes through the parser that belongs to Prometheus' own client.
metrics() {
	http /metrics | /usr/bin/python3 -c '
import sys
from prometheus_client.parser import text_string_to_metric_families as parse
wanted = dict(pair.split("=", 1) for pair in sys.argv[2:])
found = [s.value for f in parse(sys.stdin.read()) for s in f.samples
         if s.name == sys.argv[1] and wanted.items() <= s.labels.items()]
if not found:
    sys.exit("no sample " + " ".join(sys.argv[1:]))
print("%g" % sum(found))
' "$@"
}

# pool FILTER: of the template's pool in the status.
pool() { status_json | jq -r ".templates[0].pool$1"; }

# at_rest PARKED SPARES: so many, and nothing is on its way.
at_rest() { [ "$(pool '| "\(.parked) \(.spares) \(.coming)"')" = "$1 $2 0" ]; }

# redefine FILTER: the template's definition, by jq.
redefine() {
	jq "$1" "$work/template.json" >"$work/template.json.new"
	mv "$work/template.json.new" "$work/template.json"
}

# configure [JQ OPTIONS] FILTER: the factory's configuration, by jq.
configure() {
	jq "$@" "$work/factory.json" >"$work/factory.json.new"
	mv "$work/factory.json.new" "$work/factory.json"
}

# allow_sizes: what `ctr run` needs for annotations of a machine's size, as the array with_sizes.
allow_sizes() {
	echo '{"enable_annotations": "template,images,vcpus,memory_mib"}' >"$work/sizes.json"
	with_sizes=(--runtime-config-path "$work/sizes.json")
}

# remove_container ID: ends it, waits for its end, and removes it.
remove_container() {
	ctr tasks delete --force "$1" >/dev/null 2>&1 || true # it may be gone
	ctr containers delete "$1" || fail "container $1 cannot be removed"
}

# expect_no_machines WHEN
expect_no_machines() {
	local pid=
	for pid in $(vmm_pids); do
		echo "machine left $1: $(tr '\0' ' ' <"/proc/$pid/cmdline" | cut -c1-200)"
		grep -E '^(State|PPid):' "/proc/$pid/status"
		grep -lr "\"pid\": $pid," "$run/vms" --include='*.json' | xargs -r cat
	done
	expect '' "$pid" "machines $1"
}

# strict: a command that fails ends the shell, and says which it was. Not so a command whose status
# is asked for: in a condition, before && and ||, after !; nor any in a function that is called
# there.
strict() {
	set -o errexit -o errtrace
	shopt -s inherit_errexit
	strict_level=$BASH_SUBSHELL
	trap 'tell_command "${PIPESTATUS[*]}" "$BASH_COMMAND"' ERR
}

# A subshell's failure is told where the shell of the test meets it. Of a pipeline bash has the
# statuses of all parts, and the last one's command.
tell_command() {
	((BASH_SUBSHELL != strict_level)) || tell "status $1 of: ${2:0:300}"
}

# run_tests [NAME...]: each test_* function in the order of the file, or these, in a strict shell
# of its own. That shell is part of no condition: bash would have it go on after an error.
run_tests() {
	local name test_status status=0 begun
	(($# > 0)) || set -- $(grep -o '^test_[a-z0-9_]*' "$0")
	for name in "$@"; do
		begun=$SECONDS
		test_log=$work/$name.out
		: >"$test_log"
		(
			strict
			"$name"
		) >>"$test_log" 2>&1
		test_status=$?
		if [ $test_status = 0 ] && grep -q '^skip' "$test_log"; then
			echo "skip $name ($(grep -m 1 '^skip' "$test_log" | cut -c7-))"
		elif [ $test_status = 0 ]; then
			echo "ok $name ($((SECONDS - begun)) s)"
		else
			echo "not ok $name (status $test_status)"
			sed 's/^/    /' "$test_log"
			status=1
		fi
	done
	[ $status = 0 ] || {
		echo '    factory log:'
		tail -n 40 "$work/factory.log" 2>/dev/null | sed 's/^/    /'
	}
	exit $status
}
