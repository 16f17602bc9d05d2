#include "shim/log_program.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/spawn.h"
#include "base/strings.h"
#include "base/strv.h"

#define SCHEME "binary://"

enum { OUT_FD = 3, ERR_FD = 4, READY_FD = 5, ARGS_MAX = 64 };

struct log_program {
	struct loop *loop;
	struct loop_watch *death; /* on pidfd; paused until log_program_end() */
	struct loop_timer *timer; /* from then on */
	char *uri;
	int pidfd;
};

bool log_program_is_named(const char *uri)
{
	return str_after(uri ? uri : "", SCHEME);
}

/* ---------------------------------------------------------------- the URI */

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef";
	const char *at = c ? strchr(digits, c | 0x20) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* In place: %XX, and in a query '+', as Go reads them. */
static void decode(char *text, bool is_query)
{
	char *to = text;

	for (const char *from = text; *from; from++) {
		int high = *from == '%' ? hex_digit(from[1]) : -1;
		int low = high >= 0 ? hex_digit(from[2]) : -1;
		if (low >= 0) {
			*to++ = (char)(high * 16 + low);
			from += 2;
		} else {
			*to++ = is_query && *from == '+' ? ' ' : *from;
		}
	}
	*to = '\0';
}

static void add_word(struct strv *argv, char *word)
{
	decode(word, true);
	strv_add(argv, word);
}

static int parse(const char *uri, struct strv *argv, struct error *err)
{
	_cleanup_free_ char *copy = xstrdup(str_after(uri, SCHEME));
	char *query = strchr(copy, '?'), *rest = NULL;

	if (query)
		*query++ = '\0';
	decode(copy, false);
	if (*copy != '/')
		return error_set(err, EINVAL, "%s: a logging program is named by an absolute path",
				 uri);
	strv_add(argv, copy);
	for (char *pair = query ? strtok_r(query, "&", &rest) : NULL; pair;
	     pair = strtok_r(NULL, "&", &rest)) {
		char *value = strchr(pair, '=');
		if (argv->count >= ARGS_MAX)
			return error_set(err, E2BIG, "a logging program has %d words at most",
					 ARGS_MAX);
		if (value)
			*value++ = '\0';
		add_word(argv, pair);
		if (value)
			add_word(argv, value);
	}
	return 0;
}

/* ---------------------------------------------------------------- its life */

static void log_program_free(void *userdata)
{
	struct log_program *program = userdata;

	loop_watch_free(program->death);
	loop_timer_free(program->timer);
	close_fd(program->pidfd);
	free(program->uri);
	free(program);
}

static void on_death(int fd _unused_, unsigned events _unused_, void *userdata)
{
	struct log_program *program = userdata;
	int status;

	if (spawn_reap(program->pidfd, &status) < 0)
		return;
	if (status != 0)
		log_warning(NULL, "logging program %s has ended with status %#x", program->uri,
			    (unsigned)status);
	loop_watch_free(steal_ptr(program->death));
	loop_timer_stop(program->timer);
	loop_defer(program->loop, log_program_free, program);
}

static void on_late(void *userdata)
{
	struct log_program *program = userdata;

	log_warning(NULL, "logging program %s is killed: it does not end with its input",
		    program->uri);
	(void)syscall(SYS_pidfd_send_signal, program->pidfd, SIGKILL, NULL, 0);
}

/* pipes[i] is what the program has as descriptor OUT_FD + i. */
static int start(const struct strv *argv, const char *id, const char *ns, int pipes[3][2],
		 int *ret_pidfd, struct error *err)
{
	_cleanup_(strv_done) struct strv env = {};
	const struct spawn_fd fds[] = {
		{ pipes[0][0], OUT_FD },
		{ pipes[1][0], ERR_FD },
		{ pipes[2][1], READY_FD },
	};
	pid_t pid;

	strv_addf(&env, "CONTAINER_ID=%s", id);
	strv_addf(&env, "CONTAINER_NAMESPACE=%s", ns);

	const struct spawn_options options = {
		.argv = argv->items,
		.env = env.items,
		.fds = fds,
		.nfds = ARRAY_SIZE(fds),
		.new_session = true,
	};

	return spawn(&options, &pid, ret_pidfd, err);
}

static void close_pipes(int pipes[3][2])
{
	for (int i = 0; i < 3; i++)
		for (int end = 0; end < 2; end++)
			pipes[i][end] = close_fd(pipes[i][end]);
}

int log_program_start(struct loop *loop, const char *uri, const char *id, const char *ns,
		      struct log_program **ret, int *ret_out, int *ret_err, struct error *err)
{
	_cleanup_(strv_done) struct strv argv = {};
	int pipes[3][2] = { { -EBADF, -EBADF }, { -EBADF, -EBADF }, { -EBADF, -EBADF } };
	struct log_program *program;
	int pidfd = -EBADF;
	int r = parse(uri, &argv, err);

	for (int i = 0; r == 0 && i < 3; i++)
		if (pipe2(pipes[i], O_CLOEXEC) < 0)
			r = error_set_errno(err, errno, "cannot make a pipe");
	if (r == 0 && (fd_set_nonblocking(pipes[0][1]) < 0 || fd_set_nonblocking(pipes[1][1]) < 0))
		r = error_set(err, EIO, "cannot prepare a pipe");
	if (r == 0)
		r = start(&argv, id, ns, pipes, &pidfd, err);
	if (r < 0) {
		close_pipes(pipes);
		return error_wrap(err, "logging program %s", uri);
	}
	program = xnew(struct log_program);
	program->loop = loop;
	program->uri = xstrdup(uri);
	program->pidfd = pidfd;
	program->death = loop_watch_new(loop, pidfd, 0, on_death, program);
	program->timer = loop_timer_new(loop, on_late, program);
	*ret = program;
	*ret_out = steal_fd(&pipes[0][1]);
	*ret_err = steal_fd(&pipes[1][1]);
	close_pipes(pipes);
	return 0;
}

void log_program_end(struct log_program *program)
{
	if (!program)
		return;
	loop_watch_set(program->death, LOOP_READ);
	loop_timer_start(program->timer, LOG_PROGRAM_END_MS);
}
