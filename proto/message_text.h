/* A string of a message that protobuf-c's unpacker or proto/pbjson.h has made: of malloc(3), or,
 * where there was none, protobuf-c's own empty one, which is nobody's. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdlib.h>

/* Takes text. */
static inline void message_text_set(char **field, char *text)
{
	if (*field != protobuf_c_empty_string)
		free(*field);
	*field = text;
}
