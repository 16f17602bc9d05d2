/* What a machine has on the host beyond its process, and how it is taken away: sockets and the
 * share folder in RUN_DIR/vms/ID/, mounts below it, a process beside it
 * (factory/client/jail_join.h), control group, user ids, the journal entry. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/strv.h"

/* "RUN_DIR/vms/ID"; the caller frees. */
char *remains_dir(const char *run_dir, const char *id);

/* Mount points at or below dir that /proc/PID/mountinfo's text tells of, deepest first. */
void remains_find_mounts(const char *mountinfo, const char *dir, struct strv *ret_mounts);

/* Detaches mounts, ends what else runs with the machine's user ids, removes all and last the
 * journal entry (which stays where something else could not be removed, so that the next start
 * tries again). */
struct journal_entry;
_must_check_ int remains_remove(const char *run_dir, const struct journal_entry *entry,
				struct error *err);

/* A pidfd of the QEMU whose arguments name the machine's folder, for an entry written before
 * the process was started and never after; -ESRCH: there is none. */
_must_check_ int remains_find_process(const char *run_dir, const char *id, int *ret_pidfd);

/* The same of any QEMU that has `path` somewhere in its arguments. */
_must_check_ int remains_find_qemu(const char *path, int *ret_pidfd);

#define VM_LOG "qemu.log" /* in the machine's folder: what QEMU says (base/log_pipe.h) */

/* How QEMU ended, in words: its wait status (-1: unknown) and the last line of its log. */
char *remains_last_words(const char *dir, int status);
