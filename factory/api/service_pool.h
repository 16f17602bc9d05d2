/* The calls by which an operator steers a pool: Warm, Drain, Pause, Resume. userdata is the
 * factory (service.c has the table). */
#pragma once

#include "proto/ttrpc_server.h"

void rpc_on_warm(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_on_drain(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_on_pause(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_on_resume(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
