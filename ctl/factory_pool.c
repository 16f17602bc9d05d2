#include "ctl/factory_pool.h"

#include <stdint.h>
#include <stdio.h>

#include "ctl/ctl.h"

#define POOL_TIMEOUT_S 120

int factory_pool_warm(struct factory_link *link, const char *name, unsigned count,
		      unsigned timeout_s)
{
	Kiln__Factory__V1__WarmRequest request = KILN__FACTORY__V1__WARM_REQUEST__INIT;

	request.template_ = (char *)(uintptr_t)name;
	request.count = count;

	ProtobufCMessage *response = factory_link_ask(link, "Warm", &request.base, timeout_s,
						      POOL_TIMEOUT_S);

	if (!response)
		return CTL_FAILED;
	printf("pool %s is warm: %u parked\n", name,
	       ((const Kiln__Factory__V1__WarmResponse *)response)->parked);
	protobuf_c_message_free_unpacked(response, NULL);
	return CTL_OK;
}

/* The requests of the three are alike: one field, the template. */
int factory_pool_ask(struct factory_link *link, const char *method, const char *name,
		     const char *done, unsigned timeout_s)
{
	Kiln__Factory__V1__DrainRequest drain = KILN__FACTORY__V1__DRAIN_REQUEST__INIT;
	Kiln__Factory__V1__PauseRequest pause = KILN__FACTORY__V1__PAUSE_REQUEST__INIT;
	Kiln__Factory__V1__ResumeRequest resume = KILN__FACTORY__V1__RESUME_REQUEST__INIT;
	const ProtobufCMessage *request = str_equal(method, "Drain")   ? &drain.base
					  : str_equal(method, "Pause") ? &pause.base
								       : &resume.base;

	drain.template_ = pause.template_ = resume.template_ = (char *)(uintptr_t)name;

	ProtobufCMessage *response = factory_link_ask(link, method, request, timeout_s,
						      POOL_TIMEOUT_S);

	if (!response)
		return CTL_FAILED;
	protobuf_c_message_free_unpacked(response, NULL);
	printf("pool %s is %s\n", name, done);
	return CTL_OK;
}
