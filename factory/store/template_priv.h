/* What the template modules share, and their tests and fuzzers need, besides
 * factory/store/template.h. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

/* Name of a template's memory in a memory_dir; its id. */
#define MEMORY_ELSEWHERE "kiln-%s.memory"

/* STORE/templates/ID, whether it is there or not; the caller frees. -ENOENT: that is no id. */
_must_check_ int template_dir(const char *store, const char *id, char **ret_dir, struct error *err);

/* Sets the key "digest" of a manifest's object to the digest over all its other keys. */
void template_manifest_seal(json_t *object);
