#include "base/log_limit.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

/* At a time. The one that was quiet longest makes room: it may begin anew. */
enum { OBJECTS = 64 };

static struct object {
	uint64_t key; /* 0: free */
	uint64_t second;
	unsigned lines; /* in that second, at most LOG_LIMIT_LINES */
	struct log_left_out left_out;
} objects[OBJECTS];

/* FNV-1a. */
static uint64_t key_of(const char *object, const char *fmt)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ (object != NULL);

	for (const char *at = object ? object : fmt; *at; at++)
		hash = (hash ^ (unsigned char)*at) * UINT64_C(0x100000001b3);
	return hash | 1;
}

static struct object *find(uint64_t key)
{
	struct object *oldest = &objects[0];

	for (size_t i = 0; i < ARRAY_SIZE(objects); i++) {
		if (objects[i].key == key)
			return &objects[i];
		if (objects[i].second < oldest->second)
			oldest = &objects[i];
	}
	return oldest;
}

bool log_limit_pass(const char *object, const char *fmt, uint64_t second)
{
	uint64_t key = key_of(object, fmt);
	struct object *slot = find(key);

	if (slot->key != key || slot->second != second)
		*slot = (struct object){ .key = key, .second = second };
	if (slot->lines < LOG_LIMIT_LINES) {
		slot->lines++;
		return true;
	}
	if (slot->left_out.lines++ == 0) {
		snprintf(slot->left_out.object, sizeof(slot->left_out.object), "%s",
			 object ? object : "");
		slot->left_out.fmt = fmt;
	}
	return false;
}

bool log_limit_take(uint64_t second, struct log_left_out *ret_left_out)
{
	for (size_t i = 0; i < ARRAY_SIZE(objects); i++) {
		struct object *slot = &objects[i];
		if (slot->left_out.lines == 0 || slot->second == second)
			continue;
		*ret_left_out = slot->left_out;
		slot->left_out = (struct log_left_out){};
		return true;
	}
	return false;
}
