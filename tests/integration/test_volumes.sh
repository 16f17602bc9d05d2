#!/bin/bash
# Volumes by real containerd: what a container and the host see of each other's files, what the
# containers of a pod share, and what the machine's VMM can do with it.
. "$(dirname "$0")/volumes.sh"

vol=$work/vol
probe() { gcc -D_GNU_SOURCE -O1 -static -o "$1/probe" "$tests/integration/volume_probe.c"; }

# bind SOURCE DESTINATION OPTIONS: for ctr.
bind() { echo "--mount type=bind,src=$1,dst=$2,options=$3"; }

# with_volume ID COMMAND...: a container that has the folder $vol as /v.
with_volume() { kiln_run "$1" $(bind "$vol" /v rbind:rw) -- "${@:2}"; }

# fresh: an empty $vol, also after a test that failed half-way.
fresh() {
	local mount
	awk -v v="$vol" '$5 == v || index($5, v "/") == 1 { print $5 }' /proc/self/mountinfo | sort -r |
		while read -r mount; do umount -l "$mount"; done
	rm -rf --one-file-system "$vol"
	mkdir "$vol"
}

# in_pod POD ID [CTR OPTIONS]: a container of the pod that stays.
in_pod() {
	local pod=$1 id=$2
	ctr run -d --runtime io.containerd.kiln.v2 --annotation "io.kubernetes.cri.sandbox-id=$pod" \
		--annotation io.kubernetes.cri.container-type=container \
		"${@:3}" "$image" "$id" sleep 1000
}
inside() { ctr tasks exec --exec-id "e$RANDOM" "$1" "${@:2}"; }

# ---------------------------------------------------------------- what the host has

# full_volume COMMAND...: what a container prints that has a folder of 4 MiB as /full.
full_volume() {
	mkdir -p "$work/full"
	mount -t tmpfs -o size=4m tmpfs "$work/full"
	kiln_run full $(bind "$work/full" /full rbind:rw) $(bind "$vol" /v rbind:ro) -- "$@"
}

# As runc does it: cp is refused by write() itself, for it asks for no fsync.
test_a_full_volume_is_told() {
	local out
	fresh
	out=$(full_volume sh -c 'dd if=/dev/zero of=/full/a bs=1M count=8 2>&1; echo $?
		cp /bin/busybox /full/c 2>&1; echo $?; wc -c </full/c')
	umount "$work/full"
	expect_match "dd: error writing '/full/a': No space left on device.*"$'\n1\n'"cp: .*: No space left on device"$'\n1\n0$' "$out"
}

# More may be there than was accepted: QEMU tells only the error of a write that fails half-way.
test_what_a_full_volume_accepts_is_there() {
	local error accepted whole
	fresh
	probe "$vol"
	read -r error accepted < <(full_volume /v/probe fill /full/a)
	whole=$("$vol/probe" whole "$work/full/a")
	umount "$work/full"
	expect ENOSPC "$error"
	((accepted > 4000000 && accepted <= whole)) || fail "$accepted bytes were accepted, $whole are there"
}

test_two_sandboxes_append() { expect_whole_appends; }

test_a_write_is_on_the_host_when_it_returns() {
	local line
	fresh
	mkfifo "$work/told"
	with_volume late sh -c 'exec 3>/v/log; for i in 1 2 3 4 5; do echo x >&3; echo $i; sleep 0.2; done' \
		>"$work/told" &
	while read -r line; do
		[ "$(wc -l <"$vol/log")" -ge "$line" ] || fail "the guest wrote $line lines, the host has fewer"
	done <"$work/told"
	wait $! || fail 'the writer failed'
	expect 5 "$(wc -l <"$vol/log")" lines
}

test_the_hosts_writes_are_seen_at_once() {
	fresh
	echo one >"$vol/file"
	in_pod seen seen $(bind "$vol" /v rbind:rw) $(bind "$vol/file" /etc/file rbind:rw)
	expect one "$(inside seen cat /etc/file)"
	echo 'two, and longer' >"$vol/file"
	expect 'two, and longer' "$(inside seen cat /etc/file)" 'the file'
	expect 'two, and longer' "$(inside seen cat /v/file)" 'the file in its folder'
	inside seen sh -c 'echo three >/etc/file'
	expect three "$(cat "$vol/file")" 'on the host'
	remove_container seen
}

test_a_shared_writable_mapping_is_refused() {
	fresh
	probe "$vol"
	expect EINVAL "$(with_volume map /v/probe mmap /v/m)"
}

# QEMU 7.2 by itself makes none (factory/preload/special_files.c).
test_fifos_and_sockets() {
	fresh
	probe "$vol"
	mknod -m 600 "$vol/null" c 1 3
	expect 'ok prw-r----- 7:8 through' "$(with_volume special sh -c 'cd /v; ./probe socket s; mkfifo p && chmod 640 p && chown 7:8 p
		stat -c "%A %u:%g" p; (echo through >p &); cat p; chmod 444 null; mknod n c 1 3 2>/dev/null || :' | xargs)"
	expect 'socket fifo 444' "$(stat -c %F "$vol/s" "$vol/p" | xargs) $(stat -c %a "$vol/null")" 'on the host'
	[ ! -e "$vol/n" ] || fail 'a container has made a device node of the host'
}

# Linux' own 9p would cut them to whole seconds from 1970 on (templates/module/kiln_times).
test_times_are_set_as_they_are() {
	local time
	fresh
	for time in '1950-03-04 05:06:07.123456789' '2106-02-07 06:28:16.987654321'; do
		touch -d "$time UTC" "$vol/from"
		expect "$time +0000" "$(with_volume times sh -c 'cd /v; touch -r from to; stat -c %y to')"
		expect "$(stat -c '%x %y' "$vol/from")" "$(stat -c '%x %y' "$vol/to")" 'on the host'
	done
}

# list_of FILE: its ACL, in hex.
list_of() {
	/usr/bin/python3 -c 'import os, sys; print(os.getxattr(sys.argv[1], "system.posix_acl_access").hex())' "$1"
}

# Whom they let in, is by the mode alone in the guest (docs/FILES.md).
test_access_lists_are_the_hosts() {
	fresh
	probe "$vol"
	touch "$vol/file"
	expect ok "$(with_volume acl /v/probe acl /v/file)"
	expect 0200000001000600ffffffff02000400e803000004000000ffffffff10000400ffffffff20000000ffffffff \
		"$(list_of "$vol/file")"
}

# The names of files that come and go are there or not: no other error.
test_files_that_go_are_gone() {
	local pid out
	fresh
	probe "$vol"
	(until [ -e "$vol/stop" ]; do touch "$vol/file" && rm "$vol/file"; done) &
	pid=$!
	out=$(with_volume going /v/probe open /v/file)
	touch "$vol/stop"
	wait $pid
	expect_match '^[1-9][0-9]* opened, [1-9][0-9]* ENOENT, 0 others$' "$out"
}

# As the kubelet does it: a new folder, a new link to it, renamed over the old one.
test_swapped_files_are_always_whole() {
	local i out
	fresh
	probe "$vol"
	mkdir "$vol/..0"
	echo 0 >"$vol/..0/value"
	ln -s ..0 "$vol/..data"
	ln -s ..data/value "$vol/value"
	out=$work/swap.out
	kiln_run swap $(bind "$vol" /v rbind:ro) -- /v/probe look /v >"$out" &
	for i in {1..200}; do
		mkdir "$vol/..$i"
		echo "$i" >"$vol/..$i/value"
		ln -s "..$i" "$vol/..new"
		mv -T "$vol/..new" "$vol/..data"
		sleep 0.05
		# A look that has read the link before goes on in the old folder.
		((i < 3)) || rm -r "$vol/..$((i - 3))"
	done
	touch "$vol/stop"
	wait $! || fail 'the reader failed'
	expect_match '^[0-9]+ looks 0 failures [1-9][0-9]+ lines' "$(cat "$out")"
}

test_sources_below_dev() {
	local folder
	folder=$(mktemp -d /dev/shm/kiln-test.XXXXXX)
	echo here >"$folder/file"
	expect here "$(kiln_run dev1 $(bind "$folder" /d rbind:rw) -- cat /d/file)"
	expect here "$(kiln_run dev2 $(bind "$folder/file" /f rbind:ro) -- cat /f)"
	expect ok "$(kiln_run dev3 $(bind /dev/null /null rbind:rw) -- sh -c 'test -c /null && echo ok')"
	rm -r "$folder"
}

test_ro_is_the_mount_and_rro_the_tree() {
	fresh
	mkdir "$vol/below"
	mount -t tmpfs tmpfs "$vol/below"
	expect below "$(kiln_run ro $(bind "$vol" /v rbind:ro) -- \
		sh -c 'echo a >/v/a && echo top; echo b >/v/below/b && echo below' 2>/dev/null)"
	expect '' "$(kiln_run rro $(bind "$vol" /v rbind:rro) -- \
		sh -c 'echo a >/v/a && echo top; echo b >/v/below/b && echo below; :' 2>/dev/null)"
	umount "$vol/below"
}

# As by a container of the host's own kernel.
test_what_is_mounted_below_a_volume_can_go() {
	fresh
	mkdir -m 700 "$vol/below"
	mount -t tmpfs tmpfs "$vol/below"
	echo here >"$vol/below/file"
	in_pod busy busy $(bind "$vol" /v rbind:rw)
	expect here "$(inside busy cat /v/below/file)"
	umount "$vol/below"
	rmdir "$vol/below"
	expect ok "$(inside busy sh -c 'test ! -e /v/below && echo ok')" 'after it has gone'
	remove_container busy
}

# Also those of root's alone, which the VMM's user could not look into as they are.
test_later_mounts_have_the_machines_ids() {
	fresh
	mkdir "$vol/late"
	mkdir -m 700 "$work/closed" "$work/closed/deeper"
	echo late >"$work/closed/deeper/file"
	chown 12:34 "$work/closed/deeper/file"
	mount --bind "$vol" "$vol"
	mount --make-shared "$vol"
	in_pod closed closed $(bind "$vol" /v rbind:rslave)
	mount --bind "$work/closed" "$vol/late"
	until_true 10 eval 'inside closed ls /v/late/deeper >/dev/null 2>&1'
	expect '12 34 late' "$(inside closed sh -c 'echo $(stat -c "%u %g" /v/late/deeper/file) $(cat /v/late/deeper/file)')"
	umount "$vol/late"
	expect '' "$(inside closed ls /v/late)" 'after it was unmounted'
	rmdir "$vol/late"
	remove_container closed
	umount "$vol"
}

test_later_mounts_are_seen() {
	fresh
	mkdir "$vol/late"
	mount --bind "$vol" "$vol"
	mount --make-shared "$vol"
	in_pod slave slave $(bind "$vol" /v rbind:rslave)
	mount -t tmpfs tmpfs "$vol/late"
	echo late >"$vol/late/file"
	expect late "$(inside slave cat /v/late/file)"
	umount "$vol/late"
	! inside slave cat /v/late/file 2>/dev/null || fail 'an unmounted file is still there'
	remove_container slave
	umount "$vol"
}

test_a_read_only_overlay_is_a_volume() {
	fresh
	mkdir -p "$vol"/{a,b/sub,shown,upper,work}
	echo a >"$vol/a/file"
	echo b >"$vol/b/sub/file"
	chown 1234 "$vol/b/sub/file"
	mount -t overlay -o "lowerdir=$vol/a:$vol/b" overlay "$vol/shown"
	expect a "$(kiln_run over1 $(bind "$vol/shown" /o rbind:ro) -- cat /o/file)"
	expect '1234 b' "$(kiln_run over2 $(bind "$vol/shown/sub" /o rbind:ro) -- \
		sh -c 'echo $(stat -c %u /o/file) $(cat /o/file)')"
	umount "$vol/shown"
	# As containerd 2.4 has an image's of one layer, to which nobody writes.
	mount -t overlay -o "lowerdir=$vol/a,upperdir=$vol/upper,workdir=$vol/work" overlay "$vol/shown"
	expect a "$(kiln_run over5 $(bind "$vol/shown" /o rbind:ro) -- cat /o/file)"
	echo written >"$vol/shown/file"
	expect_match "volume $vol/shown: .*idmapped mounts" \
		"$(kiln_run over6 $(bind "$vol/shown" /o rbind:ro) -- cat /o/file 2>&1 || true)"
	umount "$vol/shown"
}

test_another_overlay_is_refused_by_name_and_small_files_copied() {
	fresh
	mkdir -p "$vol"/{a,shown,upper,work}
	echo a >"$vol/a/file"
	mount -t overlay -o "lowerdir=$vol/a,upperdir=$vol/upper,workdir=$vol/work" overlay "$vol/shown"
	expect_match "volume $vol/shown: .*idmapped mounts" \
		"$(kiln_run over3 $(bind "$vol/shown" /o rbind:rw) -- cat /o/file 2>&1 || true)"
	expect a "$(kiln_run over4 $(bind "$vol/shown/file" /f rbind:ro) -- cat /f)"
	umount "$vol/shown"
}

# with_overlay ID OPTIONS COMMAND: a container whose configuration has an overlay on /o.
with_overlay() {
	ctr oci spec | jq --arg options "$2" --arg command "$3" ".process.args = [\"sh\", \"-c\", \$command] |
		.process.terminal = false | .root = {path: \"$root\"} | .mounts += [{destination: \"/o\",
		type: \"overlay\", source: \"overlay\", options: (\$options / \",\")}]" >"$work/overlay.json"
	ctr run --rm --runtime io.containerd.kiln.v2 --config "$work/overlay.json" "$1" </dev/null 2>&1
}

test_a_configuration_may_ask_for_an_overlay() {
	local root=$work/root
	fresh
	mkdir -p "$vol"/{a,b,shown,upper,work}
	"$tests/busybox-root" "$root"
	echo a >"$vol/a/file"
	echo b >"$vol/b/other"
	chown 1234 "$vol/b/other"
	expect 'file other 1234' "$(with_overlay asked1 "lowerdir=$vol/a:$vol/b,noexec" \
		'echo $(ls /o) $(stat -c %u /o/other)')"
	expect_match 'Read-only file system' "$(with_overlay asked2 "lowerdir=$vol/a:$vol/b" 'touch /o/x' || true)"
	with_overlay asked3 "lowerdir=$vol/a:$vol/b,upperdir=$vol/upper,workdir=$vol/work" 'echo new >/o/file && rm /o/other'
	expect new "$(cat "$vol/upper/file")"
	expect a "$(cat "$vol/a/file")"
	# As CRI-O shows an image: the folder twice, which is an overlay itself.
	mount -t overlay -o "lowerdir=$vol/a:$vol/b" overlay "$vol/shown"
	expect 'file other' "$(with_overlay asked4 "lowerdir=$vol/shown:$vol/shown" 'echo $(ls /o)')"
	expect_match 'Read-only file system' "$(with_overlay asked5 "lowerdir=$vol/shown:$vol/shown" 'touch /o/x' || true)"
	umount "$vol/shown"
	expect_match 'volume /o: .*lowerdir=missing:b.*No such file' "$(with_overlay asked6 "lowerdir=$vol/missing:$vol/b" true || true)"
}

# What the VMM of a container could open of a volume, its device nodes not among it.
test_no_device_of_a_volume_can_be_opened() {
	local pid
	fresh
	mkdir "$vol/below"
	mount -t tmpfs tmpfs "$vol/below"
	mknod -m 666 "$vol/below/null" c 1 3
	in_pod nodev nodev $(bind "$vol" /v rbind:rw)
	pid=$(factory_ctl list --json | jq '[.vms[] | select(.state == "claimed")][0].pid')
	expect '' "$(awk '$5 ~ "/vms/" && ($6 !~ /nodev/ || $6 !~ /nosuid/ || $6 !~ /noexec/) { print $5, $6 }' \
		"/proc/$pid/mountinfo")" 'mounts of the jail that are not nodev, nosuid and noexec'
	expect ok "$(inside nodev sh -c 'test -c /v/below/null && echo ok')" 'the node is seen'
	remove_container nodev
	umount "$vol/below"
}

test_virtio_fs_wants_memory_of_its_own() {
	expect_match 'volumes by virtio-fs: .*"share": "never"' \
		"$(kiln_run fs --annotation io.kiln.volumes=virtiofs -- true 2>&1 || true)"
	expect_match 'io.kiln.volumes is "nfs"' "$(kiln_run fs --annotation io.kiln.volumes=nfs -- true 2>&1 || true)"
}

# ---------------------------------------------------------------- users and groups from 65536 on

large=1000650000

# as_user USER ANNOTATIONS ID [CTR OPTIONS] -- COMMAND...: a container by a spec of its own, for `ctr run` has no
# words for process.user. It has the folder $vol as /v, and $vol/own as /etc/own.
as_user() {
	local user=$1 annotations=$2 id=$3 options=()
	for ((; $# > 0; )); do
		shift
		[ "${1-}" != -- ] || break
		[[ ${1-} != -* ]] || options+=("$1")
	done
	[ -d "$work/root" ] || { "$tests/busybox-root" "$work/root" && chmod 1777 "$work/root/tmp"; }
	ctr oci spec | jq --arg root "$work/root" --arg v "$vol" ".root = {path: \$root} | .process.terminal = false
		| .process.user = $user | .annotations += $annotations | .process.args = \$ARGS.positional
		| .process.env = [\"PATH=/bin\"] | .mounts += [{destination: \"/v\", source: \$v},
			{destination: \"/etc/own\", source: (\$v + \"/own\")} | . + {type: \"bind\", options: [\"rbind\"]}]" \
		--args -- "${@:2}" >"$work/user.json"
	ctr run --runtime io.containerd.kiln.v2 "${options[@]}" --config "$work/user.json" "$id"
}

# As OpenShift has it: the volume is of a group that all of the pod have, and setgid.
test_large_owners_are_the_hosts() {
	local out
	fresh
	echo secret >"$vol/own"
	chown $large:$large "$vol/own"
	chmod 600 "$vol/own"
	chown 0:$large "$vol"
	chmod 2770 "$vol"
	out=$(as_user "{uid: $large, gid: 0, additionalGids: [$large]}" '{}' large --rm -- \
		sh -c 'cd /v; umask 077; echo new >new; mkdir dir; ln -s own link; mkfifo fifo; chmod 640 own
			cat own /etc/own; stat -c %u:%g . own /etc/own new dir link fifo; id -u; id -G; cat /proc/self/uid_map')
	expect "secret secret 0:$large $large:$large $large:$large $large:$large $large:$large $large:$large $large:$large $large 0 $large 0 0 4294967295" \
		"$(xargs <<<"$out")" 'in the container'
	expect "$large:$large $large:$large $large:$large $large:$large $large:$large" \
		"$(cd "$vol" && stat -c %u:%g own new dir link fifo | xargs)" 'on the host'
	expect '640 600 2700' "$(cd "$vol" && stat -c %a own new dir | xargs)" 'modes'
}

# A container has the ids that its pod has named when it is made; all others are refused or nobody's.
test_large_ids_that_a_pod_names() {
	local id member='{"io.kubernetes.cri.sandbox-id": "ids", "io.kubernetes.cri.container-type": "container"}'
	fresh
	chmod 777 "$vol"
	touch "$vol/own" "$vol/place"
	chown 61056:61183 "$vol/place"
	in_pod ids ids
	in_pod ids early $(bind "$vol" /v rbind:rw)
	as_user "{uid: $large, gid: 4294967294}" "$member" app -d -- sleep 1000
	in_pod ids late $(bind "$vol" /v rbind:rw)
	inside app sh -c 'echo app >/v/file; chmod 600 /v/file'
	expect "$large:4294967294" "$(stat -c %u:%g "$vol/file")" 'on the host'
	expect "app $large:4294967294" "$(inside late sh -c 'cat /v/file; stat -c %u:%g /v/file' | xargs)" 'in another container'
	inside late sh -c "touch /v/given; chown $large:12 /v/given; chown 13:$large /v/file"
	expect "$large:12 13:$large" "$(stat -c %u:%g "$vol/given" "$vol/file" | xargs)" 'given away'
	inside late chown 0:0 /v/file
	expect '0:0' "$(stat -c %u:%g "$vol/file")" 'taken back'
	ctr tasks exec --exec-id by-user --user $large late sh -c 'echo >/v/by-user'
	expect "$large" "$(stat -c %u "$vol/by-user")" 'by an exec'
	expect_match 'Invalid argument' "$(inside late chown 1000650001 /v/file 2>&1 || true)" 'an id that nobody has named'
	expect_match 'Invalid argument' "$(inside late chown 61056 /v/file 2>&1 || true)" 'a place'
	expect_match 'Invalid argument' \
		"$(ctr tasks exec --exec-id stranger --user 2000000000 late touch /v/stranger 2>&1 || true)" 'an exec by a stranger'
	[ ! -e "$vol/stranger" ] || fail 'a file that could not get its owner is there'
	expect '65534:65534' "$(inside late stat -c %u:%g /v/place)" 'files of the places'
	expect '65534:12 61056:61183' "$(inside early stat -c %u:%g /v/given /v/place | xargs)" 'in a container that was there before'
	expect_match 'Invalid argument' "$(inside early chown $large /v/file 2>&1 || true)" 'of that'
	for id in late app early ids; do remove_container $id; done
}

test_more_large_ids_than_a_machine_has() {
	fresh
	touch "$vol/own"
	expect_match 'additionalGids 1000650128: .*128 other ids' \
		"$(as_user "{uid: 0, gid: 0, additionalGids: [range($large; $((large + 129)))]}" '{}' many --rm -- true 2>&1 || true)"
	ctr containers delete many 2>/dev/null || true
	expect "$((large + 127))" "$(as_user "{uid: 0, gid: 0, additionalGids: [range($large; $((large + 128)))]}" '{}' enough --rm -- \
		sh -c 'touch /v/last; chown $(id -G | tr " " "\n" | tail -n 1) /v/last; stat -c %u /v/last')"
}

# The whole root is the host's, and so are the owners in it.
test_large_owners_of_a_root_by_the_share() {
	fresh
	touch "$vol/own"
	expect "$large:5" "$(as_user "{uid: $large, gid: 5}" '{"io.kiln.rootfs": "share"}' shared --rm -- \
		sh -c 'touch /tmp/file && stat -c %u:%g /tmp/file')"
	expect "$large:5" "$(stat -c %u:%g "$work/root/tmp/file")" 'on the host'
}

# ---------------------------------------------------------------- what only the pod has

test_empty_dirs_are_the_pods() {
	local dir=$work/pods/1/volumes/kubernetes.io~empty-dir/cache
	mkdir -p "$dir"
	chown 7:8 "$dir"
	chmod 2775 "$dir"
	in_pod pod1 pod1
	in_pod pod1 one $(bind "$dir" /a rbind:rw)
	in_pod pod1 two $(bind "$dir" /b rbind:ro:nosuid:nodev:noexec)
	expect '7 8 2775' "$(inside one stat -c '%u %g %a' /a)" 'owner and mode'
	inside one sh -c 'echo mine >/a/file; mkfifo /a/fifo; cp /bin/busybox /a/'
	expect mine "$(inside two cat /b/file)" 'in the other container'
	! inside two sh -c 'echo x >/b/x' 2>/dev/null || fail 'a read-only bind can be written to'
	! inside two /b/busybox true 2>/dev/null || fail 'a noexec bind is executed from'
	inside one /a/busybox true || fail 'an emptyDir cannot be executed from'
	expect '' "$(ls -A "$dir")" 'on the host'
	remove_container one
	in_pod pod1 one $(bind "$dir" /a rbind:rw)
	expect mine "$(inside one cat /a/file)" 'after a restart of the container'
	remove_container two
	remove_container one
	in_pod pod1 three $(bind "$dir" /a rbind:rw)
	expect mine "$(inside three cat /a/file)" 'after no container had it'
	remove_container three
	remove_container pod1
}

# sub_path POD NAME PATH: prints what the kubelet makes on the host for a subPath, with the mode of the emptyDir.
sub_path() {
	local at=$1/volumes/kubernetes.io~empty-dir/cache level shown=$1/volume-subpaths/cache/$2/0 mode
	mode=$(stat -c %a "$at")
	for level in ${3//\// }; do
		at+=/$level
		mkdir -m "$mode" "$at"
	done
	mkdir -p "$shown"
	mount --bind "$at" "$shown"
	echo "$shown"
}

test_sub_paths_of_empty_dirs() {
	local pod=$work/pods/2 dir deep data file level
	dir=$pod/volumes/kubernetes.io~empty-dir/cache
	mkdir -p "$dir"
	chmod 777 "$dir"
	deep=$(sub_path "$pod" two sub/deep)
	data=$(sub_path "$pod" data pgdata)
	file=$(sub_path "$pod" file nginx.conf)
	in_pod pod2 pod2
	in_pod pod2 one $(bind "$dir" /a rbind:rw)
	in_pod pod2 two $(bind "$deep" /s rbind:rw)
	inside two sh -c 'echo deep >/s/file'
	expect deep "$(inside one cat /a/sub/deep/file)"
	expect '777 0 777 0' "$(inside one stat -c '%a %u' /a/sub /a/sub/deep | xargs)" 'mode and owner of each level'
	remove_container two
	# As the kubelet makes it for each start.
	inside one rm -r /a/sub
	in_pod pod2 two $(bind "$deep" /s rbind:rw)
	expect '777 0' "$(inside two stat -c '%a %u' /s)" 'after it was removed'
	remove_container two
	# What an init container has made is there as it is.
	inside one sh -c 'mkdir -m 700 /a/pgdata; chown 999 /a/pgdata; echo conf >/a/nginx.conf; chmod 640 /a/nginx.conf'
	in_pod pod2 three $(bind "$data" /data rbind:rw) $(bind "$file" /etc/nginx.conf rbind:rw)
	expect '700 999 640 0 conf' \
		"$(inside three sh -c 'stat -c "%a %u" /data /etc/nginx.conf; cat /etc/nginx.conf' | xargs)" 'what was made before'
	remove_container three
	# What a container puts in the place of a folder leads nowhere.
	for level in sub/deep sub; do
		inside one sh -c "rm -r /a/$level; ln -s /etc /a/$level"
		! in_pod pod2 two $(bind "$deep" /s rbind:rw) 2>/dev/null ||
			fail "a link was followed to $(inside two ls /s)"
		ctr containers delete two 2>/dev/null || true
	done
	remove_container one
	remove_container pod2
	umount "$deep" "$data" "$file"
}

test_shm_and_memory_are_the_pods() {
	local shm=$work/shm memory=$work/pods/3/volumes/kubernetes.io~empty-dir/memory
	mkdir -p "$shm" "$memory"
	mount -t tmpfs -o nosuid,nodev,noexec,mode=1777,size=1m shm "$shm"
	mount -t tmpfs -o size=2m tmpfs "$memory"
	in_pod pod3 pod3
	in_pod pod3 one $(bind "$shm" /dev/shm rbind:rw) $(bind "$memory" /m rbind:rw)
	in_pod pod3 two $(bind "$shm" /dev/shm rbind:rw) $(bind "$memory" /m rbind:rw)
	inside one sh -c 'echo s >/dev/shm/file; echo m >/m/file'
	expect 's m' "$(inside two cat /dev/shm/file /m/file | xargs)"
	expect_match ' /dev/shm rw,nosuid,nodev,noexec.* - tmpfs ' "$(inside one cat /proc/self/mountinfo)"
	expect '1777 1024' "$(inside one sh -c 'echo $(stat -c %a /dev/shm) $(df -k /dev/shm | awk "END { print \$2 }")')"
	! inside one dd if=/dev/zero of=/dev/shm/big bs=64k count=32 2>/dev/null || fail 'no limit of /dev/shm'
	! inside one dd if=/dev/zero of=/m/big bs=64k count=48 2>/dev/null || fail 'no limit of the emptyDir'
	expect '' "$(ls -A "$shm" "$memory" | grep -v :)" 'on the host'
	remove_container two
	remove_container one
	remove_container pod3
	umount "$shm" "$memory"
}

test_an_empty_dir_takes_sockets_and_mappings() {
	local dir=$work/pods/4/volumes/kubernetes.io~empty-dir/run
	mkdir -p "$dir"
	fresh
	probe "$vol"
	expect 'ok ok' "$(kiln_run socket $(bind "$dir" /run/x rbind:rw) $(bind "$vol" /v rbind:ro) -- \
		sh -c 'echo $(/v/probe socket /run/x/s) $(/v/probe mmap /run/x/m)')"
}

test_nothing_is_left() {
	wait_no_sandboxes
	expect '' "$(awk -v w="$run/vms" 'index($5, w) == 1 && $5 ~ "/mounts/" { print $5 }' /proc/self/mountinfo)" mounts
}

write_config 3
start_factory
start_containerd
wait_full
run_tests "$@"
