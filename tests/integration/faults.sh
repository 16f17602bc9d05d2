# What the tests of faults share: a factory that meets a fault when it is told to, on file systems that
# can be filled (base/fault.h).

. "$(dirname "${BASH_SOURCE[0]}")/crash.sh"

# small_folder DIR SIZE: a file system of its own.
small_folder() {
	mkdir -p "$1"
	mount -t tmpfs -o "size=$2,mode=711" kiln-test "$1"
}

# fill DIR: nothing more can be written there, until empty DIR.
fill() { dd if=/dev/zero of="$1/filling" bs=4k 2>/dev/null || true; }
empty() { rm "$1/filling"; }

# logged REGEX: it is in the log since mark_log, or comes.
mark_log() { mark=$(($(wc -l <"$work/factory.log") + 1)); }
logged() {
	timeout 30 grep -qEm1 "$1" <(tail -n "+$mark" -f "$work/factory.log") || fail "no /$1/ in the log"
}

# recovered WHAT: the factory is the same, a claim works, the pool is full and nothing is astray.
recovered() {
	expect "$factory" "$(factory_pid)" "the factory after $1"
	until_true 30 wait_full
	ctl agent -c Check >"$work/out" 2>&1 || fail "no claim after $1: $(cat "$work/out")"
	until_true 30 wait_full
	expect_nothing_astray "$1"
}

# points OF...: the names of the steps that a test can have fail, in the source.
points() { grep -rhoE 'FAULT_ERROR\("[a-z.]*"' "$tests/../factory" "$tests/../shim" | cut -d'"' -f2 | sort -u | grep -E "^($1)\."; }

# arm POINT=ERROR: the factory, or a shim, meets it once, at its next passing.
arm() {
	mark_log
	echo "$1" >"$run/armed/fault.new"
	mv "$run/armed/fault.new" "$run/armed/fault"
}
expect_met() { [ ! -e "$run/armed/fault" ] || fail "$1 was not passed"; }

error_text() {
	case $1 in
	ENOSPC) echo 'No space left on device' ;;
	EIO) echo 'Input/output error' ;;
	esac
}

# start_faulty_factory: on file systems of its own, which are removed with the rest of $work. Clones do not
# wait for each other.
start_faulty_factory() {
	rmdir "$store"
	store=$work/store
	small_folder "$store" 400m
	small_folder "$run" 160m
	write_config "$pool_size"
	configure '.clones_at_once = 8'
	install -d -o nobody "$run/armed" # who meets a fault removes the file; the factory can there only
	KILN_FAULT=@$run/armed/fault timeout 60 "$faulty" --daemon --config "$work/factory.json"
	factory=$(factory_pid)
}
