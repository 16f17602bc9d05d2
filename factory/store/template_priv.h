/* What tests and fuzzers of the template modules need besides factory/store/template.h. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

struct cpu_facts {
	bool virtualization; /* vmx or svm */
	char *model;         /* owned: name, and a short digest of the flags */
};

/* Reads the text of /proc/cpuinfo; never fails, for the model is only compared. */
void cpu_facts_parse(const char *cpuinfo, struct cpu_facts *ret);

/* Sets the key "digest" of a manifest's object to the digest over all its other keys. */
void template_manifest_seal(json_t *object);
