/* The host's call about a network card that it plugs into the running machine: FindCard is answered
 * when the card is there (agent/finders.h) and has the name that the host wants it to have, which
 * no interface of a pod's has. */
#pragma once

#include "agent/finders.h"

/* Its calls are Kiln__Guest__V1__FindCardRequest. */
struct finders *card_calls_new(struct loop *loop);
