#!/bin/bash
# kiln-ctl factory dashboard beside a real factory: what it shows, to whom, and what it does when the
# factory is away or hangs.
. "$(dirname "$0")/lib.sh"

port=$(/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
dashboard=

# page PATH [CURL OPTIONS]: a page that is not one of the second before.
page() { curl -sS --max-time 30 "http://127.0.0.1:$port$1" "${@:2}"; }
code() { page "$1" -o /dev/null -w '%{http_code}' "${@:2}"; }

# shows REGEX: the page has it; until then it may be a second old.
shows() { grep -Eq -- "$1" <<<"$(page /)"; }

# elements NAME CLASS: how many there are on the page, by a parser of HTML.
elements() {
	page /still | /usr/bin/python3 -c '
import html.parser, sys
class Count(html.parser.HTMLParser):
    found = 0
    def handle_starttag(self, tag, attrs):
        self.found += tag == sys.argv[1] and sys.argv[2] in dict(attrs).get("class", "").split()
count = Count()
count.feed(sys.stdin.read())
print(count.found)' "$@"
}

test_a_factory_without_template() {
	expect 200 "$(code /)" /
	shows 'vm factory is off' || fail 'it is on'
	shows 'Nothing was claimed yet' || fail 'claims'
	shows '>0 of 2 parked<' || fail "$(page /)"
	expect 1 "$(elements rect missing)" 'what is missing'
	expect 0 "$(elements rect parked)" 'what is parked'
}

test_pools_and_claims_are_drawn() {
	local i
	wait_full
	for i in 1 2 3; do
		ctl agent -c Check >/dev/null 2>&1 || fail claim
		wait_full
	done
	until_true 10 shows 'vm factory is on'
	until_true 10 shows '2 parked of 2 wanted, 0 coming, 0 spare, 0 claimed</desc>'
	expect 0 "$(elements rect missing)" 'what is missing'
	shows 'aria-labelledby' || fail 'no title'
	expect_match "$(status_json | jq -r '.claims.hits') pooled, $(status_json | jq -r '.claims.clones') cloned" "$(page /)"
	[ "$(elements svg histogram)" -ge 3 ] || fail 'claim, clone, warm and bake are timed'
	shows 'The last bake of default' || fail 'no bake'
	shows 'http-equiv="refresh"' || fail 'it does not follow'
	expect '' "$(page /still | grep http-equiv)" 'held still'
	expect '' "$(page / | grep -i '<script')" scripts
}

test_only_this_host_and_only_to_read() {
	expect 200 "$(code /style.css)" /style.css
	expect 200 "$(code /icon.svg)" /icon.svg
	expect 404 "$(code /metrics)" /metrics
	expect 405 "$(code / -X POST)" POST
	expect 405 "$(code / -X DELETE)" DELETE
	expect 200 "$(code / -I)" HEAD
	expect 421 "$(code / -H 'Host: rebound.example')" 'another name'
	expect 421 "$(code /style.css -H "Host: 127.0.0.1.rebound.example:$port")" 'another name'
	expect 200 "$(code / -H 'Host: localhost:1234')" 'by a tunnel'
	expect_match "default-src 'none'; style-src 'self'" "$(page / -o /dev/null -D -)"
	expect_match 'nosniff' "$(page / -o /dev/null -D -)"
	expect "127.0.0.1:$port" "$(ss -Hltn "sport = :$port" | awk '{ print $4 }')" 'listening on'
}

test_many_readers() {
	local readers=() i
	for i in {1..20}; do
		page / -o "$work/page.$i" &
		readers+=($!)
	done
	wait "${readers[@]}" || fail 'a reader got no page'
	for i in {1..20}; do grep -q '</html>' "$work/page.$i" || fail "page $i is not whole"; done
}

test_a_factory_that_hangs() {
	local pid
	pid=$(factory_pid)
	kill -STOP "$pid"
	until_true 30 shows 'No answer'
	expect 503 "$(code /)" 'while it hangs'
	expect 200 "$(code /healthz)" 'of the dashboard'
	kill -CONT "$pid"
	until_true 30 shows 'vm factory is on'
}

test_a_factory_that_is_away() {
	stop_factory
	until_true 10 shows 'vm factory is off'
	expect 503 "$(code /)" 'while it is away'
	expect_match 'No answer' "$(page /)"
	start_factory
	wait_full
	until_true 10 shows 'vm factory is on'
}

# A claim alone is no start. What a shim would have written is a line a step.
test_traces_are_drawn() {
	shows 'No start has been traced yet' || fail "$(page /)"
	local step
	mkdir "$work/traces"
	for step in 'claim 1000 1200' 'create_container 1200 1500' 'start_container 1500 1600'; do
		set -- $step
		jq -nc --arg name "$1" --arg from "${2}000000" --arg to "${3}000000" '{resourceSpans: [{resource: {attributes:
			[{key: "service.name", value: {stringValue: "kiln-shim"}}]}, scopeSpans: [{spans: [{name: $name,
			startTimeUnixNano: $from, endTimeUnixNano: $to,
			attributes: [{key: "kiln.sandbox", value: {stringValue: "a"}}]}]}]}]}' >>"$work/traces/shim-1.jsonl"
	done
	until_true 10 shows 'the typical one of 1 traced'
	shows 'shim create_container 300' || fail "$(page /)"
}

test_its_end() {
	expect_match 'cannot listen on' "$(timeout 20 "$BUILD/kiln-ctl" factory dashboard --port "$port" 2>&1)"
	expect "http://127.0.0.1:$port/" "$(cat "$work/dashboard.out")" 'where it is'
	kill -TERM "$dashboard"
	timeout 30 tail -s 0.05 --pid="$dashboard" -f /dev/null || fail 'it goes on'
	expect '' "$(cat "$work/dashboard.err")" 'errors'
}

write_config 2
start_factory
"$BUILD/kiln-ctl" factory dashboard --port "$port" --traces "$work/traces" --socket "$run/factory.sock" >"$work/dashboard.out" 2>"$work/dashboard.err" &
dashboard=$!
trap 'kill "$dashboard" 2>/dev/null; cleanup' EXIT
until_true 20 grep -qs http "$work/dashboard.out"
run_tests "$@"
