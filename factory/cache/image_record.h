/* What is known of an image of the cache (factory/cache/image_cache.h): KEY.json, beside KEY.erofs.
 *
 * It is written last, in one step: an image without its record does not exist. The folder is its
 * owner's alone (0700), but a record is read as if anybody could have written it.
 *
 * "format" is the version of FORMAT_IMAGE (base/format.h). Keys that we do not know are ignored. An
 * image whose record is of another version is one that is damaged: it is made anew.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/input_stamp.h"
#include "base/strv.h"

/* One less than an overlay takes, for the factory puts an empty one below them. */
#define IMAGE_LAYERS_MAX 499
#define IMAGE_NAME_MAX   256

/* `struct image_record r = {};` is an empty one. */
struct image_record {
	char key[DIGEST_HEX_SIZE];
	char *name;         /* owned; "" where nobody gave one */
	struct strv layers; /* paths, topmost first, as they were when it was made */
	char digest[DIGEST_HEX_SIZE];
	uint64_t made_at; /* seconds since the epoch */
	/* Of KEY.erofs, its size among it. The device is not in the file: it is the folder's, and
	 * its number may be another after a boot. Nor is the time of its inode's last change, for
	 * it gets its name after the record is made. */
	struct input_stamp stamp;
};

/* 1 to 256 printable ASCII characters without a space: a reference of an image is one. */
bool image_name_is_valid(const char *name);
bool image_key_is_valid(const char *key);

char *image_path(const char *cache_dir, const char *key);        /* KEY.erofs; the caller frees */
char *image_record_path(const char *cache_dir, const char *key); /* KEY.json; ditto */

/* -ENOENT: there is none; -EBADMSG: it is not what image_record_write() writes. Failures leave
 * *ret untouched. */
_must_check_ int image_record_load(const char *cache_dir, const char *key, struct image_record *ret,
				   struct error *err);
/* The same of a record's text; `where` names it in errors. */
_must_check_ int image_record_parse(const char *text, size_t len, const char *where,
				    struct image_record *ret, struct error *err);

/* Blocks: fsync. -EINVAL: a layer's path is not UTF-8. */
_must_check_ int image_record_write(const char *cache_dir, const struct image_record *record,
				    struct error *err);

void image_record_done(struct image_record *record);
