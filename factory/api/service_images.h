/* The factory's calls about the cache of images: handlers for the table in service.c. */
#pragma once

#include "proto/ttrpc_server.h"

void rpc_on_prepare_image(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_on_list_images(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_on_remove_image(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
void rpc_on_prune_images(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata);
