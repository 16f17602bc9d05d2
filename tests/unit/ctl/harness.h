/* For kiln-ctl's tests: a ttRPC peer in a child process, and commands run with their output
 * collected. The peer ends with peer_stop(), at the latest with the test program. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strings.h"
#include "ctl/ctl.h"
#include "proto/ttrpc_server.h"

#define DEADLINE_S 60

struct peer_process {
	pid_t pid;
	char dir[32];
	char address[64];
};

/* In the child: what handlers may want to serve more channels with. */
static struct ttrpc_server *peer_server _unused_;

static inline void peer_serve(int fd, const struct ttrpc_service *services, size_t count)
{
	struct loop *loop = loop_new();

	peer_server = ttrpc_server_new(loop, &(struct ttrpc_server_options){});
	for (size_t i = 0; i < count; i++)
		ttrpc_server_add(peer_server, &services[i]);
	ttrpc_server_listen(peer_server, fd);
	loop_run(loop);
	_exit(0);
}

static inline void peer_start(struct peer_process *peer, const struct ttrpc_service *services,
			      size_t count)
{
	int fd;

	strcpy(peer->dir, "/tmp/kiln-test-ctl.XXXXXX");
	assert_non_null(mkdtemp(peer->dir));
	snprintf(peer->address, sizeof(peer->address), "%s/peer.sock", peer->dir);
	assert_int_equal(socket_listen_unix(peer->address, 0600, &fd, NULL), 0);
	peer->pid = fork();
	if (peer->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(DEADLINE_S);
		peer_serve(fd, services, count);
	}
	assert_true(peer->pid > 0);
	close(fd);
}

static inline void peer_stop(struct peer_process *peer)
{
	kill(peer->pid, SIGKILL);
	waitpid(peer->pid, NULL, 0);
	assert_int_equal(path_remove(peer->dir, NULL), 0);
}

struct outcome {
	int code;
	char *out; /* owned, as is err */
	char *err;
};

static inline int capture_begin(int fd, int *ret_saved)
{
	char path[] = "/tmp/kiln-test-out.XXXXXX";
	int file = mkstemp(path);

	assert_true(file >= 0);
	unlink(path);
	*ret_saved = fcntl(fd, F_DUPFD_CLOEXEC, 10);
	dup2(file, fd);
	return file;
}

static inline char *capture_end(int fd, int file, int saved)
{
	char *text = xcalloc(1 << 20, 1);

	dup2(saved, fd);
	close(saved);
	assert_true(pread(file, text, (1 << 20) - 1, 0) >= 0);
	close(file);
	return text;
}

/* Whether commands run in a child: those that give up rights do so for their whole process. There
 * the sanitizers do not look for leaks. */
static bool commands_apart _unused_;
static pid_t command_pid _unused_; /* of the one that runs, or ran last */

static inline int run_in_child(const struct ctl_command *command, int argc, char **argv)
{
	int status;

	command_pid = fork();
	if (command_pid == 0) {
		int code = command->run(argc, argv);
		fflush(NULL);
		_exit(code);
	}
	assert_int_equal(waitpid(command_pid, &status, 0), command_pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* words: argv of the command, its own name first, NULL last. */
static inline struct outcome run_command(const struct ctl_command *command,
					 const char *const *words)
{
	struct outcome outcome;
	int saved[2], files[2];
	char *argv[16] = {};
	int argc = 0;

	for (; words[argc]; argc++)
		argv[argc] = xstrdup(words[argc]);
	char *owned[16];
	memcpy(owned, argv, sizeof(owned)); /* getopt permutes argv */
	fflush(NULL);
	files[0] = capture_begin(STDOUT_FILENO, &saved[0]);
	files[1] = capture_begin(STDERR_FILENO, &saved[1]);
	outcome.code = commands_apart ? run_in_child(command, argc, argv)
				      : command->run(argc, argv);
	fflush(NULL);
	outcome.out = capture_end(STDOUT_FILENO, files[0], saved[0]);
	outcome.err = capture_end(STDERR_FILENO, files[1], saved[1]);
	for (int i = 0; i < argc; i++)
		free(owned[i]);
	return outcome;
}

static inline void outcome_done(struct outcome *outcome)
{
	free(outcome->out);
	free(outcome->err);
}

#define RUN(command, ...)                                                                          \
	run_command((command), (const char *const[]){ (command)->name, __VA_ARGS__, NULL })

#define assert_contains(text, part)                                                                \
	do {                                                                                       \
		if (!strstr((text), (part)))                                                       \
			fail_msg("no '%s' in: %s", (part), (text));                                \
	} while (0)
