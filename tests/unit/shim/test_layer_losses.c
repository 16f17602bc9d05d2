/* Which layers have files that the share does not show as they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "base/strv.h"
#include "shim/layer_losses.h"

struct layers {
	char dir[32];
	struct strv folders; /* two, each with a file `deep/file` */
	char *file;          /* that of the second */
};

static int setup(void **state)
{
	struct layers *layers = xnew(struct layers);

	strcpy(layers->dir, "/tmp/kiln-losses.XXXXXX");
	assert_non_null(mkdtemp(layers->dir));
	for (int i = 0; i < 2; i++) {
		strv_addf(&layers->folders, "%s/%d", layers->dir, i);
		_cleanup_free_ char *deep = path_join(layers->folders.items[i], "deep");
		assert_int_equal(mkdir(layers->folders.items[i], 0755), 0);
		assert_int_equal(mkdir(deep, 0755), 0);
		free(layers->file);
		layers->file = path_join(deep, "file");
		close_fd(creat(layers->file, 0755));
	}
	*state = layers;
	return 0;
}

static int teardown(void **state)
{
	struct layers *layers = *state;

	assert_int_equal(path_remove(layers->dir, NULL), 0);
	strv_done(&layers->folders);
	free(layers->file);
	free(layers);
	return 0;
}

static void expect_loss(const struct layers *layers, const char *wanted)
{
	_cleanup_free_ char *loss = layer_losses_find(&layers->folders);

	if (!wanted) {
		assert_null(loss);
		return;
	}
	assert_non_null(loss);
	assert_string_equal(str_after(loss, layers->file), wanted);
}

static void test_plain_files_lose_nothing(void **state)
{
	struct layers *layers = *state;
	_cleanup_free_ char *link = path_join(layers->folders.items[0], "link");

	assert_int_equal(symlink("nowhere", link), 0);
	assert_true(lchown(link, 65535, 65535) == 0 || geteuid() != 0);
	expect_loss(layers, NULL);
}

static void test_capabilities(void **state)
{
	static const struct vfs_cap_data data = {
		.magic_etc = VFS_CAP_REVISION_2,
		.data = { { .permitted = 1U << CAP_CHOWN } },
	};
	struct layers *layers = *state;

	if (geteuid() != 0)
		skip();
	assert_int_equal(setxattr(layers->file, "security.capability", &data, sizeof(data), 0), 0);
	expect_loss(layers, " has capabilities");
}

static void test_owners(void **state)
{
	struct layers *layers = *state;

	if (geteuid() != 0)
		skip();
	assert_int_equal(chown(layers->file, 65536, 1), 0);
	expect_loss(layers, " belongs to 65536:1");
	assert_int_equal(chown(layers->file, 1, 1000680000), 0);
	expect_loss(layers, " belongs to 1:1000680000");
}

static void test_layers_that_are_gone(void **state)
{
	struct layers *layers = *state;
	static const struct strv none = {};

	strv_add(&layers->folders, "/nowhere/at/all");
	expect_loss(layers, NULL);
	assert_null(layer_losses_find(&none));
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_plain_files_lose_nothing),
		CASE(test_capabilities),
		CASE(test_owners),
		CASE(test_layers_that_are_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
