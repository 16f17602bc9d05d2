/* Child processes with a pidfd from the start: no window in which the pid may be reused,
 * and the child's end is an event on the loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* fd `from` of the parent becomes fd `to` of the child. */
struct spawn_fd {
	int from;
	int to;
};

/* An argument vector of literals: SPAWN_ARGV("mount", "-a"), valid in its block. */
#define SPAWN_ARGV(...) ((char *const *)(const char *const[]){ __VA_ARGS__, NULL })

struct spawn_options {
	char *const *argv;          /* borrowed */
	const char *program;        /* borrowed; its path. NULL: argv[0], looked up on PATH */
	char *const *env;           /* borrowed; NULL: the parent's */
	const char *cwd;            /* borrowed; NULL: the parent's */
	const struct spawn_fd *fds; /* borrowed; everything else above 2 is closed */
	size_t nfds;                /* 0, 1, 2 not named here are /dev/null */
	bool new_session;           /* setsid(2) in the child */
	bool no_huge_pages;         /* PR_SET_THP_DISABLE in the child */
	bool merge_pages;           /* KSM may merge its pages, where the kernel can (6.7) */
	bool limits_files;          /* in_child does; else as before open_files_raise() */

	/* Either may be NULL. in_child runs in the child when all of the parent's descriptors are
	 * still there, and may make system calls only; a negative errno ends the start, with
	 * *ret_what (a literal) as its sentence. in_parent runs meanwhile, and may wait for the
	 * child. */
	int (*in_child)(void *data, const char **ret_what);
	int (*in_parent)(void *data, pid_t pid, struct error *err);
	void *hook_data;
};

/* Starts the child; a failure up to and including execve is returned here. The caller owns
 * the pidfd. */
_must_check_ int spawn(const struct spawn_options *options, pid_t *ret_pid, int *ret_pidfd,
		       struct error *err);

/* Collects an ended child. The status is that of waitpid(2); -EAGAIN while it lives. */
_must_check_ int spawn_reap(int pidfd, int *ret_status);

/* Runs a command to its end and collects stdout and stderr (at most 64 KiB). Blocks: for
 * worker threads, ctl and tests. A status other than 0 is -EIO with the output's tail. */
_must_check_ int spawn_and_wait(char *const *argv, char **ret_output, struct error *err);

/* The same with all options, but the descriptors 1 and 2 are the output's. The child's end is a
 * success, with whatever status of waitpid(2). When cancel_fd (-1: none) becomes readable the child
 * is killed: -ECANCELED. */
_must_check_ int spawn_run(const struct spawn_options *options, int cancel_fd, int *ret_status,
			   char **ret_output, struct error *err);

/* A status other than 0 as an error, -EIO, with the end of the output. */
int spawn_status_error(const char *name, int status, const char *output, struct error *err);
