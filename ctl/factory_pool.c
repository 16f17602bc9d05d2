#include "ctl/factory_pool.h"

#include <stdint.h>
#include <stdio.h>

#include "ctl/ctl.h"

#define POOL_TIMEOUT_S 120

int factory_pool_warm(struct factory_link *link, const char *name, unsigned count,
		      unsigned timeout_s)
{
	Kiln__Factory__V1__WarmRequest request = KILN__FACTORY__V1__WARM_REQUEST__INIT;
	_cleanup_(error_done) struct error err = {};
	ProtobufCMessage *response = NULL;

	request.template_ = (char *)(uintptr_t)name;
	request.count = count;
	if (factory_link_call(link, "Warm", &request.base, timeout_s ? timeout_s : POOL_TIMEOUT_S,
			      &response, &err) < 0)
		return ctl_fail(&err);
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
	_cleanup_(error_done) struct error err = {};
	ProtobufCMessage *response = NULL;
	const ProtobufCMessage *request = str_equal(method, "Drain")   ? &drain.base
					  : str_equal(method, "Pause") ? &pause.base
								       : &resume.base;

	drain.template_ = pause.template_ = resume.template_ = (char *)(uintptr_t)name;
	if (factory_link_call(link, method, request, timeout_s ? timeout_s : POOL_TIMEOUT_S,
			      &response, &err) < 0)
		return ctl_fail(&err);
	protobuf_c_message_free_unpacked(response, NULL);
	printf("pool %s is %s\n", name, done);
	return CTL_OK;
}
