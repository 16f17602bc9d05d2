#include "factory/store/annotations.h"

#include <string.h>

#include "base/strings.h"

#define WORD_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._=/-"

int annotations_check(const char *words, struct error *err)
{
	if (strlen(words) > ANNOTATIONS_MAX)
		return error_set(err, EINVAL, "annotations are longer than %d bytes",
				 ANNOTATIONS_MAX);
	for (const char *at = words; *words;) {
		size_t len = strspn(at, WORD_CHARS);
		if (len == 0 || (at[len] != ',' && at[len] != '\0'))
			return error_set(err, EINVAL,
					 "annotations \"%s\" are not words of [A-Za-z0-9._=/-] "
					 "with commas between them",
					 words);
		if (at[len] == '\0')
			break;
		at += len + 1;
	}
	return 0;
}

static bool has_word(const char *words, const char *word, size_t len)
{
	for (const char *at = words; *at;) {
		size_t n = strcspn(at, ",");
		if (n == len && strncmp(at, word, n) == 0)
			return true;
		at += n + (at[n] == ',');
	}
	return false;
}

bool annotations_hold(const char *words, const char *wanted)
{
	for (const char *at = wanted; *at;) {
		size_t n = strcspn(at, ",");
		if (!has_word(words, at, n))
			return false;
		at += n + (at[n] == ',');
	}
	return true;
}
