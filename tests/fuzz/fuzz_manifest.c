/* Bytes as template.json. Every input is tried as it is, and once more, where it is a JSON
 * object, with version, id and digests made right, so that what lies behind those checks is
 * reached. */
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/format.h"
#include "base/memory.h"
#include "factory/store/template.h"
#include "factory/store/template_priv.h"

#define ID "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static char store[] = "/tmp/kiln-fuzz-XXXXXX";
static char *json_path;
static char state_digest[DIGEST_HEX_SIZE];

static void store_remove(void)
{
	(void)!path_remove(store, NULL);
}

static void write_file(const char *path, const void *data, size_t len)
{
	FILE *file = fopen(path, "we");

	if (!file || fwrite(data, 1, len, file) != len || fclose(file) != 0)
		abort();
}

static void store_make(void)
{
	if (!mkdtemp(store))
		abort();
	atexit(store_remove);
	_cleanup_free_ char *dir = xasprintf("%s/templates/" ID, store);
	_cleanup_free_ char *memory = path_join(dir, "memory");
	_cleanup_free_ char *state = path_join(dir, "state");
	_cleanup_free_ char *image = path_join(dir, "image");
	if (dir_make(dir, 0700, NULL) < 0)
		abort();
	write_file(memory, "", 0);
	if (truncate(memory, 1024 * 1024) < 0)
		abort();
	write_file(state, "s", 1);
	write_file(image, "s", 1);
	_cleanup_free_ char *images = path_join(dir, CARRIED_FOLDER);
	_cleanup_free_ char *carried = carried_path(dir, 0);
	if (dir_make(images, 0700, NULL) < 0)
		abort();
	write_file(carried, "", 0);
	if (truncate(carried, CARRIED_ALIGN) < 0)
		abort();
	if (digest_file(state, state_digest, NULL) < 0)
		abort();
	json_path = path_join(dir, "template.json");
}

static void load(const void *data, size_t len)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_(template_manifest_free_cleanup) struct template_manifest *m = NULL;

	write_file(json_path, data, len);
	if (template_manifest_load(store, ID, &m, &err) < 0) {
		if (m || !err.message)
			abort();
		return;
	}
	if (m->argv.count == 0 || m->state_bytes != 1)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!json_path)
		store_make();
	load(data, size);

	json_t *object = json_loadb((const char *)data, size, 0, NULL);
	if (json_is_object(object)) {
		json_object_set_new(object, "format",
				    json_integer(format_versions[FORMAT_TEMPLATE].version));
		json_object_set_new(object, "id", json_string(ID));
		json_object_set_new(object, "state_digest", json_string(state_digest));
		template_manifest_seal(object);
		_cleanup_free_ char *text = json_dumps(object, 0);
		load(text, strlen(text));
	}
	json_decref(object);
	return 0;
}
