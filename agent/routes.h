/* The guest's routes and lasting neighbours, for UpdateRoutes, ListRoutes and AddARPNeighbors. Of
 * routes it is the main table that counts. */
#pragma once

#include "base/error.h"
#include "proto/agent.pb-c.h"

/* The caller frees with protobuf_c_message_free_unpacked(). */
_must_check_ int routes_list(Grpc__Routes **ret, struct error *err);

/* The routes that somebody has set (not the kernel itself, for an address) are these from now on.
 * Those without a gateway are set first, for gateways are reached by them. A route for a prefix
 * that the kernel has one for takes its place (IPv4). */
_must_check_ int routes_update(const Grpc__Routes *routes, struct error *err);

/* One that is there already is replaced. An interface with the pod's namespace as a neighbour takes
 * packets for the loopback (proto/pod_loopback.h). */
_must_check_ int neighbours_add(const Grpc__ARPNeighbors *neighbours, struct error *err);
