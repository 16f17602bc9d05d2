/* What of a container becomes a disk, and what is left out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "shim/container_disks.h"
#include "shim/spec.h"

static void test_which_mounts_are_a_disks(void **state _unused_)
{
	static const struct {
		const char *type, *source, *option;
		bool is_disk;
	} cases[] = {
		{ "ext4", "/dev/mapper/pool-snap-1", "rw", true },
		{ "ext4", "/var/lib/snapshots/1", "loop", true },
		{ "xfs", "/dev/dm-3", "nouuid", true },
		{ "ext4", "/var/lib/snapshots/1", "rw", false },
		{ "erofs", "/var/lib/snapshots/1/layer.erofs", "loop", false },
		{ "overlay", "overlay", "index=off", false },
		{ "overlay", "/dev/x", "loop", false },
		{ "bind", "/dev/loop0", "rbind", false },
		{ "ext4", "/dev/loop0", "bind", false },
		{ "tmpfs", "/dev/shm", "ro", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		Containerd__Types__Mount mount = CONTAINERD__TYPES__MOUNT__INIT;
		Containerd__Types__Mount *mounts[] = { &mount, &mount };
		char *options[] = { (char *)cases[i].option };
		mount.type = (char *)cases[i].type;
		mount.source = (char *)cases[i].source;
		mount.options = options;
		mount.n_options = 1;
		if (container_disks_have_root(mounts, 1) != cases[i].is_disk)
			fail_msg("%s of type %s", cases[i].source, cases[i].type);
		assert_false(container_disks_have_root(mounts, 2));
	}
}

/* A spec with this block device and one of characters, and these rules of the device cgroup. */
static int list_device(const char *path, unsigned major, unsigned minor, const char *rules,
		       struct container_disks **ret, size_t *ret_left)
{
	_cleanup_free_ char *text = xasprintf(
		"{\"process\":{\"args\":[\"x\"],\"cwd\":\"/\"},\"root\":{\"path\":\"r\"},\"linux\":{"
		"\"devices\":[{\"path\":\"%s\",\"type\":\"b\",\"major\":%u,\"minor\":%u},"
		"{\"path\":\"/dev/fuse\",\"type\":\"c\",\"major\":10,\"minor\":229}],"
		"\"resources\":{\"devices\":[%s]}}}",
		path, major, minor, rules);
	_cleanup_(spec_free_cleanup) struct spec *spec = NULL;
	struct container_disks_options options = {
		.run_dir = "/nowhere",
		.container_id = "c1",
		.sandbox_id = "p1",
		.shim_address = "unix:///x",
	};

	assert_int_equal(spec_parse(text, strlen(text), "/b", &spec, NULL), 0);
	spec_for_guest(spec, "c1");
	options.oci = spec->oci;
	_cleanup_(error_done) struct error err = {};
	int r = container_disks_new(&options, ret, &err);
	*ret_left = spec->oci->linux->n_devices;
	return r;
}

/* One that no host has. */
static int list(const char *rules, struct container_disks **ret, size_t *ret_left)
{
	return list_device("/dev/x", 4000, 1, rules, ret, ret_left);
}

static void test_devices_go_by_the_rules(void **state _unused_)
{
	static const char deny[] = "{\"allow\":false,\"access\":\"rwm\"}";
	static const struct {
		const char *rule;
		int result; /* -ENODEV: it was looked for */
	} cases[] = {
		{ "{\"allow\":true,\"type\":\"c\",\"major\":4000,\"minor\":1,\"access\":\"rwm\"}",
		  0 },
		{ "{\"allow\":true,\"type\":\"b\",\"major\":4000,\"minor\":2,\"access\":\"rwm\"}",
		  0 },
		{ "{\"allow\":true,\"type\":\"b\",\"major\":4000,\"minor\":1,\"access\":\"m\"}",
		  0 },
		{ "{\"allow\":true,\"type\":\"b\",\"major\":4000,\"minor\":1,\"access\":\"rwm\"}",
		  -ENODEV },
		{ "{\"allow\":true,\"type\":\"b\",\"major\":4000,\"minor\":1,\"access\":\"r\"}",
		  -ENODEV },
		{ "{\"allow\":true,\"type\":\"a\",\"access\":\"rwm\"}", -ENODEV },
		{ "{\"allow\":true,\"access\":\"rwm\"}", -ENODEV },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *rules = xasprintf("%s,%s", deny, cases[i].rule);
		struct container_disks *disks = NULL;
		size_t left;
		int r = list(rules, &disks, &left);
		if (r != cases[i].result)
			fail_msg("%s: %d", cases[i].rule, r);
		assert_null(disks);
		assert_int_equal(left, cases[i].result == 0 ? 1 : 2);
	}
}

/* A privileged container's list has what the host has, without a rule for each. */
static void test_loop_devices_are_the_guests(void **state _unused_)
{
	static const char all[] = "{\"allow\":true,\"type\":\"a\",\"access\":\"rwm\"}";
	struct container_disks *disks = NULL;
	struct stat st;
	size_t left;

	if (stat("/dev/loop0", &st) < 0 || !S_ISBLK(st.st_mode))
		skip();
	assert_int_equal(list_device("/dev/loop0", 7, 0, all, &disks, &left), 0);
	assert_null(disks);
	assert_int_equal(left, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_which_mounts_are_a_disks),
		cmocka_unit_test(test_devices_go_by_the_rules),
		cmocka_unit_test(test_loop_devices_are_the_guests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
