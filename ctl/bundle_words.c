#include "ctl/bundle_words.h"

#include <stddef.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "proto/pbjson.h"

enum { CONFIG_MAX = 2 << 20, WORD_MAX = 4096 };

static const struct {
	const char *key;
	size_t offset;
} keys[] = {
	{ "io.kubernetes.cri.image-name", offsetof(struct bundle_words, image) },
	{ "io.kubernetes.cri-o.ImageName", offsetof(struct bundle_words, image) },
	{ "io.kubernetes.cri.sandbox-name", offsetof(struct bundle_words, pod) },
	{ "io.kubernetes.pod.name", offsetof(struct bundle_words, pod) },
	{ "io.kubernetes.cri.sandbox-namespace", offsetof(struct bundle_words, pod_ns) },
	{ "io.kubernetes.pod.namespace", offsetof(struct bundle_words, pod_ns) },
	{ "io.kubernetes.cri.sandbox-uid", offsetof(struct bundle_words, pod_uid) },
	{ "io.kubernetes.pod.uid", offsetof(struct bundle_words, pod_uid) },
};

static void take_words(const json_t *annotations, struct bundle_words *words)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		char **slot = (char **)((char *)words + keys[i].offset);
		const char *text = json_string_value(json_object_get(annotations, keys[i].key));
		if (!*slot && !str_empty(text) && strlen(text) <= WORD_MAX)
			*slot = xstrdup(text);
	}
}

int bundle_words_parse(const char *text, size_t len, struct bundle_words *ret, struct error *err)
{
	struct bundle_words words = {};
	json_t *json;
	int r = pbjson_parse(text, len, &json, err);

	if (r < 0)
		return r;
	take_words(json_object_get(json, "annotations"), &words);
	json_decref(json);
	*ret = words;
	return 0;
}

int bundle_words_read(const char *bundle, struct bundle_words *ret, struct error *err)
{
	_cleanup_free_ char *path = path_join(bundle, "config.json");
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = file_read(path, CONFIG_MAX, &text, &len, err);

	return r < 0 ? r : bundle_words_parse(text, len, ret, err);
}

void bundle_words_done(struct bundle_words *words)
{
	free(words->image);
	free(words->pod);
	free(words->pod_ns);
	free(words->pod_uid);
	*words = (struct bundle_words){};
}
