#include "factory/store/choice.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "factory/store/annotations.h"

/* What no size can make up for. */
static bool offer_is_of_kind(const struct template_offer *offer, const struct template_wish *wish)
{
	static const struct carried none = {};

	return annotations_hold(offer->annotations ?: "", wish->annotations ?: "") &&
	       carried_has_all(offer->images ?: &none, wish->images.items, wish->images.count);
}

enum template_fit template_fit(const struct template_offer *offer, const struct template_wish *wish)
{
	if (!offer_is_of_kind(offer, wish))
		return FIT_NONE;
	if (vm_size_is(&offer->size, &wish->size))
		return FIT_EXACT;
	if (vm_size_holds(&offer->size, &wish->size))
		return FIT_LARGER;
	return vm_size_holds(&offer->max_size, &wish->size) ? FIT_GROWS : FIT_NONE;
}

static bool is_default(const struct template_offer *offer)
{
	return str_equal(offer->name, "default");
}

static bool offer_is_better(const struct template_offer *a, const struct template_offer *b,
			    const struct template_wish *wish)
{
	enum template_fit a_fit = template_fit(a, wish), b_fit = template_fit(b, wish);
	bool smaller = a_fit != FIT_GROWS;

	if (a->readiness != b->readiness)
		return a->readiness > b->readiness;
	if (a_fit != b_fit)
		return a_fit > b_fit;
	if (vm_size_is_any(&wish->size))
		return is_default(a); /* else the first stays */
	if (a->size.memory_mib != b->size.memory_mib)
		return (a->size.memory_mib < b->size.memory_mib) == smaller;
	return a->size.vcpus != b->size.vcpus && (a->size.vcpus < b->size.vcpus) == smaller;
}

/* ---- what is said where none fits */

static void add_part(struct strbuf *text, const char *after, const char *value)
{
	if (text->len > 0)
		strbuf_adds(text, " and ");
	strbuf_adds(text, value);
	strbuf_adds(text, after);
}

static char *describe_wish(const struct template_wish *wish)
{
	_cleanup_(strbuf_done) struct strbuf text = {};
	_cleanup_free_ char *images = strv_join(&wish->images, ", ");
	char number[16];

	snprintf(number, sizeof(number), "%u", wish->size.vcpus);
	if (wish->size.vcpus > 0)
		add_part(&text, " vCPUs", number);
	snprintf(number, sizeof(number), "%u", wish->size.memory_mib);
	if (wish->size.memory_mib > 0)
		add_part(&text, " MiB", number);
	if (!str_empty(wish->annotations))
		add_part(&text, "", wish->annotations);
	if (wish->images.count > 0)
		add_part(&text, images, "the images ");
	if (text.len == 0)
		strbuf_adds(&text, "any");
	return strbuf_steal(&text);
}

/* "2 vCPUs", "2 to 4 vCPUs" */
static void add_range(struct strbuf *text, uint32_t from, uint32_t to, const char *unit)
{
	strbuf_addf(text, "%u", from);
	if (to > from)
		strbuf_addf(text, " to %u", to);
	strbuf_addf(text, " %s, ", unit);
}

static int none_fits(const struct template_offer *offers, size_t count,
		     const struct template_wish *wish, struct error *err)
{
	_cleanup_(strbuf_done) struct strbuf text = {};
	_cleanup_free_ char *wanted = describe_wish(wish);

	strbuf_addf(&text, "no template fits: %s wanted; there %s", wanted,
		    count == 1 ? "is " : "are ");
	for (size_t i = 0; i < count; i++) {
		const struct template_offer *offer = &offers[i];
		strbuf_addf(&text, "%s%s (", i > 0 ? ", " : "", offer->name);
		add_range(&text, offer->size.vcpus, offer->max_size.vcpus, "vCPUs");
		add_range(&text, offer->size.memory_mib, offer->max_size.memory_mib, "MiB");
		if (!str_empty(offer->annotations))
			strbuf_addf(&text, "%s, ", offer->annotations);
		for (size_t n = 0; offer->images && n < offer->images->count; n++)
			strbuf_addf(&text, "image %s, ", offer->images->items[n].name);
		strbuf_addf(&text, "%s)", offer->state);
	}
	return error_set(err, EBUSY, "%s", text.text);
}

/* ---- choosing */

int template_choose(const struct template_offer *offers, size_t count,
		    const struct template_wish *wish, struct error *err)
{
	int best = -1;

	for (size_t i = 0; i < count; i++) {
		if (offers[i].readiness == 0 || template_fit(&offers[i], wish) == FIT_NONE)
			continue;
		if (best < 0 || offer_is_better(&offers[i], &offers[best], wish))
			best = (int)i;
	}
	return best >= 0 ? best : none_fits(offers, count, wish, err);
}

static uint32_t distance(uint32_t a, uint32_t b)
{
	return a > b ? a - b : b - a;
}

static bool offer_is_nearer(const struct template_offer *a, const struct template_offer *b,
			    const struct vm_size *size)
{
	uint32_t a_memory = distance(a->size.memory_mib, size->memory_mib);
	uint32_t b_memory = distance(b->size.memory_mib, size->memory_mib);

	if (size->memory_mib > 0 && a_memory != b_memory)
		return a_memory < b_memory;
	return distance(a->size.vcpus, size->vcpus) < distance(b->size.vcpus, size->vcpus);
}

int template_choose_boot(const struct template_offer *offers, size_t count,
			 const struct template_wish *wish)
{
	int best = -ENOENT;

	for (size_t i = 0; i < count; i++) {
		if (!offers[i].bootable || !offer_is_of_kind(&offers[i], wish))
			continue;
		if (best < 0 || offer_is_nearer(&offers[i], &offers[best], &wish->size))
			best = (int)i;
	}
	return best;
}
