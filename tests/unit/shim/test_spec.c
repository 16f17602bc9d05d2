/* config.json on its way into the guest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "runc_spec.h"
#include "shim/spec.h"

static struct spec *parse(const char *text)
{
	struct error err = {};
	struct spec *spec = NULL;

	if (spec_parse(text, strlen(text), "/bundle", &spec, &err) < 0)
		fail_msg("%s", error_message(&err));
	return spec;
}

static void plain_spec_is_read_whole(void **state _unused_)
{
	_cleanup_(spec_free_cleanup) struct spec *spec = parse(SPEC_JSON("", "", ""));
	const Grpc__Process *process = spec->oci->process;

	assert_string_equal(spec->oci->version, "1.0.2-dev");
	assert_string_equal(spec->rootfs, "/bundle/rootfs");
	assert_int_equal(process->n_args, 3);
	assert_string_equal(process->args[2], "true");
	assert_int_equal(process->user->uid, 1);
	assert_int_equal(process->user->additionalgids[1], 4);
	assert_true(process->rlimits[0]->hard == UINT64_MAX);
	assert_true(process->nonewprivileges);
	assert_int_equal(process->oomscoreadj, -5);
	assert_string_equal(process->capabilities->bounding[0], "CAP_KILL");
	assert_int_equal(spec->oci->linux->resources->memory->limit, 1048576);
	assert_string_equal(spec->oci->linux->maskedpaths[0], "/proc/kcore");
	assert_true(spec->oci->root->readonly);
}

static void guest_gets_its_own_paths(void **state _unused_)
{
	_cleanup_(spec_free_cleanup) struct spec *spec = parse(SPEC_JSON("", "", ""));

	spec_for_guest(spec, "c1");
	assert_string_equal(spec->rootfs, "/bundle/rootfs");
	assert_string_equal(spec->oci->linux->cgroupspath, "/kiln/c1");
	assert_null(spec->oci->hooks);
	assert_int_equal(spec->oci->linux->n_devices, 2);
	assert_string_equal(spec->oci->linux->devices[0]->path, "/dev/sda");
	assert_string_equal(spec->oci->linux->devices[1]->path, "/dev/fuse");
}

static bool is_one(pid_t pid, const void *userdata _unused_)
{
	return pid == 1;
}

static void namespaces_that_cannot_be_had_are_refused(void **state _unused_)
{
	static const struct {
		const char *json; /* linux.namespaces */
		const char *why;  /* NULL: they can be had */
	} cases[] = {
		{ "[{\"type\":\"pid\"},{\"type\":\"ipc\"}]", NULL },
		{ "[{\"type\":\"pid\"},{\"type\":\"ipc\",\"path\":\"/proc/1/ns/ipc\"}]", NULL },
		{ "[{\"type\":\"pid\"},{\"type\":\"ipc\",\"path\":\"/dev/null\"}]", NULL },
		{ "[{\"type\":\"pid\"},{\"type\":\"ipc\",\"path\":\"/no/such\"}]",
		  "there is no such file" },
		{ "[{\"type\":\"mount\"}]", NULL },
		{ "[{\"type\":\"mount\"},{\"type\":\"network\"}]", "the host's pid namespace" },
		{ "[{\"type\":\"mount\"},{\"type\":\"pid\"}]", "the host's ipc namespace" },
		{ "[{\"type\":\"ipc\"},{\"type\":\"uts\"}]", "the host's pid namespace" },
		{ "[{\"type\":\"pid\"},{\"type\":\"uts\"}]", "the host's ipc namespace" },
		{ "[{\"type\":\"pid\"},{\"type\":\"ipc\",\"path\":\"/proc/43/ns/ipc\"}]",
		  "not of this sandbox" },
		{ "[{\"type\":\"pid\",\"path\":\"/proc/11/ns/pid\"},{\"type\":\"ipc\"}]",
		  "not of this sandbox" },
		{ "[{\"type\":\"pid\",\"path\":\"/proc/1/ns/pid\"},{\"type\":\"ipc\"}]", NULL },
		{ "[{\"type\":\"pid\"},{\"type\":\"ipc\"},"
		  "{\"type\":\"user\",\"path\":\"/proc/1/ns/user\"}]",
		  NULL },
		{ "[{\"type\":\"pid\"},{\"type\":\"ipc\"},"
		  "{\"type\":\"user\",\"path\":\"/proc/43/ns/user\"}]",
		  "not of this sandbox" },
		{ "[{\"type\":\"pid\"},{\"type\":\"ipc\"},"
		  "{\"type\":\"user\",\"path\":\"/no/such\"}]",
		  "there is no such file" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *text = xasprintf(
			"{\"process\":{\"args\":[\"a\"],\"cwd\":\"/\"},\"root\":{\"path\":\"r\"},"
			"\"linux\":{\"namespaces\":%s}}",
			cases[i].json);
		_cleanup_(error_done) struct error err = {};
		struct spec *spec;
		assert_int_equal(spec_parse(text, strlen(text), "/b", &spec, &err), 0);
		int r = spec_check_namespaces(spec, false, is_one, NULL, &err);
		assert_int_equal(r, !cases[i].why                     ? 0
				    : strstr(cases[i].why, "no such") ? -EINVAL
								      : -EOPNOTSUPP);
		if (cases[i].why)
			assert_non_null(strstr(error_message(&err), cases[i].why));
		/* The sandbox container of a pod with hostPID has a short list, too. */
		if (str_equal(cases[i].json, "[{\"type\":\"mount\"}]"))
			assert_int_equal(spec_check_namespaces(spec, true, is_one, NULL, NULL),
					 -EOPNOTSUPP);
		spec_free(spec);
	}
}

static void namespaces_of_the_host_are_dropped(void **state _unused_)
{
	_cleanup_(spec_free_cleanup) struct spec *spec = parse(
		SPEC_JSON("", "",
			  ",{\"type\":\"ipc\",\"path\":\"/proc/7/ns/ipc\"},"
			  "{\"type\":\"uts\"},{\"type\":\"pid\",\"path\":\"/proc/7/ns/pid\"}"));
	const Grpc__Linux *linux = spec->oci->linux;

	spec_for_guest(spec, "c1");
	assert_int_equal(linux->n_namespaces, 4);
	assert_string_equal(linux->namespaces[0]->type, "pid");
	assert_string_equal(linux->namespaces[1]->type, "ipc");
	assert_string_equal(linux->namespaces[2]->type, "mount");
	assert_string_equal(linux->namespaces[3]->type, "uts");
}

/* The guest has the pod's: only a container with a uts namespace of its own sets one. */
static void a_shared_host_name_is_not_set_again(void **state _unused_)
{
	for (int shared = 0; shared < 2; shared++) {
		_cleanup_free_ char *text = xasprintf(
			"{\"process\":{\"args\":[\"x\"],\"cwd\":\"/\"},\"root\":{\"path\":\"r\"},"
			"\"hostname\":\"name\",\"linux\":{\"namespaces\":[{\"type\":\"uts\"%s}]}}",
			shared ? ",\"path\":\"/run/uts\"" : "");
		_cleanup_(spec_free_cleanup) struct spec *spec = parse(text);

		spec_for_guest(spec, "c1");
		assert_string_equal(spec->oci->hostname, shared ? "" : "name");
	}
}

/* In a pod of the Sandbox service what is not named is shared by no path. */
static void a_list_without_uts_means_one_of_its_own(void **state _unused_)
{
	for (int in_pod = 0; in_pod < 2; in_pod++) {
		_cleanup_(spec_free_cleanup) struct spec *spec = parse(
			"{\"process\":{\"args\":[\"x\"],\"cwd\":\"/\"},\"root\":{\"path\":\"r\"},"
			"\"linux\":{\"namespaces\":[{\"type\":\"mount\"},"
			"{\"type\":\"ipc\",\"path\":\"/proc/1/ns/ipc\"}]}}");
		const Grpc__Linux *linux = spec->oci->linux;

		spec->in_pod = in_pod;
		spec_for_guest(spec, "c1");
		assert_true(spec->shares_ipc);
		assert_int_equal(linux->n_namespaces, in_pod ? 2 : 1);
		if (in_pod)
			assert_string_equal(linux->namespaces[1]->type, "uts");
	}
}

/* Those about the host's hardware mean something else in the guest; a missing number is any. */
static void device_rules_are_the_guests(void **state _unused_)
{
	_cleanup_(spec_free_cleanup) struct spec *spec = parse(
		"{\"process\":{\"args\":[\"x\"],\"cwd\":\"/\"},\"root\":{\"path\":\"r\"},"
		"\"linux\":{\"resources\":{\"devices\":["
		"{\"allow\":false,\"access\":\"rwm\"},"
		"{\"allow\":true,\"type\":\"c\",\"major\":136,\"access\":\"rw\"},"
		"{\"allow\":true,\"type\":\"c\",\"major\":4,\"minor\":64},"
		"{\"allow\":true,\"type\":\"b\",\"major\":8,\"minor\":0}]}}}");

	spec_for_guest(spec, "c1");
	const Grpc__LinuxResources *resources = spec->oci->linux->resources;
	assert_int_equal(resources->n_devices, 3);
	assert_int_equal(resources->devices[0]->major, -1);
	assert_int_equal(resources->devices[1]->major, 136);
	assert_int_equal(resources->devices[1]->minor, -1);
	assert_string_equal(resources->devices[2]->type, "b");
	assert_int_equal(resources->devices[2]->minor, 0);
}

static void annotations_are_found(void **state _unused_)
{
	_cleanup_(spec_free_cleanup) struct spec *spec = parse(
		SPEC_JSON("\"io.kiln.template\":\"big\",\"x\":\"y\"", "", ""));

	assert_string_equal(spec_annotation(spec, "io.kiln.template"), "big");
	assert_null(spec_annotation(spec, "io.kiln"));
}

static void hooks_for_the_inside_of_a_container_are_refused(void **state _unused_)
{
	static const char *const names[] = { "createContainer", "startContainer" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *text = xasprintf(
			"{\"process\":{\"args\":[\"a\"],\"cwd\":\"/\"},\"root\":{\"path\":\"r\"},"
			"\"hooks\":{\"%s\":[{\"path\":\"/hook\"}]}}",
			names[i]);
		_cleanup_(error_done) struct error err = {};
		struct spec *spec;

		assert_int_equal(spec_parse(text, strlen(text), "/b", &spec, &err), -EOPNOTSUPP);
		assert_non_null(strstr(error_message(&err), names[i]));
	}
}

static void wrong_specs_are_refused_by_name(void **state _unused_)
{
	static const struct {
		const char *text, *sentence;
	} cases[] = {
		{ "", "config.json is not JSON" },
		{ "{\"process\":", "config.json is not JSON" },
		{ "[]", "config.json" },
		{ "{}", "config.json has no process" },
		{ "{\"process\":{}}", "process.args is empty" },
		{ "{\"process\":{\"args\":\"x\"}}", "args" },
		{ "{\"process\":{\"args\":[\"x\"]}}", "process.cwd" },
		{ "{\"process\":{\"args\":[\"x\"],\"cwd\":\"a\"}}", "process.cwd" },
		{ "{\"process\":{\"args\":[\"x\"],\"cwd\":\"/\"}}", "no root.path" },
		{ "{\"process\":{\"args\":[\"x\"],\"cwd\":\"/\"},\"root\":{\"path\":\"r\"},"
		  "\"mounts\":[{\"type\":\"proc\"}]}",
		  "mounts[0] has no destination" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(error_done) struct error err = {};
		struct spec *spec = NULL;
		assert_int_equal(
			spec_parse(cases[i].text, strlen(cases[i].text), "/b", &spec, &err),
			-EINVAL);
		assert_null(spec);
		if (!strstr(error_message(&err), cases[i].sentence))
			fail_msg("%s: %s", cases[i].text, error_message(&err));
	}
}

static void missing_bundle_is_named(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	struct spec *spec = NULL;

	assert_int_equal(spec_load("/nowhere/bundle", &spec, &err), -ENOENT);
	assert_non_null(strstr(error_message(&err), "/nowhere/bundle/config.json"));
}

static int parse_process(const char *text, Grpc__Process **ret, struct error *err)
{
	return spec_parse_process(text, strlen(text), ret, err);
}

static void exec_process_is_read(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	Grpc__Process *process = NULL;

	assert_int_equal(parse_process("{\"args\":[\"ls\"],\"cwd\":\"/tmp\",\"env\":[\"A=b\"]}",
				       &process, &err),
			 0);
	assert_string_equal(process->args[0], "ls");
	assert_string_equal(process->env[0], "A=b");
	grpc__process__free_unpacked(process, NULL);
	assert_int_equal(parse_process("{\"cwd\":\"/\"}", &process, &err), -EINVAL);
	assert_non_null(strstr(error_message(&err), "no args"));
	assert_int_equal(parse_process("{\"args\":[\"ls\"]}", &process, &err), -EINVAL);
	assert_non_null(strstr(error_message(&err), "no cwd"));
	assert_int_equal(parse_process("nonsense", &process, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_spec_is_read_whole),
		cmocka_unit_test(guest_gets_its_own_paths),
		cmocka_unit_test(namespaces_that_cannot_be_had_are_refused),
		cmocka_unit_test(namespaces_of_the_host_are_dropped),
		cmocka_unit_test(a_shared_host_name_is_not_set_again),
		cmocka_unit_test(a_list_without_uts_means_one_of_its_own),
		cmocka_unit_test(device_rules_are_the_guests),
		cmocka_unit_test(annotations_are_found),
		cmocka_unit_test(hooks_for_the_inside_of_a_container_are_refused),
		cmocka_unit_test(wrong_specs_are_refused_by_name),
		cmocka_unit_test(missing_bundle_is_named),
		cmocka_unit_test(exec_process_is_read),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
