/* Bytes as the digests in a store: what is believed keeps the promises of
 * factory/store/known_digests.h, and is read again as it is written. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "factory/store/known_digests.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *store = xasprintf("/dev/shm/kiln-fuzz-digests.%d", (int)getpid());
	_cleanup_free_ char *path = path_join(store, "digests.json");
	_cleanup_(known_digests_done) struct known_digests known = {}, again = {};

	log_set_level(LOG_LEVEL_ERROR);
	if (dir_make(store, 0700, NULL) < 0 || file_write_atomic(path, data, size, 0600, NULL) < 0)
		abort();
	known_digests_load(store, &known);
	if (known.count > KNOWN_DIGESTS_MAX || known.grown)
		abort();
	for (size_t i = 0; i < known.count; i++)
		if (!digest_is_valid(known.items[i].digest) || !known.items[i].storable)
			abort();
	known.grown = true;
	if (known_digests_store(&known, store, NULL) < 0)
		abort();
	known_digests_load(store, &again);
	if (again.count != known.count)
		abort();
	for (size_t i = 0; i < known.count; i++)
		if (!input_stamp_equal(&known.items[i].stamp, &again.items[i].stamp) ||
		    strcmp(known.items[i].digest, again.items[i].digest) != 0)
			abort();
	if (path_remove(store, NULL) < 0)
		abort();
	return 0;
}
