#include "factory/pool/pool_word.h"

#include <string.h>

#include "base/config.h"
#include "base/file.h"
#include "base/format.h"
#include "base/log.h"
#include "base/memory.h"

#define WARM_MAX 4096

static const struct config_key word_keys[] = {
	CONFIG_ENUM(struct pool_word, mode, "mode", "running", pool_mode_from_string, "its mode"),
	CONFIG_UINT(struct pool_word, warm, "warm", 0, 0, WARM_MAX, "machines asked for"),
};

void pool_word_load(const char *path, const char *name, struct pool_word *ret_word)
{
	_cleanup_(error_done) struct error err = {};
	struct pool_word word = {};
	json_t *object = NULL;

	*ret_word = (struct pool_word){ .mode = POOL_RUNNING };
	if (!path || !path_exists(path))
		return;
	config_set_defaults(word_keys, ARRAY_SIZE(word_keys), &word);
	int r = config_load_file(path, &object, &err);
	if (r == 0)
		r = format_check_object(FORMAT_POOL, object, "version", true, &err);
	if (r == 0)
		r = config_read_known(word_keys, ARRAY_SIZE(word_keys), object, path, &word, &err);
	json_decref(object);
	if (r < 0)
		log_warning(name, "what was asked of the pool is forgotten: %s",
			    error_message(&err));
	else
		*ret_word = word;
}

int pool_word_save(const char *path, const struct pool_word *word, struct error *err)
{
	if (word->mode == POOL_RUNNING && word->warm == 0)
		return path_remove(path, err);
	_cleanup_free_ char *text = xasprintf("{\"mode\": \"%s\", \"warm\": %lu}\n",
					      pool_mode_to_string((enum pool_mode)word->mode),
					      (unsigned long)word->warm);
	return file_write_atomic(path, text, strlen(text), 0600, err);
}
