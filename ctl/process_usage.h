/* What a process of the host uses, by /proc. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct process_usage {
	double cpu_s; /* user and system, of all its threads */
	/* Resident bytes. Of a VMM: what its guest has of its own (anonymous), what it reads of its
	 * template's files (file, shared). */
	uint64_t anonymous, file, shared;
	uint64_t open_files;
};

/* -ENOENT: it is gone; -EINVAL: /proc is of another kind. */
_must_check_ int process_usage_read(pid_t pid, struct process_usage *ret);

/* Of /proc/PID/stat and /proc/PID/status. */
_must_check_ int process_usage_parse(const char *stat, const char *status,
				     struct process_usage *ret);
