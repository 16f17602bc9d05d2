/* The size of a machine, as a claim asks for it and a template has it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct vm_size {
	uint32_t vcpus;      /* 0: no matter */
	uint32_t memory_mib; /* 0: no matter */
};

static inline bool vm_size_is_any(const struct vm_size *size)
{
	return size->vcpus == 0 && size->memory_mib == 0;
}

/* Whether `size` has all that is wanted. */
static inline bool vm_size_holds(const struct vm_size *size, const struct vm_size *wanted)
{
	return wanted->vcpus <= size->vcpus && wanted->memory_mib <= size->memory_mib;
}

/* Whether it has that and no more. */
static inline bool vm_size_is(const struct vm_size *size, const struct vm_size *wanted)
{
	return (wanted->vcpus == 0 || wanted->vcpus == size->vcpus) &&
	       (wanted->memory_mib == 0 || wanted->memory_mib == size->memory_mib);
}

/* `size` with at least what is wanted. */
static inline struct vm_size vm_size_raise(const struct vm_size *size, const struct vm_size *wanted)
{
	return (struct vm_size){
		.vcpus = size->vcpus > wanted->vcpus ? size->vcpus : wanted->vcpus,
		.memory_mib = size->memory_mib > wanted->memory_mib ? size->memory_mib
								    : wanted->memory_mib,
	};
}
