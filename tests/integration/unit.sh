# Running a program with what a unit of systemd (templates/systemd) leaves it, where no systemd runs:
# the user, capabilities, no_new_privs and system calls that it names. Sourced after lib.sh.

units=$tests/../templates/systemd

# unit_says UNIT KEY: its values, a line each, in their order.
unit_says() { sed -n "s/^$2=//p" "$units/$1"; }

# system_calls NAME...: groups (@mount) become what systemd says is in them.
system_calls() {
	local name
	for name in "$@"; do
		case $name in
		@*) system_calls $(systemd-analyze syscall-filter --no-pager "$name" | sed -n 's/^ \+\([^# ]\)/\1/p') ;;
		*) echo "$name" ;;
		esac
	done
}

# unit_filter UNIT: the system calls it leaves. A list that allows has @default, and what comes later
# with a ~ is taken away again.
unit_filter() {
	local line
	system_calls @default | sort -u >"$work/allowed"
	while read -r line; do
		case $line in
		'~'*) system_calls ${line#\~} | sort -u | comm -23 "$work/allowed" - >"$work/allowed.new" ;;
		*) system_calls $line | sort -u - "$work/allowed" >"$work/allowed.new" ;;
		esac
		mv "$work/allowed.new" "$work/allowed"
	done < <(unit_says "$1" SystemCallFilter)
	cat "$work/allowed"
}

# unit_capabilities UNIT: the list, as setpriv wants it.
unit_capabilities() {
	unit_says "$1" CapabilityBoundingSet | tr '[:upper:] ' '[:lower:]\n' | sed -n 's/^cap_/,+/p' | tr -d '\n'
}

# unit_user UNIT: as setpriv wants it. Who the unit says is nobody here, in those of its groups that the host has.
unit_user() {
	local groups
	[ -n "$(unit_says "$1" User)" ] || return 0
	groups=$(getent group $(unit_says "$1" SupplementaryGroups) | cut -d: -f3 | paste -sd,) || true # some are missing
	echo --reuid=nobody --regid=nogroup "${groups:+--groups=}${groups:---clear-groups}"
}

# as_unit UNIT COMMAND...
as_unit() {
	local unit=$1
	shift
	[ "$(unit_says "$unit" NoNewPrivileges)" = yes ] || fail "$unit lets programs gain privileges"
	[ -e "$work/under_filter" ] ||
		gcc -O2 -o "$work/under_filter" "$(dirname "${BASH_SOURCE[0]}")/under_filter.c" -lseccomp
	[ -s "$work/$unit.calls" ] || unit_filter "$unit" >"$work/$unit.calls"
	setpriv --no-new-privs --bounding-set="-all$(unit_capabilities "$unit")" $(unit_user "$unit") \
		"$work/under_filter" "$work/$unit.calls" "$@"
}
