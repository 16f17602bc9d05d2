/* The guest's network interfaces, for ListInterfaces and UpdateInterface. */
#pragma once

#include "base/error.h"
#include "proto/agent.pb-c.h"

/* One entry an interface, with all its addresses. The caller frees with
 * protobuf_c_message_free_unpacked(). */
_must_check_ int interfaces_list(Grpc__Interfaces **ret, struct error *err);

/* Gives an interface the hardware address and MTU of `wanted` (what is empty or 0 stays). It is
 * the one that has that address already, as Kata's protocol has it, else the one named
 * wanted->device. -ENOENT: there is neither.
 *
 * Where wanted has a name, the interface also gets that, wanted's addresses and no others, and is
 * up afterwards; IPv6 addresses are usable at once. Another one that had the name is down then, has
 * no addresses, and is called idleN. Without a name it stays up or down, with the addresses it has.
 */
_must_check_ int interface_update(const Types__Interface *wanted, struct error *err);

/* Gives the interface with this hardware address, which is down, a name. -ENOENT: there is none. */
_must_check_ int interface_name(const char *hwaddr, const char *name, struct error *err);

/* Takes all interfaces but the loopback down, and their addresses with it. */
_must_check_ int interfaces_clear(struct error *err);
