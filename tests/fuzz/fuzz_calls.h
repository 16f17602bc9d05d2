/* What fuzzers of whole services share: a service's requests, taken of the input one after another.
 *
 * Of each the first byte chooses the method, the second says how many bytes follow that are the
 * request's message. What is no such message is left out: tests/fuzz/fuzz_ttrpc_server.c tries
 * those.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

struct fuzz_input {
	const uint8_t *data;
	size_t size;
};

/* False: the input has ended. ret_message is freed by the caller; NULL: left out. */
static inline bool fuzz_take_call(struct fuzz_input *input,
				  const ProtobufCServiceDescriptor *service,
				  const ProtobufCMethodDescriptor **ret_method,
				  ProtobufCMessage **ret_message)
{
	if (input->size < 2)
		return false;
	size_t len = input->data[1] < input->size - 2 ? input->data[1] : input->size - 2;

	*ret_method = &service->methods[input->data[0] % service->n_methods];
	*ret_message = protobuf_c_message_unpack((*ret_method)->input, NULL, len, input->data + 2);
	input->data += 2 + len;
	input->size -= 2 + len;
	return true;
}
