#!/bin/bash
# What is special about a template's files: clones with copies of their own, memory on another
# file system, images carried along.
. "$(dirname "$0")/lib.sh"

definitions=$work/templates
disk=$work/memory   # /tmp: whatever file system that is
huge=$work/huge     # hugetlbfs, where the host has huge pages to give
HUGE_PAGES=420      # the template (192 MiB) and three clones of it, 2 MiB each
huge_before=

# define NAME JQ: a definition made from the usual one.
define() { jq --arg name "$1" '.name = $name | '"$2" "$work/template.json" >"$definitions/$1.json"; }

template_json() { status_json | jq --arg name "$1" '.templates[] | select(.name == $name)'; }
template_dir() { echo "$store/templates/$(template_json "$1" | jq -r .id)"; }
vm_of() { factory_ctl list --json | jq -r --arg t "$1" "[.vms[] | select(.template == \$t)][${2:-0}].$3"; }

# mapped PID PATTERN: "INODE KIB_SHARED KIB_PRIVATE" of the process's mapping of such a file.
mapped() {
	awk -v pattern="$2" '
		/^[0-9a-f]+-[0-9a-f]+ / { on = $0 ~ pattern; if (on) inode = $5 }
		on && /^Shared_/ { shared += $2 }
		on && /^Private_/ { private += $2 }
		END { print inode, shared + 0, private + 0 }' "/proc/$1/smaps"
}

# make_image FILE CONTENT: an EROFS image with the file hello, as a definition wants it.
make_image() {
	mkdir -p "$work/tree"
	echo "$2" >"$work/tree/hello"
	mkfs.erofs -E noinline_data "$1" "$work/tree" >/dev/null 2>&1
	truncate -s %2M "$1"
}

test_clones_that_share_nothing() {
	local first second
	factory_ctl init --template alone >/dev/null 2>&1
	for file in 'rw-. .*/(memory|#[0-9]+ .deleted.)$' 'r--s .*/(image|#[0-9]+ .deleted.)$'; do
		first=$(mapped "$(vm_of alone 0 pid)" "$file")
		second=$(mapped "$(vm_of alone 1 pid)" "$file")
		expect_match '^[0-9]+ 0 [1-9][0-9]*$' "$first"
		expect_match '^[0-9]+ 0 [1-9][0-9]*$' "$second"
		[ "${first%% *}" != "${second%% *}" ] || fail "both map inode $first"
	done
	# The other template's clones do: what is compared can differ.
	factory_ctl init --template placed >/dev/null 2>&1
	expect "$(stat -c %i "$disk"/kiln-*.memory)" \
		"$(mapped "$(vm_of placed 0 pid)" 'rw-p .*kiln-[0-9a-f]+.memory' | cut -d' ' -f1)" inode
	expect_match '^[0-9]+ [1-9][0-9]* [0-9]+$' "$(mapped "$(vm_of placed 0 pid)" 'r--s .*/image')"
}

test_a_clone_of_its_own_works_and_leaves_nothing() {
	local vm
	expect 'mine' "$(kiln_run own1 --annotation io.kiln.template=alone -- echo mine)"
	factory_ctl init --template alone >/dev/null 2>&1
	vm=$(vm_of alone 0 pid)
	kill -9 "$vm"
	wait_gone "$vm"
	expect "$(printf 'console\nimage\nmemory\nscratch\nscratch-new\nslot\nstate\ntemplate.json')" "$(ls "$(template_dir alone)")"
}

test_memory_on_a_disk() {
	expect 'placed' "$(kiln_run disk1 --annotation io.kiln.template=placed -- echo placed)"
	expect_match "memory_dir +$disk" "$(factory_ctl inspect placed)"
	factory_ctl verify placed >/dev/null || fail 'verify'
	expect 1 "$(find "$disk" -type f | wc -l)" 'files on the disk'
}

test_memory_elsewhere_goes_with_its_template() {
	local kept
	kept=$(ls "$disk")
	stop_factory KILL
	start_factory
	factory_ctl init --template placed >/dev/null 2>&1
	expect "$kept" "$(ls "$disk")" 'after a crash'
	factory_ctl destroy --template placed >/dev/null
	expect '' "$(ls "$disk")" 'after destroy'
}

test_an_unfinished_memory_elsewhere_is_removed() {
	[ -x "$BUILD/faults/kiln-factory" ] || { echo 'skip'; return 0; }
	stop_factory
	KILN_FAULT=bake.storing timeout 60 "$BUILD/faults/kiln-factory" --daemon \
		--config "$work/factory.json"
	local pid
	pid=$(factory_pid)
	factory_ctl init --template placed >/dev/null 2>&1 || true
	wait_gone "$pid"
	expect 1 "$(find "$disk" -type f | wc -l)" 'files on the disk, before'
	start_factory
	expect '' "$(ls "$disk")" 'files on the disk, after'
}

test_a_place_that_cannot_be_is_refused() {
	local out
	out=$(factory_ctl init --template nowhere 2>&1) && fail 'it was baked'
	expect_match 'memory_dir /proc/self is on a file system that holds no files' "$out"
}

test_carried_images_are_read_with_dax() {
	local out
	factory_ctl init --template laden >/dev/null 2>&1
	out=$(kiln_run images1 --annotation io.kiln.images=models/b \
		--mount type=kiln-image,src=models/b,dst=/b,options=ro \
		--mount type=kiln-image,src=tools,dst=/a -- \
		sh -c 'cat /a/hello /b/hello; grep " /[ab] " /proc/mounts; echo x >/b/x' 2>"$work/err") || true
	expect_match '^from tools
from models' "$out"
	expect_match '/dev/pmem1 /a erofs ro,[^ ]*dax=always' "$out"
	expect_match '/dev/pmem2 /b erofs ro,[^ ]*dax=always' "$out"
	expect_match 'Read-only file system' "$(cat "$work/err")"
}

test_claims_find_the_template_that_carries() {
	local out
	out=$(ctl agent --image tools -c Version 2>&1 >/dev/null)
	expect_match 'image tools is /dev/pmem1' "$out"
	expect_match 'image models/b is /dev/pmem2' "$out"
	out=$(ctl agent --image tools --image other -c Version 2>&1) && fail 'nobody carries it'
	expect_match 'no template fits: the images tools, other wanted' "$out"
	out=$(ctl agent --template alone --image tools -c Version 2>&1) && fail 'it does not carry it'
	expect_match 'no template fits: the images tools wanted; there is alone' "$out"
	factory_ctl init --template alone >/dev/null 2>&1
	out=$(kiln_run images2 --annotation io.kiln.template=alone \
		--mount type=kiln-image,src=tools,dst=/a -- true 2>&1) && fail 'it does not carry it'
	expect_match 'carries no image "tools"' "$out"
}

# Where no size fits, what is booted has the images as well: of "alone" as copies of its own.
test_booted_machines_carry_them_too() {
	local pid out
	factory_ctl init --template laden >/dev/null 2>&1
	expect 'from tools' "$(kiln_run images3 --annotation io.kiln.images=tools \
		"${with_sizes[@]}" --annotation io.kiln.memory_mib=400 \
		--mount type=kiln-image,src=tools,dst=/a -- cat /a/hello)"
	factory_ctl init --template alone >/dev/null 2>&1
	ctr run -d --runtime io.containerd.kiln.v2 --annotation io.kiln.template=alone \
		"${with_sizes[@]}" --annotation io.kiln.memory_mib=400 "$image" own2 sleep 600 || fail 'no sandbox'
	out=$(factory_ctl list --json | jq -r '.vms[] | select(.sandbox_id == "own2") | "\(.origin) \(.pid)"')
	expect_match '^booted [0-9]+$' "$out"
	pid=${out#* }
	expect_match '^[0-9]+ 0 [1-9][0-9]*$' "$(mapped "$pid" 'r--s .*/(image|#[0-9]+)')"
	ctr task rm -f own2 >/dev/null
	ctr containers rm own2
}

test_a_clone_without_a_factory_knows_them() {
	stop_factory
	expect_match 'image tools is /dev/pmem1' "$(ctl agent --image tools -c Version 2>&1 >/dev/null)"
	start_factory
	factory_ctl init --template laden >/dev/null 2>&1
}

test_images_are_inspected_verified_and_watched() {
	local out path
	out=$(factory_ctl inspect laden)
	expect_match "image tools +$work/tools.erofs" "$out"
	out=$(factory_ctl verify laden)
	expect_match 'image models/b +intact' "$out"
	path=$(template_dir laden)/images/1
	printf x | dd of="$path" bs=1 seek=4096 conv=notrunc status=none
	out=$(factory_ctl verify laden 2>&1) && fail 'it is damaged'
	expect_match 'image models/b +damaged' "$out"
	make_image "$work/tools.erofs" 'newer tools'
	local end=$((SECONDS + 60))
	until template_json laden | jq -e '.stale | startswith("image tools changed (sha256")' >/dev/null; do
		[ $SECONDS -lt $end ] || fail "stale: $(template_json laden | jq .stale)"
		read -r -t 0.2 <> <(:) || true
	done
}

reserve_huge_pages() {
	huge_before=$(cat /proc/sys/vm/nr_hugepages)
	echo $((huge_before + HUGE_PAGES)) >/proc/sys/vm/nr_hugepages 2>/dev/null
	[ "$(cat /proc/sys/vm/nr_hugepages)" -ge $((huge_before + HUGE_PAGES)) ] || return 1
	mkdir -p "$huge" && mount -t hugetlbfs -o pagesize=2M kiln-test "$huge"
}

release_huge_pages() {
	umount "$huge" 2>/dev/null || true
	[ -z "$huge_before" ] || echo "$huge_before" >/proc/sys/vm/nr_hugepages
}

test_huge_pages() {
	trap release_huge_pages EXIT
	if ! reserve_huge_pages; then
		echo "skip: this host gives out no huge pages (vm.nr_hugepages)"
		return 0
	fi
	factory_ctl init --template huge >"$work/huge.out" 2>&1 || fail "$(cat "$work/huge.out")"
	[ "$(stat -c %b "$huge"/kiln-*.memory)" -lt $((192 * 2048)) ] || fail 'no zero page was left out'
	expect huge "$(kiln_run huge1 --annotation io.kiln.template=huge -- echo huge)"
	factory_ctl destroy --template huge >/dev/null
	expect '' "$(ls -A "$huge")" 'after destroy'
	out=$(factory_ctl init --template huger 2>&1) && fail 'there are not so many pages'
	expect_match 'huge pages of 2048 KiB free.*raise sysctl vm.nr_hugepages' "$out"
}

write_config 0
mkdir -p "$definitions" "$disk" "$huge"
make_image "$work/tools.erofs" 'from tools'
make_image "$work/models.erofs" 'from models'
define alone '.share = "never" | .pool_size = 2'
define placed ".memory_dir = \"$disk\" | .pool_size = 2"
define nowhere '.memory_dir = "/proc/self"'
define laden ".images = [{name: \"tools\", file: \"$work/tools.erofs\"},
	{name: \"models/b\", file: \"$work/models.erofs\"}]"
define huge ".memory_dir = \"$huge\" | .memory_mib = 192"
define huger ".memory_dir = \"$huge\" | .memory_mib = 4096"
configure --arg t "$definitions" '.templates = $t'
start_factory && start_containerd || exit 1
allow_sizes
run_tests
