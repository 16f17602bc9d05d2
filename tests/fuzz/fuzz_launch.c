/* What a child says on its sync socket, which is in reach of whoever breaks into it: the agent
 * hears at most one READY and exactly one last event. A message is a length byte and so many bytes.
 */
#include <stdint.h>
#include <stdlib.h>

#include "agent/launch.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* No child is cloned here. */
int child_join(struct child_plan *plan _unused_, int cgroup _unused_, struct error *err _unused_)
{
	abort();
}

void child_run(const struct child_plan *plan _unused_)
{
	abort();
}

struct told {
	unsigned ready, last;
};

static void on_event(enum launch_event event, int terminal, struct error *err, void *userdata)
{
	struct told *told = userdata;

	close_fd(terminal);
	if (told->last > 0)
		abort();
	if (event == LAUNCH_READY)
		told->ready++;
	else
		told->last++;
	if (event == LAUNCH_FAILED && !error_message(err))
		abort();
}

static void on_unused(int fd _unused_, unsigned events _unused_, void *userdata _unused_)
{
}

/* Some with a descriptor, as a terminal comes. */
static void say(int fd, const uint8_t *data, size_t size)
{
	while (size > 0) {
		size_t len = *data < size - 1 ? *data : size - 1;
		int passed = STDERR_FILENO;

		if (socket_send(fd, data + 1, len, &passed, *data & 1) < 0)
			return;
		data += len + 1;
		size -= len + 1;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct loop *loop = loop_new();
	struct launch *launch = xnew(struct launch);
	struct told told = {};
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ||
	    fd_set_nonblocking(pair[0]) < 0 || fd_set_nonblocking(pair[1]) < 0)
		abort();
	*launch = (struct launch){
		.sync = pair[0],
		.state = LAUNCH_PREPARING,
		.waits = size & 1,
		.fn = on_event,
		.userdata = &told,
		.watch = loop_watch_new(loop, pair[0], LOOP_READ, on_unused, launch),
	};
	say(pair[1], data, size);
	launch_drain(launch);
	close_fd(pair[1]);
	launch_drain(launch);
	if (told.ready > 1 || told.last != 1)
		abort();
	launch_free(launch);
	loop_free(loop);
	return 0;
}
