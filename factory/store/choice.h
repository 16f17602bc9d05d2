/* Which template serves a claim. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/strv.h"
#include "factory/store/carried.h"
#include "factory/store/size.h"

/* What a claim demands; all borrowed. */
struct template_wish {
	struct vm_size size;
	const char *annotations; /* NULL or "": none; factory/store/annotations.h */
	struct strv images;      /* names of images to be carried */
};

struct template_offer {
	const char *name;
	const char *state;            /* for the sentence */
	struct vm_size size;          /* of its machines */
	struct vm_size max_size;      /* to which they can grow */
	const char *annotations;      /* that it carries; NULL: none */
	const struct carried *images; /* borrowed; NULL: none */
	unsigned readiness;           /* 0: cannot serve; the higher, the sooner */
	bool bootable;                /* a machine of another size can be booted from it */
};

/* How well an offer serves a wish, the better the higher. */
enum template_fit {
	FIT_NONE,
	FIT_LARGER, /* as it is, with more than is wanted */
	FIT_GROWS,  /* when it has grown: without hotplug, within a claim's time */
	FIT_EXACT,  /* as it is */
};

enum template_fit template_fit(const struct template_offer *offer,
			       const struct template_wish *wish);

/* The index of the best offer. What lacks a word or an image does not fit. Those that can serve
 * soonest come first; among them the best fit; among equals the smallest, by memory and then by
 * vCPUs, but of those that grow the largest, which has to grow least. Without a wish for size it is
 * the one named "default", else the first. -EBUSY: none fits, or none that fits can serve, and the
 * sentence says what there is. */
_must_check_ int template_choose(const struct template_offer *offers, size_t count,
				 const struct template_wish *wish, struct error *err);

/* The index of the one a machine of the wanted size is best booted from, where none fits: the
 * nearest in memory, then in vCPUs. -ENOENT: there is none. */
_must_check_ int template_choose_boot(const struct template_offer *offers, size_t count,
				      const struct template_wish *wish);
