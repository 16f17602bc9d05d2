/* The journal: RUN_DIR/vms/ID.json, one small file a machine, on tmpfs.
 *
 * Written (atomically) before the thing it describes exists, so that after a crash everything
 * left behind can be found. A process is named by pid and start time: a pid that was reused is
 * nobody of ours. Entries are read back as hostile input: a bad one is reported and set aside.
 *
 * "version" is that of FORMAT_JOURNAL (base/format.h). Keys that we do not know are ignored, and
 * are gone when the entry is written again, so a later version adds only what may get lost. An
 * entry of another version is left where it is, and its machine is left alone.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "factory/vm/vm.h"

struct journal_entry {
	char *id;
	char *template_id;
	char *template_name;
	char *sandbox_id; /* NULL: not leased */
	enum vm_state state;
	bool confirmed;
	bool booted;          /* for one claim, at a size of its own: for nobody else */
	pid_t pid;            /* 0: not started yet */
	uint64_t start_time;  /* of pid, clock ticks since boot */
	uint64_t spawned_at;  /* seconds since the epoch */
	uint32_t next_stream; /* of a claimed one */
	/* Whose it is: the process a claimed one was handed to, or the one that makes it for
	 * itself without a factory. 0: nobody's (yet). */
	pid_t claimer_pid;
	uint64_t claimer_start;
	/* What the process is shut in (factory/jail/jail.h), where it is. */
	uint32_t uid;       /* first of its range; 0: none */
	char *cgroup;       /* NULL: none */
	uint32_t guest_cid; /* of its process (factory/vm/guest_cid.h); 0: none */
};

_must_check_ int journal_write(const char *run_dir, const struct journal_entry *entry,
			       struct error *err);
_must_check_ int journal_read(const char *run_dir, const char *id, struct journal_entry *ret_entry,
			      struct error *err);
/* The bytes of one entry; -EBADMSG with what is wrong; -EPROTONOSUPPORT: of another version. */
_must_check_ int journal_parse(const char *text, size_t len, struct journal_entry *ret_entry,
			       struct error *err);
_must_check_ int journal_remove(const char *run_dir, const char *id, struct error *err);

/* For a factory that starts: calls fn for each readable entry; unreadable ones are logged and
 * renamed to ID.json.bad, those of another version are logged and stay, and what a killed process
 * had not finished writing is removed. Entries that were set aside and are readable now, to this
 * version, are taken back. */
_must_check_ int journal_scan(const char *run_dir,
			      void (*fn)(const struct journal_entry *entry, void *userdata),
			      void *userdata, struct error *err);

/* "PARENT/ID" */
bool journal_cgroup_is_valid(const char *cgroup, const char *id);

void journal_entry_done(struct journal_entry *entry);
