#include "agent/card_calls.h"

#include <errno.h>

#include "agent/interfaces.h"
#include "proto/guest.pb-c.h"

static int look_for_card(const ProtobufCMessage *message, struct error *err)
{
	const Kiln__Guest__V1__FindCardRequest *request = (const void *)message;
	int r = interface_name(request->hw_addr, request->name, err);

	return r == -ENOENT ? -EAGAIN : r;
}

struct finders *card_calls_new(struct loop *loop)
{
	static const Kiln__Guest__V1__FindCardResponse found =
		KILN__GUEST__V1__FIND_CARD_RESPONSE__INIT;

	return finders_new(loop, look_for_card, &found.base);
}
