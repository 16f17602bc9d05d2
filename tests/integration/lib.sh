# What the integration tests share: private daemons (tests/private.sh) and sub-tests.
#
# A test file sources this, defines functions named test_*, and ends with `run_tests`.

. "$(dirname "${BASH_SOURCE[0]}")/../private.sh"

fail() {
	echo "failed: $*"
	exit 1
}

# expect WANTED GOT [WHAT]
expect() { [ "$1" = "$2" ] || fail "${3:-value}: expected \"$1\", got \"$2\""; }

# expect_match REGEX TEXT
expect_match() { [[ $2 =~ $1 ]] || fail "expected /$1/ in: $2"; }

# run_tests: each test_* function in the order of the file, in a shell of its own.
run_tests() {
	local name status=0 begun
	for name in $(grep -o '^test_[a-z0-9_]*' "$0"); do
		begun=$SECONDS
		if (set -e; "$name") >"$work/$name.out" 2>&1; then
			echo "ok $name ($((SECONDS - begun)) s)"
		else
			echo "not ok $name"
			sed 's/^/    /' "$work/$name.out"
			status=1
		fi
	done
	[ $status = 0 ] || {
		echo '    factory log:'
		tail -n 40 "$work/factory.log" 2>/dev/null | sed 's/^/    /'
	}
	exit $status
}
