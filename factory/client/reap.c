#include "factory/client/reap.h"

#include "base/pidfd.h"
#include "factory/vm/journal.h"
#include "factory/vm/remains.h"

enum { TRIES = 100 };

static int reap_process(const char *run_dir, const struct journal_entry *entry, struct error *err)
{
	_cleanup_close_ int pidfd = -EBADF;
	int r = remains_open_process(run_dir, entry, &pidfd);
	if (r == -ESRCH)
		return 0;
	if (r < 0)
		return error_set_errno(err, r, "cannot open the process %d", (int)entry->pid);
	return pidfd_kill(pidfd, err);
}

/* What is in use mostly is for a moment only, and nothing else waits for us. */
static int remove_remains(const char *run_dir, const struct journal_entry *entry, struct error *err)
{
	int r = -EBUSY;

	for (unsigned n = 0; r == -EBUSY && n < TRIES; n++)
		r = remains_remove(run_dir, entry, err);
	if (r == 0)
		error_done(err);
	return r;
}

int reap_machine(const char *run_dir, const char *id, struct error *err)
{
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	_cleanup_(error_done) struct error read_err = {};
	int r = journal_read(run_dir, id, &entry, &read_err);
	if (r == -ENOENT)
		return 0;
	if (r < 0) {
		error_move(err, &read_err);
		return r;
	}
	r = reap_process(run_dir, &entry, err);
	if (r == 0)
		r = remove_remains(run_dir, &entry, err);
	return r < 0 ? error_wrap(err, "cannot reap the machine %s", id) : 0;
}
