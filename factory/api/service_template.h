/* The factory's calls about one template: handlers for the table in service.c. */
#pragma once

#include "proto/ttrpc_server.h"

void rpc_on_inspect(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_on_rebuild(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_on_verify(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_on_console(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
