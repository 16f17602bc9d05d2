/* A definition of small files, and a store, for tests of what templates are made of. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/memory.h"
#include "factory/store/template.h"

#define IMAGE_BYTES (2 * 1024 * 1024)

struct inputs_fixture {
	char dir[32];
	char *store, *definition_path;
	char *digests; /* the file in the store */
	struct template_definition *definition;
	struct template_host host; /* of constants */
};

static inline void write_input(const struct inputs_fixture *f, const char *name, const char *text,
			       mode_t mode)
{
	_cleanup_free_ char *path = path_join(f->dir, name);

	assert_int_equal(file_write_atomic(path, text, strlen(text), mode, NULL), 0);
}

static inline void write_image(const struct inputs_fixture *f, const char *name, const char *text)
{
	_cleanup_free_ char *path = path_join(f->dir, name);

	write_input(f, name, text, 0644);
	assert_int_equal(truncate(path, IMAGE_BYTES), 0);
}

static inline void inputs_setup(struct inputs_fixture *f)
{
	strcpy(f->dir, "/tmp/kiln-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->store = path_join(f->dir, "store");
	f->definition_path = path_join(f->dir, "default.json");
	f->digests = path_join(f->store, "digests.json");
	assert_int_equal(dir_make(f->store, 0700, NULL), 0);
	write_input(f, "vmlinux", "kernel", 0644);
	write_input(f, "initrd", "initrd", 0644);
	write_input(f, "xml", "<domain/>", 0644);
	write_image(f, "root", "root");
	write_image(f, "tools", "tools");
	write_input(f, "default.json",
		    "{\"name\": \"default\", \"kernel\": \"vmlinux\", \"initrd\": \"initrd\","
		    " \"image\": \"root\", \"machine\": \"xml\","
		    " \"images\": [{\"name\": \"tools\", \"file\": \"tools\"}]}",
		    0644);
	assert_int_equal(template_definition_load(f->definition_path, &f->definition, NULL), 0);
	f->host = (struct template_host){ .accelerator = ACCELERATOR_TCG,
					  .qemu_binary = (char *)"/usr/bin/qemu",
					  .qemu_version = (char *)"QEMU 1",
					  .cpu_model = (char *)"A",
					  .kernel_release = (char *)"6.1" };
}

static inline void inputs_teardown(struct inputs_fixture *f)
{
	assert_int_equal(path_remove(f->dir, NULL), 0);
	template_definition_free(f->definition);
	free(f->store);
	free(f->definition_path);
	free(f->digests);
}
