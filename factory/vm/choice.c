#include "factory/vm/choice.h"

#include <inttypes.h>
#include <stdbool.h>

#include "base/strbuf.h"
#include "base/strings.h"

struct wish {
	uint32_t vcpus, memory_mib;
};

static bool offer_fits(const struct template_offer *offer, const struct wish *wish)
{
	return wish->vcpus <= offer->vcpus && wish->memory_mib <= offer->memory_mib;
}

static bool offer_is_exact(const struct template_offer *offer, const struct wish *wish)
{
	if (wish->vcpus == 0 && wish->memory_mib == 0)
		return str_equal(offer->name, "default");
	return (wish->vcpus == 0 || wish->vcpus == offer->vcpus) &&
	       (wish->memory_mib == 0 || wish->memory_mib == offer->memory_mib);
}

static bool offer_is_better(const struct template_offer *a, const struct template_offer *b,
			    const struct wish *wish)
{
	bool a_exact = offer_is_exact(a, wish), b_exact = offer_is_exact(b, wish);

	if (a->readiness != b->readiness)
		return a->readiness > b->readiness;
	if (a_exact != b_exact)
		return a_exact;
	if (wish->vcpus == 0 && wish->memory_mib == 0)
		return false; /* the first stays */
	if (a->memory_mib != b->memory_mib)
		return a->memory_mib < b->memory_mib;
	return a->vcpus < b->vcpus;
}

static void add_wish(struct strbuf *text, const struct wish *wish)
{
	if (wish->vcpus > 0)
		strbuf_addf(text, "%u vCPUs", wish->vcpus);
	if (wish->vcpus > 0 && wish->memory_mib > 0)
		strbuf_adds(text, " and ");
	if (wish->memory_mib > 0)
		strbuf_addf(text, "%u MiB", wish->memory_mib);
	if (wish->vcpus == 0 && wish->memory_mib == 0)
		strbuf_adds(text, "any");
}

static int none_fits(const struct template_offer *offers, size_t count, const struct wish *wish,
		     struct error *err)
{
	_cleanup_(strbuf_done) struct strbuf text = {};

	strbuf_adds(&text, "no template fits: ");
	add_wish(&text, wish);
	strbuf_adds(&text, " wanted; there ");
	strbuf_adds(&text, count == 1 ? "is " : "are ");
	for (size_t i = 0; i < count; i++)
		strbuf_addf(&text, "%s%s (%" PRIu64 " vCPUs, %" PRIu64 " MiB, %s)",
			    i > 0 ? ", " : "", offers[i].name, offers[i].vcpus,
			    offers[i].memory_mib, offers[i].state);
	return error_set(err, EBUSY, "%s", text.text);
}

int template_choose(const struct template_offer *offers, size_t count, uint32_t vcpus,
		    uint32_t memory_mib, struct error *err)
{
	const struct wish wish = { .vcpus = vcpus, .memory_mib = memory_mib };
	int best = -1;

	for (size_t i = 0; i < count; i++) {
		if (offers[i].readiness == 0 || !offer_fits(&offers[i], &wish))
			continue;
		if (best < 0 || offer_is_better(&offers[i], &offers[best], &wish))
			best = (int)i;
	}
	return best >= 0 ? best : none_fits(offers, count, &wish, err);
}
