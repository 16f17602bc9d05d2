#include "ctl/factory_init.h"

#include <stdint.h>

#include "base/memory.h"
#include "base/strings.h"
#include "ctl/factory_progress.h"

/* What the first template that is not at rest is doing. name NULL: of all. */
static char *describe(const Kiln__Factory__V1__StatusResponse *status, const void *name)
{
	for (size_t i = 0; i < status->n_templates; i++) {
		const Kiln__Factory__V1__TemplateStatus *template = status->templates[i];
		const Kiln__Factory__V1__PoolStatus *pool = template->pool;
		if (name && !str_equal(template->name, name))
			continue;
		if (str_equal(template->state, "baking"))
			return xasprintf("template %s: %s", template->name,
					 str_empty(template->phase) ? "baking" : template->phase);
		if (str_equal(template->state, "ready") && pool && pool->parked < pool->target)
			return xasprintf("template %s: filling the pool, %u of %u", template->name,
					 pool->parked, pool->target);
	}
	return NULL;
}

int factory_init(struct factory_link *link, const char *template_name, unsigned timeout_s,
		 struct error *err)
{
	Kiln__Factory__V1__InitRequest request = KILN__FACTORY__V1__INIT_REQUEST__INIT;
	const struct progress_options options = {
		.method = "Init",
		.request = &request.base,
		.timeout_s = timeout_s,
		.describe = describe,
		.userdata = template_name,
	};
	ProtobufCMessage *response = NULL;

	if (template_name)
		request.template_ = (char *)(uintptr_t)template_name;
	int r = factory_progress_call(link, &options, &response, err);
	if (r == 0)
		protobuf_c_message_free_unpacked(response, NULL);
	return r;
}
