/* What a machine has on the host beyond its process, and how it is taken away: sockets and the
 * share folder in RUN_DIR/vms/ID/, mounts below it, a process beside it
 * (factory/client/jail_join.h), control group, user ids, the journal entry. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/strv.h"

/* "RUN_DIR/vms/ID"; the caller frees. */
char *remains_dir(const char *run_dir, const char *id);

/* Mount points at or below dir that /proc/PID/mountinfo's text tells of, deepest first. */
void remains_find_mounts(const char *mountinfo, const char *dir, struct strv *ret_mounts);

/* The process of a machine, noted in its folder by root, who has started it: while that lives
 * nothing of the machine is removed, whatever the journal says. A machine of an earlier version has
 * no such note. */
_must_check_ int remains_note_process(const char *dir, pid_t pid, uint64_t start_time,
				      struct error *err);

/* Detaches mounts, ends what else runs with the machine's user ids (where they are its own),
 * removes all and last the journal entry (which stays where something else could not be removed, so
 * that the next start tries again). -EBUSY: something is still in use, as by a process that has not
 * ended a moment after it was killed; whoever can comes again. */
struct journal_entry;
_must_check_ int remains_remove(const char *run_dir, const struct journal_entry *entry,
				struct error *err);

/* ---- processes that no journal entry has the pid of
 *
 * Anybody may start a program under any name, with any arguments. A process is taken for ours only
 * where the kernel says so: its owner is a user that only our machines have (or root, where those
 * run as root), and its program is a file of root's that nobody else may write to, whose name
 * begins with "qemu"; a bake refuses any other. Only then do its arguments say which of ours it is.
 * Those of anybody else are not even read: they are memory of a process that may keep its reader
 * waiting for ever.
 *
 * Each of the functions looks at every process once. */

/* User ids from first on. */
struct owner {
	uint32_t first, count;
};

/* The user of a process that lives. False: there is none. */
bool remains_owner(pid_t pid, uint32_t *ret_uid);

/* Whether its program is one of those: a machine of which it is not could not be ended after a
 * crash. */
bool remains_runs_qemu(pid_t pid);

/* Whether this process is a machine's: its owner is one of these, and its program QEMU, or none any
 * more. */
bool remains_is_machine(pid_t pid, const struct owner *owner);

/* A pidfd of the QEMU of the machine in the entry, which was written before the process was
 * started and never after; -ESRCH: there is none. */
_must_check_ int remains_find_process(const char *run_dir, const struct journal_entry *entry,
				      int *ret_pidfd);

/* The same of an entry that may have a process: where that is not of the machine's user, with the
 * machine's folder in its arguments, the entry is not believed. The factory writes them, which is
 * not root. */
_must_check_ int remains_open_process(const char *run_dir, const struct journal_entry *entry,
				      int *ret_pidfd);

/* Kills every QEMU of these owners that has `path` somewhere in its arguments. Whoever else calls
 * himself a QEMU is left alone, and is named in the log. */
_must_check_ int remains_kill_qemus(const char *path, const struct owner *owners, size_t nowners,
				    struct error *err);

#define VM_LOG "qemu.log" /* in the machine's folder: what QEMU says (base/log_pipe.h) */

/* How QEMU ended, in words: its wait status (-1: unknown) and the last line of its log. */
char *remains_last_words(const char *dir, int status);
