/* The Operator service (proto/operator.proto), beside containerd's on the shim's socket: what
 * `kiln-ctl list`, `inspect`, `metrics`, `logs`, `policy`, `iptables` and `exec` ask. */
#pragma once

#include <stdbool.h>

#include <protobuf-c/protobuf-c.h>

struct ttrpc_server;

void operator_service_add(struct ttrpc_server *server);

/* The request is one of this service, not of containerd. */
bool operator_service_asks(const ProtobufCMessage *request);
