/* Real containers by the agent's own handlers: the sandbox, the world a container finds itself in,
 * what cannot be created, and that all of it goes. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "agent/cgroup.h"
#include "agent/cgroup_tasks.h"
#include "proto/guest_disks.h"
#include "proto/health.pb-c.h"
#include "tests/unit/agent/container_fixture.h"

static void test_health(void **state _unused_)
{
	Grpc__CheckRequest request = GRPC__CHECK_REQUEST__INIT;
	_cleanup_(error_done) struct error err = {};

	skip_unless_possible();
	ProtobufCMessage *check = call_service(&grpc__health__descriptor, "Check", &request.base,
					       &err);
	assert_non_null(check);
	assert_int_equal(((Grpc__HealthCheckResponse *)check)->status,
			 GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING);
	protobuf_c_message_free_unpacked(check, NULL);
	ProtobufCMessage *version = call_service(&grpc__health__descriptor, "Version",
						 &request.base, &err);
	assert_non_null(version);
	assert_string_equal(((Grpc__VersionCheckResponse *)version)->agent_version, KILN_VERSION);
	protobuf_c_message_free_unpacked(version, NULL);
	must("GetGuestDetails", "{\"mem_block_size\": true}");
	must("ListInterfaces", "{}");
	must("UpdateInterface", "{\"interface\": {\"device\": \"lo\"}}");
	must_fail("no interface \"eth7\"", "UpdateInterface",
		  "{\"interface\": {\"device\": \"eth7\"}}");
	must_fail("not six bytes", "UpdateInterface",
		  "{\"interface\": {\"device\": \"lo\", \"hwAddr\": \"02:00:00:00:00\"}}");
	must_fail("of a group", "UpdateInterface",
		  "{\"interface\": {\"device\": \"lo\", \"hwAddr\": \"01:00:00:00:00:00\"}}");
	must_fail("without a name", "UpdateInterface",
		  "{\"interface\": {\"device\": \"lo\", \"IPAddresses\": [{}]}}");
	must("ListRoutes", "{}");
	must("ReseedRandomDev", "{\"data\": \"AAECAwQFBgcICQoLDA0ODw==\"}");
	must_fail("1 to 4096 bytes", "ReseedRandomDev", "{}");
}

static void test_sandbox_is_one(void **state _unused_)
{
	skip_unless_possible();
	must_fail("has a sandbox already: box", "CreateSandbox", "{}");
	must("DestroySandbox", "{}");
	must("DestroySandbox", "{}");
	must_fail("there is no sandbox", "CreateContainer", "{\"container_id\": \"a\"}");
	must_fail("is not /dev/pmemN", "CreateSandbox",
		  "{\"storages\": [{\"driver\": \"nvdimm\", \"source\": \"/dev/sda\", "
		  "\"fstype\": \"erofs\", \"mount_point\": \"/run/x\"}]}");
	must_fail("driver \"nfs\" is unknown", "CreateSandbox",
		  "{\"storages\": [{\"driver\": \"nfs\", \"mount_point\": \"/run/x\"}]}");
	must_fail("scsi is not supported: this machine has no SCSI", "CreateSandbox",
		  "{\"storages\": [{\"driver\": \"scsi\", \"mount_point\": \"/mnt/x\"}]}");
	must_fail(
		"a guest pulls no images", "CreateSandbox",
		"{\"storages\": [{\"driver\": \"image_guest_pull\", \"mount_point\": \"/mnt/x\"}]}");
	must_fail(
		"no disk is at this place", "CreateSandbox",
		"{\"storages\": [{\"driver\": \"blk\", \"fstype\": \"ext4\", \"source\": \"1f/1f\","
		" \"mount_point\": \"/mnt/x\"}]}");
	must_fail("neither a path nor a place", "CreateSandbox",
		  "{\"storages\": [{\"driver\": \"blk\", \"fstype\": \"ext4\", \"source\": \"1/2\","
		  " \"mount_point\": \"/mnt/x\"}]}");
	must("CreateSandbox", "{\"hostname\": \"again\"}");
}

static void test_world_of_a_container(void **state _unused_)
{
	skip_unless_possible();
	expect_shell("echo $$; hostname; pwd; echo $WHO $HOME", "1\ninside\n/\nkiln /root\n");
	expect_shell("cd /dev; ls null zero full random urandom tty; readlink fd; readlink ptmx",
		     "full\nnull\nrandom\ntty\nurandom\nzero\n/proc/self/fd\npts/ptmx\n");
	expect_shell("head -c 4 /dev/zero | wc -c; echo x > /dev/null", "4\n");
	expect_shell("touch /proc/sys/kernel/x 2>/dev/null || echo no; cat /proc/uptime", "no\n");
	expect_shell("echo 1 > /proc/sys/kernel/dmesg_restrict || echo no", "no\n");
	expect_shell("ls /sys/firmware /proc/fs 2>/dev/null | grep -v : | grep .; true", "");
	expect_shell("echo /proc/[0-9]*", "/proc/1\n");
	expect_shell("ls -l /proc/self/fd | grep -c -e pipe -e socket", "3\n");
	expect_shell("echo to stdout > /dev/stdout", "to stdout\n");
	expect_shell("umask; grep -c . /proc/self/mountinfo > /dev/null; ls /",
		     "0022\nbin\ndev\netc\nproc\nrun\nsys\ntmp\n");
}

/* Also where a container that shares the guest's has changed that. */
static void test_name_without_one_is_the_sandboxes(void **state _unused_)
{
	static const char own[] = "\"hostname\": \"inside\",";
	_cleanup_free_ char *json = NULL;

	skip_unless_possible();
	must("DestroySandbox", "{}");
	must("CreateSandbox", "{\"hostname\": \"pod\"}");
	assert_int_equal(sethostname("changed", strlen("changed")), 0);
	json = spec_json("named", "\"args\": [\"hostname\"]", "", "");
	memset(strstr(json, own), ' ', strlen(own));
	must("CreateContainer", "%s", json);
	must("StartContainer", "{\"container_id\": \"named\"}");
	_cleanup_free_ char *out = read_all("ReadStdout", "named", "");
	assert_string_equal(out, "pod\n");
	must("RemoveContainer", "{\"container_id\": \"named\"}");
}

static void test_attributes(void **state _unused_)
{
	skip_unless_possible();
	_cleanup_free_ char *user = run_shell(
		", \"user\": {\"uid\": 1000, \"gid\": 1001, \"additionalGids\": [5, 6]},"
		" \"noNewPrivileges\": true, \"cwd\": \"/made/here\"",
		"", "",
		"id -u; id -g; id -G; pwd; echo $HOME; grep -e NoNewPrivs -e CapEff -e CapBnd "
		"/proc/self/status; echo a > /dev/stdout",
		0);
	assert_string_equal(user, "1000\n1001\n1001 5 6\n/made/here\n/home/kiln\n"
				  "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n"
				  "NoNewPrivs:\t1\na\n");
	_cleanup_free_ char *caps = run_shell(
		", \"capabilities\": {\"bounding\": [\"CAP_CHOWN\", \"CAP_KILL\"],"
		" \"permitted\": [\"CAP_CHOWN\"], \"effective\": [\"CAP_CHOWN\"],"
		" \"inheritable\": [\"CAP_CHOWN\"], \"ambient\": [\"CAP_CHOWN\"]},"
		" \"user\": {\"uid\": 1000, \"gid\": 1000}",
		"", "", "grep Cap /proc/self/status", 0);
	assert_string_equal(caps, "CapInh:\t0000000000000001\nCapPrm:\t0000000000000001\n"
				  "CapEff:\t0000000000000001\nCapBnd:\t0000000000000021\n"
				  "CapAmb:\t0000000000000001\n");
	_cleanup_free_ char *limits = run_shell(
		", \"rlimits\": [{\"type\": \"RLIMIT_NOFILE\", \"soft\": 77, \"hard\": 99}],"
		" \"oomScoreAdj\": 500",
		"", "", "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj", 0);
	assert_string_equal(limits, "77\n99\n500\n");
}

/* Where the spec gives none: not the agent's own, unless nobody may raise that here. */
static void test_open_files(void **state _unused_)
{
	static const char both[] = "ulimit -Sn; ulimit -Hn";
	struct rlimit own, high = { 1024, 1048576 };

	skip_unless_possible();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &own), 0);
	if (setrlimit(RLIMIT_NOFILE, &high) < 0)
		high.rlim_max = own.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &own), 0);
	_cleanup_free_ char *expected = xasprintf("1024\n%llu\n",
						  (unsigned long long)high.rlim_max);
	expect_shell(both, expected);
	create("one", "\"args\": [\"sleep\", \"1000\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	must("ExecProcess",
	     "{\"container_id\": \"one\", \"exec_id\": \"e\", \"process\": {\"args\": [\"sh\","
	     " \"-c\", \"%s\"], \"env\": [\"PATH=/bin\"]}}",
	     both);
	_cleanup_free_ char *out = read_all("ReadStdout", "one", "e");
	assert_string_equal(out, expected);
}

static void test_schedule(void **state _unused_)
{
	skip_unless_possible();
	_cleanup_free_ char *out = run_shell(
		", \"scheduler\": {\"policy\": \"SCHED_BATCH\", \"nice\": 7},"
		" \"ioPriority\": {\"class\": \"IOPRIO_CLASS_BE\", \"priority\": 6}",
		"", "", "/bin/busybox cut -d ' ' -f 19,41 /proc/self/stat; /bin/busybox ionice", 0);

	assert_string_equal(out, "7 3\nbest-effort: prio 6\n");
}

static void test_mounts(void **state _unused_)
{
	skip_unless_possible();
	_cleanup_free_ char *source = path_join(fixture.folder, "volume");
	_cleanup_free_ char *file = path_join(source, "file");
	_cleanup_(error_done) struct error err = {};
	assert_int_equal(dir_make(source, 0755, &err), 0);
	assert_int_equal(file_write_atomic(file, "content\n", 8, 0644, &err), 0);
	_cleanup_free_ char *mounts = xasprintf(
		"{\"destination\": \"/volume\", \"type\": \"bind\", \"source\": \"%s\","
		" \"options\": [\"rbind\", \"ro\"]},"
		"{\"destination\": \"/etc/file\", \"type\": \"bind\", \"source\": \"%s\","
		" \"options\": [\"bind\", \"rw\"]},",
		source, file);
	_cleanup_free_ char *out = run_shell(
		"", ", \"readonly\": true", mounts,
		"cat /volume/file /etc/file; touch /volume/x 2>/dev/null || echo ro; "
		"touch /x 2>/dev/null || echo ro; echo more >> /etc/file; touch /run/x && echo rw",
		0);
	assert_string_equal(out, "content\ncontent\nro\nro\nrw\n");
	_cleanup_free_ char *now = NULL;
	assert_int_equal(file_read(file, 100, &now, NULL, &err), 0);
	assert_string_equal(now, "content\nmore\n");
}

/* A root file system whose folders are links out of it. */
static void test_hostile_rootfs(void **state _unused_)
{
	skip_unless_possible();
	_cleanup_free_ char *link = path_join(fixture.rootfs, "escape");
	_cleanup_free_ char *outside = path_join(fixture.folder, "outside");
	_cleanup_free_ char *made = path_join(outside, "made");
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(dir_make(outside, 0755, &err), 0);
	assert_int_equal(symlink(outside, link), 0);
	free(run_shell(
		"", "",
		"{\"destination\": \"/escape/made\", \"type\": \"tmpfs\", \"source\": \"tmpfs\"},",
		"true", 0));
	_cleanup_free_ char *inside = xasprintf("%s%s", fixture.rootfs, made);
	assert_false(path_exists(made));
	assert_true(path_exists(inside));
	assert_int_equal(unlink(link), 0);
}

static void swap_for_link(const char *folder, const char *target)
{
	_cleanup_free_ char *path = path_join(fixture.rootfs, folder);

	assert_int_equal(rmdir(path), 0);
	assert_int_equal(symlink(target, path), 0);
}

static void swap_back(const char *folder)
{
	_cleanup_free_ char *path = path_join(fixture.rootfs, folder);

	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0755), 0);
}

/* A procfs where a link led when it was mounted would be missed by masked and read-only paths, if
 * a volume changes the way afterwards. */
static void test_proc_and_sysfs_follow_no_links(void **state _unused_)
{
	skip_unless_possible();
	_cleanup_free_ char *volume = path_join(fixture.folder, "turned");
	_cleanup_free_ char *nowhere = path_join(volume, "way");
	_cleanup_free_ char *mounts = xasprintf(
		"{\"destination\": \"/tmp\", \"type\": \"bind\", \"source\": \"%s\"},", volume);
	_cleanup_free_ char *json = spec_json("bad", "\"args\": [\"true\"]", "", mounts);
	_cleanup_free_ char *way = path_join(fixture.rootfs, "tmp/way");

	assert_int_equal(mkdir(volume, 0755), 0);
	assert_int_equal(symlink("/nowhere", nowhere), 0);
	assert_int_equal(symlink("/run", way), 0);
	swap_for_link("proc", "tmp/way");
	must_fail("proc must be mounted on an ordinary folder, and /proc is a symlink",
		  "CreateContainer", "%s", json);
	swap_back("proc");
	swap_for_link("sys", "run");
	must_fail("sysfs must be mounted on an ordinary folder, and /sys is a symlink",
		  "CreateContainer", "%s", json);
	swap_back("sys");
	assert_int_equal(unlink(way), 0);
	_cleanup_free_ char *proc = path_join(fixture.rootfs, "proc");
	assert_int_equal(rmdir(proc), 0);
	expect_shell("cat /proc/self/comm", "cat\n"); /* one that is missing is made */
}

static void test_errors_of_create(void **state _unused_)
{
	skip_unless_possible();
	must_fail("stdio by vsock ports", "CreateContainer",
		  "{\"container_id\": \"one\", \"stdout_port\": 5, \"OCI\": {}}");
	for (int i = 0; i < 2; i++) {
		_cleanup_free_ char *nosuch = spec_json("bad", "\"args\": [\"nosuch\"]", "", "");
		must_fail("unable to start container process: exec: \"nosuch\": executable file "
			  "not found in $PATH",
			  "CreateContainer", "%s", nosuch);
	}
	_cleanup_free_ char *path = spec_json("bad", "\"args\": [\"/bin/nosuch\"]", "", "");
	must_fail("exec: \"/bin/nosuch\": stat /bin/nosuch: No such file or directory",
		  "CreateContainer", "%s", path);
	_cleanup_free_ char *mount = spec_json(
		"bad", "\"args\": [\"true\"]", "",
		"{\"destination\": \"/x\", \"type\": \"bind\", \"source\": \"/nosuch\"},");
	must_fail("error mounting \"/nosuch\" to rootfs at \"/x\"", "CreateContainer", "%s", mount);
	_cleanup_free_ char *option = spec_json(
		"bad", "\"args\": [\"true\"]", "",
		"{\"destination\": \"/x\", \"type\": \"tmpfs\", \"source\": \"x\","
		" \"options\": [\"nonsense=1\"]},");
	must_fail("nonsense", "CreateContainer", "%s", option);
	must_fail("cannot open the root file system /nosuch", "CreateContainer",
		  "{\"container_id\": \"bad\", \"OCI\": {\"process\": {\"args\": [\"x\"]},"
		  " \"root\": {\"path\": \"/nosuch\"}}}");
	must_fail("not valid", "CreateContainer", "{\"container_id\": \"../x\"}");
	must_fail("no container \"bad\"", "StartContainer", "{\"container_id\": \"bad\"}");
	if (cgroup_root()) {
		_cleanup_free_ char *left = path_join(cgroup_root(), "bad");
		assert_false(path_exists(left));
	}
}

/* Containers in every state, taken away at once. */
static void test_destroy_with_containers(void **state _unused_)
{
	skip_unless_possible();
	create("created", "\"args\": [\"sleep\", \"1000\"]");
	create("running", "\"args\": [\"sh\", \"-c\", \"trap '' TERM INT HUP; sleep 1000 & sleep "
			  "1000\"]");
	must("StartContainer", "{\"container_id\": \"running\"}");
	create("stopped", "\"args\": [\"true\"]");
	must("StartContainer", "{\"container_id\": \"stopped\"}");
	assert_int_equal(wait_for("stopped", ""), 0);
	must("DestroySandbox", "{}");
	must_fail("no container", "WaitProcess", "{\"container_id\": \"created\"}");
	must("CreateSandbox", "{}");
	create("created", "\"args\": [\"true\"]");
}

static void test_remove_running(void **state _unused_)
{
	skip_unless_possible();
	create("one", "\"args\": [\"sleep\", \"1000\"]");
	must("StartContainer", "{\"container_id\": \"one\"}");
	must("RemoveContainer", "{\"container_id\": \"one\", \"timeout\": 5}");
	create("one", "\"args\": [\"true\"]");
	must("RemoveContainer", "{\"container_id\": \"one\"}");
}

static void test_storages(void **state _unused_)
{
	skip_unless_possible();
	_cleanup_free_ char *point = path_join(fixture.folder, "storage");

	must("DestroySandbox", "{}");
	must("CreateSandbox",
	     "{\"storages\": [{\"driver\": \"ephemeral\", \"source\": \"tmpfs\","
	     " \"fstype\": \"tmpfs\", \"options\": [\"size=1m\"], \"mount_point\": \"%s\"}]}",
	     point);
	_cleanup_free_ char *mounts = xasprintf(
		"{\"destination\": \"/s\", \"type\": \"bind\", \"source\": \"%s\"},", point);
	_cleanup_free_ char *out = run_shell("", "", mounts,
					     "grep -c '/s .* tmpfs' /proc/self/mountinfo", 0);
	assert_string_equal(out, "1\n");
	must("DestroySandbox", "{}");
	must_fail("no file system type", "CreateSandbox",
		  "{\"storages\": [{\"driver\": \"blk\", \"mount_point\": \"%s\"}]}", point);
	must_fail("no disk of this machine has the serial number none", "CreateSandbox",
		  "{\"storages\": [{\"driver\": \"blk\", \"fstype\": \"erofs\", \"source\": "
		  "\"/dev/disk/by-id/virtio-none\", \"mount_point\": \"%s\"}]}",
		  point);
}

static bool scratch_is_empty(void)
{
	DIR *dir = opendir(GUEST_SCRATCH);
	const struct dirent *entry;
	bool empty = true;

	while (dir && (entry = readdir(dir)))
		empty &= entry->d_name[0] == '.';
	if (dir)
		closedir(dir);
	return empty;
}

/* A container "one" on an overlay over the fixture's root, which runs the line. */
static void create_on_overlay(const char *point, const char *line)
{
	_cleanup_free_ char *process = xasprintf("\"args\": [\"sh\", \"-c\", \"%s\"]", line);
	_cleanup_free_ char *spec = xasprintf(spec_format, "one", process, point, "", "");

	must("CreateContainer",
	     "{\"storages\": [{\"driver\": \"overlayfs\", \"fstype\": \"overlay\","
	     " \"source\": \"overlay\", \"options\": [\"lowerdir=%s\"],"
	     " \"driver_options\": [\"io.katacontainers.fs-opt.overlay-rw\"],"
	     " \"mount_point\": \"%s\"}], %s",
	     fixture.rootfs, point, spec + 1);
}

/* What a container writes to its overlay is on the scratch disk and goes with it: a name is free
 * for the next one at once, and deep trees are no burden. */
static void test_overlay_on_scratch(void **state _unused_)
{
	static const char nest[] = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); mkdir d; cd d; "
				   "echo x >f; done";
	skip_unless_possible();
	_cleanup_free_ char *point = path_join(fixture.folder, "overlay");
	_cleanup_free_ char *written = path_join(point, "d/d/d/f");
	struct stat st, lower;

	assert_int_equal(chmod(fixture.rootfs, 0711), 0);
	for (unsigned i = 0; i < 2; i++) {
		create_on_overlay(point, nest);
		assert_int_equal(stat(point, &st), 0);
		assert_int_equal(stat(fixture.rootfs, &lower), 0);
		assert_int_equal(st.st_mode, lower.st_mode);
		must("StartContainer", "{\"container_id\": \"one\"}");
		assert_int_equal(wait_for("one", ""), 0);
		assert_int_equal(access(written, F_OK), 0);
		must("RemoveContainer", "{\"container_id\": \"one\"}");
		assert_int_equal(access(written, F_OK), -1);
	}
	bool never = false;
	for (unsigned i = 0; i < TIMEOUT_MS && !scratch_is_empty(); i++)
		loop_run_until(fixture.agent.loop, &never, 1);
	assert_true(scratch_is_empty());
	assert_int_equal(chmod(fixture.rootfs, 0755), 0);
}

static const char local_request[] = "{\"storages\": [{\"driver\": \"local\", \"source\": \"local\","
				    " \"driver_options\": [\"kiln.keep\"], \"mount_point\": \"%s\","
				    " \"options\": [\"mode=%s\", \"uid=5\", \"gid=6\"]}]}";

/* A folder of the guest's: its mode and owner are given once, and what is kept stays as it is. */
static void test_local_storages(void **state _unused_)
{
	skip_unless_possible();
	_cleanup_free_ char *point = path_join(fixture.folder, "volume/deep");
	_cleanup_free_ char *file = path_join(point, "file");
	struct stat st;

	must("DestroySandbox", "{}");
	must("CreateSandbox", local_request, point, "2775");
	assert_int_equal(stat(point, &st), 0);
	assert_int_equal(st.st_mode & 07777, 02775);
	assert_int_equal(st.st_uid, 5);
	assert_int_equal(st.st_gid, 6);
	assert_int_equal(mkdir(file, 0755), 0);
	assert_int_equal(chmod(point, 0700), 0);
	must("DestroySandbox", "{}");
	must("CreateSandbox", local_request, point, "0755");
	assert_int_equal(stat(point, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(stat(file, &st), 0);

	/* A container has removed it. */
	must("DestroySandbox", "{}");
	assert_int_equal(rmdir(file), 0);
	assert_int_equal(rmdir(point), 0);
	must("CreateSandbox", local_request, point, "0750");
	assert_int_equal(stat(point, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(st.st_uid, 5);
	must("DestroySandbox", "{}");
	must_fail("option \"mode=9\" is not supported", "CreateSandbox", local_request, file, "9");
}

/* What a container has made before it was asked for: also a file, and no link leads anywhere. */
static void test_local_storages_that_are_there(void **state _unused_)
{
	skip_unless_possible();
	_cleanup_free_ char *point = path_join(fixture.folder, "made");
	_cleanup_free_ char *file = path_join(fixture.folder, "made-file");
	_cleanup_free_ char *link = path_join(fixture.folder, "made-link");
	_cleanup_free_ char *through = path_join(link, "below/deeper");
	_cleanup_free_ char *below = path_join(point, "below");
	struct stat st;

	assert_int_equal(mkdir(point, 0700), 0);
	assert_int_equal(chown(point, 999, 998), 0);
	assert_int_equal(file_write_atomic(file, "x", 1, 0640, NULL), 0);
	assert_int_equal(symlink(point, link), 0);
	must("DestroySandbox", "{}");
	must("CreateSandbox", local_request, point, "2775");
	assert_int_equal(stat(point, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0700);
	assert_int_equal(st.st_uid, 999);
	assert_int_equal(st.st_gid, 998);
	must("DestroySandbox", "{}");
	must("CreateSandbox", local_request, file, "2775");
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0640);
	must("DestroySandbox", "{}");
	must_fail("cannot make the folder", "CreateSandbox", local_request, link, "0777");
	must_fail("cannot make the folder", "CreateSandbox", local_request, through, "0777");
	assert_int_equal(access(below, F_OK), -1);
}

/* As systemd and container engines do in a container: the first process moves below its group. */
static void test_birth_where_a_process_is(void **state _unused_)
{
	skip_unless_possible();
	if (!fixture.cgroup)
		skip();
	_cleanup_free_ char *folder = path_join(cgroup_root(), "moved/some/init");
	_cleanup_free_ char *procs = path_join(folder, "cgroup.procs");
	_cleanup_(cgroup_free_cleanup) struct cgroup *cgroup = NULL;
	_cleanup_(error_done) struct error err = {};
	_cleanup_close_ int fd = -EBADF;
	struct stat shown, st;

	assert_int_equal(cgroup_new("moved", NULL, &cgroup, &err), 0);
	assert_int_equal(dir_make(folder, 0755, &err), 0);

	pid_t pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	_cleanup_free_ char *text = xasprintf("%d", (int)pid);
	assert_int_equal(file_write_value(procs, text, &err), 0);
	assert_int_equal(cgroup_birth_fd_of(cgroup, pid, &fd, &err), 0);
	assert_int_equal(fstat(fd, &shown), 0);
	assert_int_equal(stat(folder, &st), 0);
	assert_int_equal(shown.st_ino, st.st_ino);
	assert_int_equal(openat(fd, "cgroup.procs", O_WRONLY), -1);
	assert_int_equal(errno, EROFS);

	int none = -EBADF;

	assert_int_equal(cgroup_birth_fd_of(cgroup, getpid(), &none, &err), -ENOENT);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(cgroup_remove(cgroup), 0);
}

/* Groups one below the other, by names that begin with a dot, and more of them half-way. Gives the
 * last one's folder. */
static int make_deep_groups(int top, int depth)
{
	int fd = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[32];

	for (int i = 0; i < depth; i++) {
		snprintf(name, sizeof(name), i % 2 ? "..hidden%d" : ".%d", i);
		assert_int_equal(mkdirat(fd, name, 0755), 0);
		int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_true(next >= 0);
		for (int k = 0; i == depth / 2 && k < 5; k++) {
			snprintf(name, sizeof(name), "beside%d", k);
			assert_int_equal(mkdirat(next, name, 0755), 0);
		}
		close_fd(fd);
		fd = next;
	}
	return fd;
}

/* A container that may write to its cgroup cannot keep it from being removed, nor hide in it. */
static void test_groups_of_a_container_s_own(void **state _unused_)
{
	enum { DEPTH = 600 }; /* more than a path has room for */
	_cleanup_(cgroup_free_cleanup) struct cgroup *cgroup = NULL;
	_cleanup_(pid_list_done) struct pid_list list = {};
	_cleanup_(error_done) struct error err = {};
	struct rlimit before;

	skip_unless_possible();
	if (!fixture.cgroup)
		skip();
	assert_int_equal(cgroup_new("deep", NULL, &cgroup, &err), 0);
	_cleanup_close_ int last = make_deep_groups(cgroup_fd(cgroup), DEPTH);
	_cleanup_close_ int procs = openat(last, "cgroup.procs", O_WRONLY | O_CLOEXEC);

	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	assert_true(dprintf(procs, "%d", (int)pid) > 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 64, before.rlim_max }), 0);
	assert_int_equal(pid_list_read(cgroup_fd(cgroup), &list, &err), 0);
	assert_int_equal(list.count, 1);
	assert_int_equal(list.pids[0], pid);
	assert_int_equal(cgroup_remove(cgroup), -EBUSY);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(cgroup_remove(cgroup), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIFE(test_health),
		LIFE(test_sandbox_is_one),
		LIFE(test_world_of_a_container),
		LIFE(test_name_without_one_is_the_sandboxes),
		LIFE(test_attributes),
		LIFE(test_open_files),
		LIFE(test_schedule),
		LIFE(test_mounts),
		LIFE(test_hostile_rootfs),
		LIFE(test_proc_and_sysfs_follow_no_links),
		LIFE(test_errors_of_create),
		LIFE(test_destroy_with_containers),
		LIFE(test_remove_running),
		LIFE(test_storages),
		LIFE(test_overlay_on_scratch),
		LIFE(test_local_storages),
		LIFE(test_local_storages_that_are_there),
		LIFE(test_birth_where_a_process_is),
		LIFE(test_groups_of_a_container_s_own),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
