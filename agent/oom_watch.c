#include "agent/oom_watch.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/strings.h"

enum { EVENTS_MAX = 512 };

struct oom_watch {
	struct loop_watch *watch; /* owned */
	int fd;                   /* owned; memory.events, whose poll state changes with it */
	uint64_t killed;          /* as told last */
	void (*fn)(void *userdata);
	void *userdata;
};

static uint64_t count_killed(int fd)
{
	char text[EVENTS_MAX];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	const char *at;

	if (n <= 0)
		return 0;
	text[n] = '\0';
	at = strstr(text, "oom_kill ");
	return at ? strtoull(str_after(at, "oom_kill "), NULL, 10) : 0;
}

void oom_watch_check(struct oom_watch *watch)
{
	uint64_t killed = watch ? count_killed(watch->fd) : 0;

	if (!watch || killed <= watch->killed)
		return;
	watch->killed = killed;
	watch->fn(watch->userdata);
}

static void on_changed(int fd _unused_, unsigned events _unused_, void *userdata)
{
	oom_watch_check(userdata);
}

struct oom_watch *oom_watch_new(struct loop *loop, int dir, void (*fn)(void *userdata),
				void *userdata)
{
	int fd = openat(dir, "memory.events", O_RDONLY | O_CLOEXEC);
	struct oom_watch *watch;

	if (fd < 0)
		return NULL;
	watch = xnew(struct oom_watch);
	watch->fd = fd;
	watch->fn = fn;
	watch->userdata = userdata;
	watch->watch = loop_watch_new(loop, fd, LOOP_READ | LOOP_EDGE, on_changed, watch);
	return watch;
}

void oom_watch_free(struct oom_watch *watch)
{
	if (!watch)
		return;
	loop_watch_free(watch->watch);
	close_fd(watch->fd);
	free(watch);
}
