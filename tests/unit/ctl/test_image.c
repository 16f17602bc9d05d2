/* kiln-ctl image against a factory and a ctr of our own. */
#include "tests/unit/ctl/harness.h"

#include <jansson.h>
#include <sys/stat.h>

#include "ctl/image_layers.h"
#include "proto/factory.pb-c.h"

#define KEY "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct peer_process factory;

static char *text(const char *literal)
{
	return (char *)(uintptr_t)literal;
}

/* ---------------------------------------------------------------- the factory */

static void on_prepare(struct ttrpc_call *call, const ProtobufCMessage *message,
		       void *userdata _unused_)
{
	const Kiln__Factory__V1__PrepareImageRequest *request = (const void *)message;
	Kiln__Factory__V1__PrepareImageResponse response =
		KILN__FACTORY__V1__PREPARE_IMAGE_RESPONSE__INIT;
	const struct strv layers = { request->layers, request->n_layers };
	_cleanup_free_ char *told = strv_join(&layers, ":");

	if (!request->wait || str_equal(request->name, "bad")) {
		ttrpc_call_fail_code(call, TTRPC_INTERNAL, "install erofs-utils");
		return;
	}
	/* What it was asked for, in the place of a key. */
	_cleanup_free_ char *key = xasprintf("%s of %s", request->name, told);
	response.key = key;
	response.state = text("ready");
	ttrpc_call_reply(call, &response.base);
}

static void on_status(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
		      void *userdata _unused_)
{
	Kiln__Factory__V1__StatusResponse response = KILN__FACTORY__V1__STATUS_RESPONSE__INIT;

	ttrpc_call_reply(call, &response.base);
}

static void on_list(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
		    void *userdata _unused_)
{
	Kiln__Factory__V1__ListImagesResponse response =
		KILN__FACTORY__V1__LIST_IMAGES_RESPONSE__INIT;
	Kiln__Factory__V1__CachedImage ready = KILN__FACTORY__V1__CACHED_IMAGE__INIT;
	Kiln__Factory__V1__CachedImage failed = KILN__FACTORY__V1__CACHED_IMAGE__INIT;
	Kiln__Factory__V1__CachedImage *images[] = { &ready, &failed };
	char *layers[] = { text("/a"), text("/b") };

	ready.key = text(KEY);
	ready.name = text("tools");
	ready.state = text("ready");
	ready.bytes = 3 << 20;
	ready.layers = layers;
	ready.n_layers = 2;
	ready.in_use = true;
	ready.last_used = 1;
	failed.key = text("fedcba9876543210");
	failed.state = text("failed");
	failed.error = text("it is larger than the whole cache may be");
	response.images = images;
	response.n_images = 2;
	ttrpc_call_reply(call, &response.base);
}

static void on_remove(struct ttrpc_call *call, const ProtobufCMessage *message,
		      void *userdata _unused_)
{
	const Kiln__Factory__V1__RemoveImageRequest *request = (const void *)message;
	Kiln__Factory__V1__RemoveImageResponse response =
		KILN__FACTORY__V1__REMOVE_IMAGE_RESPONSE__INIT;

	if (str_equal(request->image, "open"))
		ttrpc_call_fail_code(call, TTRPC_FAILED_PRECONDITION, "image open is in use");
	else
		ttrpc_call_reply(call, &response.base);
}

static void on_prune(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
		     void *userdata _unused_)
{
	Kiln__Factory__V1__PruneImagesResponse response =
		KILN__FACTORY__V1__PRUNE_IMAGES_RESPONSE__INIT;

	response.freed = 5 << 19;
	response.images = 2;
	ttrpc_call_reply(call, &response.base);
}

static const struct ttrpc_method methods[] = {
	{ "PrepareImage", on_prepare }, { "Status", on_status },     { "ListImages", on_list },
	{ "RemoveImage", on_remove },   { "PruneImages", on_prune },
};

static int setup(void **state _unused_)
{
	static const struct ttrpc_service service = {
		.descriptor = &kiln__factory__v1__factory__descriptor,
		.methods = methods,
		.nmethods = ARRAY_SIZE(methods),
	};

	peer_start(&factory, &service, 1);
	setenv("KILN_FACTORY", factory.address, 1);
	return 0;
}

static int teardown(void **state _unused_)
{
	peer_stop(&factory);
	return 0;
}

static void expect(const struct outcome *outcome, int code, const char *out, const char *err)
{
	if (outcome->code != code)
		fail_msg("code %d, not %d: %s", outcome->code, code, outcome->err);
	assert_contains(outcome->out, out);
	assert_contains(outcome->err, err);
}

/* ---------------------------------------------------------------- the verbs */

static void test_add(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome ok = RUN(&ctl_image, "add", "/usr/../etc", "/tmp",
							"--name", "two");
	_cleanup_(outcome_done) struct outcome bad = RUN(&ctl_image, "add", "/etc", "--name",
							 "bad");
	_cleanup_(outcome_done) struct outcome gone = RUN(&ctl_image, "add", "/nowhere/at/all");

	expect(&ok, CTL_OK, "two of /etc:/tmp\n", "");
	expect(&bad, CTL_FAILED, "", "install erofs-utils");
	expect(&gone, CTL_FAILED, "", "layer /nowhere/at/all: No such file");
}

static void test_list(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome table = RUN(&ctl_image, "list");
	_cleanup_(outcome_done) struct outcome json = RUN(&ctl_image, "list", "--json");
	json_t *object = json_loads(json.out, 0, NULL);

	expect(&table, CTL_OK, "0123456789ab  tools  ready   3.0 MiB  2", "");
	assert_contains(table.out, "fedcba987654: it is larger than the whole cache may be\n");
	expect(&json, CTL_OK, "\"images\"", "");
	assert_int_equal(json_array_size(json_object_get(object, "images")), 2);
	json_decref(object);
}

static void test_remove_and_prune(void **state _unused_)
{
	_cleanup_(outcome_done) struct outcome ok = RUN(&ctl_image, "remove", "tools", KEY);
	_cleanup_(outcome_done) struct outcome open = RUN(&ctl_image, "remove", "open");
	_cleanup_(outcome_done) struct outcome prune = RUN(&ctl_image, "prune");

	expect(&ok, CTL_OK, "", "");
	expect(&open, CTL_FAILED, "", "in use");
	expect(&prune, CTL_OK, "2 images removed, 2.5 MiB freed\n", "");
}

static void test_wrong_usage(void **state _unused_)
{
	static const struct {
		const char *words[6];
		const char *says;
	} cases[] = {
		{ { "image" }, "add, prepare, list, remove or prune?" },
		{ { "image", "bake" }, "has no verb 'bake'" },
		{ { "image", "add" }, "add of what?" },
		{ { "image", "prepare", "a", "b" }, "'b' is one word too many" },
		{ { "image", "list", "x" }, "'x' is one word too many" },
		{ { "image", "list", "--name", "x" }, "--name is for add and prepare" },
		{ { "image", "add", "/etc", "--name", "a b" }, "printable" },
		{ { "image", "add", "/etc", "--namespace", "x" }, "are for prepare" },
		{ { "image", "prune", "--timeout", "0" }, "--timeout wants seconds" },
		{ { "image", "prune", "--nonsense" }, "no option --nonsense" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(outcome_done) struct outcome outcome = run_command(&ctl_image,
									     cases[i].words);
		expect(&outcome, CTL_USAGE, "", cases[i].says);
	}
	_cleanup_(outcome_done) struct outcome off = RUN(&ctl_image, "list", "--socket",
							 "/nowhere/sock");
	expect(&off, CTL_OFF, "", "start it with kiln-factory");
	_cleanup_(outcome_done) struct outcome help = RUN(&ctl_image, "--help");
	expect(&help, CTL_OK, "prepare REF", "");
}

/* ---------------------------------------------------------------- containerd's layers */

static void test_layers_of_a_mount(void **state _unused_)
{
	static const struct {
		const char *text, *layers; /* NULL: it has none */
	} cases[] = {
		{ "mount -t overlay overlay /x -o index=off,lowerdir=/a/fs:/b/fs\n",
		  "/a/fs /b/fs" },
		{ "mount -t overlay overlay /x -o lowerdir=/a:/b:/c,ro\n", "/a /b /c" },
		{ "mount -t overlay overlay /x -o workdir=/w,upperdir=/u,lowerdir=/a\n", "/a" },
		{ "mount -t bind /snapshots/1/fs /x -o ro,rbind\n", "/snapshots/1/fs" },
		{ "mount -t bind  /snapshots/1/fs /x -o ro\n", "/snapshots/1/fs" },
		{ "mount -t overlay overlay /x -o lowerdir=1/fs:2/fs\n", NULL },
		{ "mount -t overlay overlay /x -o lowerdir=/a:\n", "/a" },
		{ "mount -t overlay overlay /x -o lowerdir=\n", NULL },
		{ "mount -t erofs /blob /x -o ro\n", NULL },
		{ "mount -t ext4 /dev/mapper/snap-1 /x -o ro\n", NULL },
		{ "mount -t bind", NULL },
		{ "", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(strv_done) struct strv layers = {};
		_cleanup_(error_done) struct error err = {};
		int r = image_layers_parse(cases[i].text, &layers, &err);
		_cleanup_free_ char *joined = layers.count > 0 ? strv_join(&layers, " ") : NULL;
		assert_int_equal(r, cases[i].layers ? 0 : -EBADMSG);
		if (cases[i].layers)
			assert_string_equal(joined, cases[i].layers);
		else
			assert_contains(error_message(&err), "take overlayfs or native");
	}
}

/* A ctr that writes down how it was called. */
static void make_ctr(const char *script)
{
	_cleanup_free_ char *path = path_join(factory.dir, "ctr");

	assert_int_equal(file_write_atomic(path, script, strlen(script), 0755, NULL), 0);
}

static char *read_calls(void)
{
	_cleanup_free_ char *path = path_join(factory.dir, "calls");
	char *calls = NULL;

	assert_int_equal(file_read(path, 65536, &calls, NULL, NULL), 0);
	unlink(path);
	return calls;
}

static void test_prepare(void **state _unused_)
{
	_cleanup_free_ char *before = xstrdup(getenv("PATH"));
	_cleanup_free_ char *path = xasprintf("%s:%s", factory.dir, before);

	setenv("PATH", path, 1);
	make_ctr(
		"#!/bin/sh\n"
		"echo \"$*\" >>\"$(dirname \"$0\")/calls\"\n"
		"case \"$*\" in *mounts*) echo mount -t overlay overlay /x -o lowerdir=/a:/b;; esac\n");
	_cleanup_(outcome_done) struct outcome ok = RUN(&ctl_image, "prepare", "reg/tools:1",
							"--containerd", "/c.sock", "--namespace",
							"k8s.io", "--snapshotter", "native");
	expect(&ok, CTL_OK, "reg/tools:1 of /a:/b\n", "");
	_cleanup_free_ char *calls = read_calls();
	assert_contains(calls,
			"--address /c.sock --namespace k8s.io images mount --snapshotter native "
			"reg/tools:1 /tmp/kiln-image.");
	assert_contains(calls, "k8s.io snapshots --snapshotter native mounts /tmp/kiln-image.");
	assert_contains(calls, "images unmount --snapshotter native --rm /tmp/kiln-image.");

	/* The view goes also where its mount cannot be read. */
	make_ctr("#!/bin/sh\n"
		 "echo \"$*\" >>\"$(dirname \"$0\")/calls\"\n"
		 "case \"$*\" in *mounts*) echo mount -t erofs /blob /x -o ro;; esac\n");
	_cleanup_(outcome_done) struct outcome odd = RUN(&ctl_image, "prepare", "tools");
	expect(&odd, CTL_FAILED, "", "cannot find the layers of tools: the snapshotter has no");
	_cleanup_free_ char *more = read_calls();
	assert_contains(more, "images mount tools /tmp/");
	assert_contains(more, "images unmount --rm /tmp/");

	make_ctr("#!/bin/sh\necho not found >&2; exit 1\n");
	_cleanup_(outcome_done) struct outcome bad = RUN(&ctl_image, "prepare", "tools");
	expect(&bad, CTL_FAILED, "", "ctr failed with status 1: not found");
	setenv("PATH", "/nowhere", 1);
	_cleanup_(outcome_done) struct outcome none = RUN(&ctl_image, "prepare", "tools");
	expect(&none, CTL_FAILED, "", "cannot start ctr: not found on PATH");
	setenv("PATH", before, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_remove_and_prune),
		cmocka_unit_test(test_wrong_usage),
		cmocka_unit_test(test_layers_of_a_mount),
		cmocka_unit_test(test_prepare),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
