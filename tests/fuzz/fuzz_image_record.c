/* Bytes as the record of an image: what is taken is what it may be. */
#include <stdint.h>
#include <stdlib.h>

#include "factory/cache/image_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_(image_record_done) struct image_record record = {};

	if (image_record_parse((const char *)data, size, "record", &record, &err) < 0) {
		if (record.name || record.layers.count || !err.message)
			abort();
		return -1; /* not worth keeping in the corpus */
	}
	if (!image_key_is_valid(record.key) || !image_key_is_valid(record.digest) ||
	    record.layers.count == 0 || record.layers.count > IMAGE_LAYERS_MAX ||
	    record.stamp.size == 0 || (*record.name && !image_name_is_valid(record.name)))
		abort();
	return 0;
}
