/* The guest's network interfaces, for ListInterfaces. */
#pragma once

#include "base/error.h"
#include "proto/agent.pb-c.h"

/* One entry an interface, with all its addresses. The caller frees with
 * protobuf_c_message_free_unpacked(). */
_must_check_ int interfaces_list(Grpc__Interfaces **ret, struct error *err);
