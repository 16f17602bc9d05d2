/* A machine's share in a mount namespace of the test's own, which needs root. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "shim/idmap.h"
#include "shim/share_folder.h"

/* Of the test. */
static char dir[] = "/tmp/kiln-test-share.XXXXXX";

static char *in_dir(const char *name)
{
	return path_join(dir, name);
}

static void make(const char *name)
{
	_cleanup_free_ char *path = in_dir(name);

	assert_int_equal(dir_make(path, 0755, NULL), 0);
}

static void write_text(const char *name, const char *text)
{
	_cleanup_free_ char *path = in_dir(name);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void assert_text(const char *name, const char *text)
{
	_cleanup_free_ char *path = in_dir(name);
	_cleanup_free_ char *got = NULL;

	assert_int_equal(file_read(path, 100, &got, NULL, NULL), 0);
	assert_string_equal(got, text);
}

static bool exists(const char *name)
{
	_cleanup_free_ char *path = in_dir(name);

	return path_exists(path);
}

static size_t mounts_here(void)
{
	_cleanup_free_ char *text = NULL;
	size_t count = 0;

	assert_int_equal(file_read("/proc/self/mountinfo", 1 << 20, &text, NULL, NULL), 0);
	for (const char *p = text; (p = strstr(p, dir)); p++)
		count += strncmp(p + strlen(dir), "/share/", 7) == 0;
	return count;
}

/* What a container of these tests has: SHARE/c1, and a machine that is root. */
static struct share_folder folder = SHARE_FOLDER_NONE;
static const struct idmap idmap = IDMAP_NONE;

static char *scratch_dir(void)
{
	return in_dir("layers");
}

static int folder_make(struct error *err)
{
	_cleanup_free_ char *share = in_dir("share");

	return share_folder_make(share, "c1", &folder, err);
}

static int setup(void **state _unused_)
{
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	assert_non_null(mkdtemp(dir));
	make("share");
	make("bundle/rootfs");
	write_text("bundle/rootfs/file", "bundle's");
	return 0;
}

static int teardown(void **state _unused_)
{
	assert_int_equal(mounts_here(), 0);
	share_folder_remove(&folder);
	assert_false(exists("share/c1"));
	return path_remove(dir, NULL);
}

/* False, with a word about it, where this is not root. */
static bool enter_private_mounts(void)
{
	if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
		return true;
	printf("skipped: a mount namespace of its own needs root\n");
	return false;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
