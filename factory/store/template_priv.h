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

struct cpu_facts {
	bool virtualization; /* vmx or svm */
	char *model;         /* owned: name, and a short digest of the flags */
};

/* Reads the text of /proc/cpuinfo; never fails, for the model is only compared. */
void cpu_facts_parse(const char *cpuinfo, struct cpu_facts *ret);

/* Sets the key "digest" of a manifest's object to the digest over all its other keys. */
void template_manifest_seal(json_t *object);
