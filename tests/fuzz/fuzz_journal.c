/* Journal entries and mountinfo: both are read back from where others may write. */
#include <stddef.h>
#include <stdint.h>

#include "base/memory.h"
#include "base/strings.h"
#include "factory/vm/journal.h"
#include "factory/vm/remains.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct journal_entry entry;
	_cleanup_(error_done) struct error err = {};
	if (journal_parse((const char *)data, len, &entry, &err) == 0) {
		if (!id_is_valid(entry.id) || entry.pid == 1 || entry.pid < 0)
			__builtin_trap();
		journal_entry_done(&entry);
	} else if (!err.message) {
		__builtin_trap();
	}

	_cleanup_free_ char *text = xstrndup((const char *)data, len);
	_cleanup_(strv_done) struct strv mounts = {};
	remains_find_mounts(text, "/run/kiln/vms/a", &mounts);
	for (size_t i = 0; i < mounts.count; i++)
		if (!str_after(mounts.items[i], "/run/kiln/vms/a"))
			__builtin_trap();
	return 0;
}
