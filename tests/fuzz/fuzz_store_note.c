/* Bytes as the note that a factory left beside its socket: what is believed keeps the promises of
 * factory/store/store_note.h. */
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "factory/store/store_note.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_absolute(const char *path)
{
	return path && path[0] == '/';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *socket = xasprintf("/dev/shm/kiln-fuzz-note.%d", (int)getpid());
	_cleanup_free_ char *path = xasprintf("%s.json", socket);
	_cleanup_(error_done) struct error err = {};
	struct store_note note = {};

	log_set_level(LOG_LEVEL_ERROR);
	if (file_write_atomic(path, data, size, 0600, NULL) < 0)
		abort();
	if (store_note_read(socket, &note, &err) < 0) {
		if (!err.message)
			abort();
	} else {
		if (!is_absolute(note.run_dir) || !is_absolute(note.store) ||
		    !is_absolute(note.scratch_dir) || note.uid_first > UINT32_MAX ||
		    (note.image_cache && !is_absolute(note.image_cache)))
			abort();
		store_note_done(&note);
	}
	unlink(path);
	return 0;
}
