# What tests of traces share.

# Of each span of a start by containerd its parent: WHO STEP < WHO STEP, sorted.
parents="agent cgroup < agent create_container
agent clone < agent create_container
agent create_container < shim create_container
agent create_sandbox < shim create_sandbox
agent remove_container < shim delete
agent start_container < shim start_container
agent storage < agent create_container
factory claim < shim claim
factory handover < factory claim
factory resume < factory claim
shim claim < shim sandbox
shim clock < shim sandbox
shim create < shim sandbox
shim create_container < shim create
shim create_sandbox < shim sandbox
shim delete < shim sandbox
shim exit < shim sandbox
shim first_output < shim sandbox
shim network < shim sandbox
shim release < shim sandbox
shim root.overlay-dax < shim create
shim rootfs < shim create
shim sandbox < 
shim shim.start < shim sandbox
shim slot < shim create
shim start_container < shim sandbox"

# flat FILE...: spans of requests, as objects of what is compared here; times in microseconds.
flat() {
	cat "$@" | jq -c 'def value: .value | .stringValue // .intValue;
		.resourceSpans[] | (.resource.attributes | map({(.key): value}) | add) as $of
		| .scopeSpans[].spans[] | (.attributes | map({(.key): value}) | add // {}) as $with
		| {who: ($of["service.name"] | ltrimstr("kiln-")), step: .name, id: $with["kiln.sandbox"], with: $with,
		   trace: .traceId, span: .spanId, parent: .parentSpanId, links, kind, status,
		   begin: (.startTimeUnixNano | tonumber / 1000), end: (.endTimeUnixNano | tonumber / 1000)}'
}

# family ID <SPANS: each span of the sandbox with its parent.
family() {
	jq -rs --arg id "$1" '(map({(.span): "\(.who) \(.step)"}) | add) as $names
		| .[] | select(.id == $id) | "\(.who) \(.step) < \($names[.parent // ""] // .parent // "")"' | sort -u
}

# holds ID STEP <SPANS: whether this one is among them.
holds() { jq -se --arg id "$1" --arg step "$2" 'any(.id == $id and .step == $step)' >/dev/null; }
