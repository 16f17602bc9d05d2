/* Bytes as a configuration file: whatever they are, the settings stay valid. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct settings {
	char *text, *needed;
	uint64_t number, wide;
	bool flag;
	int level;
};

static const struct config_key keys[] = {
	CONFIG_STRING(struct settings, text, "text", "default", "A text"),
	CONFIG_STRING_REQUIRED(struct settings, needed, "needed", "A text that must be there"),
	CONFIG_UINT(struct settings, number, "number", 5, 3, 64, "A small number"),
	CONFIG_UINT(struct settings, wide, "wide", 0, 0, UINT64_MAX, "Any number"),
	CONFIG_BOOL(struct settings, flag, "flag", false, "A flag"),
	CONFIG_ENUM(struct settings, level, "level", "info", log_level_from_string, "A name"),
};

static void check(const struct settings *settings, int r, const struct error *err)
{
	if ((r < 0) != (err->number != 0) || (r < 0 && !err->message))
		abort();
	if (r == 0 && (!settings->needed || !settings->text))
		abort();
	if (settings->number < 3 || settings->number > 64)
		abort();
	if (str_equal(log_level_to_string((enum log_level)settings->level), "invalid"))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *object = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);

	if (!object)
		return 0;

	_cleanup_(error_done) struct error err = {};
	struct settings settings = {};

	config_set_defaults(keys, ARRAY_SIZE(keys), &settings);

	int r = config_read(keys, ARRAY_SIZE(keys), object, "the input", &settings, &err);

	check(&settings, r, &err);
	config_done(keys, ARRAY_SIZE(keys), &settings);
	json_decref(object);
	return 0;
}
