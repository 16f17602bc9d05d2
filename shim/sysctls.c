#include "shim/sysctls.h"

#include "base/memory.h"
#include "base/strings.h"

void sysctls_keep(struct sysctls *sysctls, const Grpc__Linux *linux)
{
	for (size_t i = 0; linux && i < linux->n_sysctl; i++) {
		strv_add(&sysctls->pairs, linux->sysctl[i]->key);
		strv_add(&sysctls->pairs, linux->sysctl[i]->value);
	}
}

static bool has(const Grpc__Linux *linux, const char *key)
{
	for (size_t i = 0; i < linux->n_sysctl; i++)
		if (str_equal(linux->sysctl[i]->key, key))
			return true;
	return false;
}

void sysctls_add(const struct sysctls *sysctls, Grpc__Linux *linux)
{
	for (size_t i = 0; i + 1 < sysctls->pairs.count; i += 2) {
		Grpc__Linux__SysctlEntry *entry;
		if (has(linux, sysctls->pairs.items[i]))
			continue;
		entry = xnew(Grpc__Linux__SysctlEntry);
		grpc__linux__sysctl_entry__init(entry);
		entry->key = xstrdup(sysctls->pairs.items[i]);
		entry->value = xstrdup(sysctls->pairs.items[i + 1]);
		linux->sysctl = xrealloc_array(linux->sysctl, linux->n_sysctl + 1,
					       sizeof(linux->sysctl[0]));
		linux->sysctl[linux->n_sysctl++] = entry;
	}
}

void sysctls_done(struct sysctls *sysctls)
{
	strv_done(&sysctls->pairs);
}
