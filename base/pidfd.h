/* Other processes than our children: known by pid and start time, watched and ended by a pidfd. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* Start time of a process in clock ticks since boot (/proc/PID/stat, field 22): with the pid
 * it names one process for ever. -ESRCH where there is no such process; any other error says
 * nothing of that, -EACCES where it lives and /proc hides it (hidepid=). */
_must_check_ int process_start_time(pid_t pid, uint64_t *ret_ticks);

/* A pidfd of the process that has this pid and start time; -ESRCH where it is gone, also
 * when the pid was reused. With any other error it may live: -EMFILE, or as above. */
_must_check_ int process_open(pid_t pid, uint64_t start_time, int *ret_pidfd);

/* Waits for its end, at most 10 s. */
_must_check_ int pidfd_wait(int pidfd, struct error *err);

/* Kills it and waits for its end, at most 10 s. */
_must_check_ int pidfd_kill(int pidfd, struct error *err);

/* How a program with a log has ended, in words: its wait status (-1: unknown) and the last line of
 * its log, in which a hostile guest may have had its say. The caller frees. */
char *program_last_words(const char *program, const char *log, int status);
