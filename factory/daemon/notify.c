#include "factory/daemon/notify.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"

enum { SEND_TIMEOUT_S = 1, USEC_PER_MSEC = 1000 };

struct notify {
	int fd; /* connected; -EBADF: nobody wants to know */
	struct loop_timer *watchdog;
	uint64_t watchdog_ms; /* between two signs of life */
};

/* flags MSG_DONTWAIT: a full queue drops it, the next one says as much. Without it the sender
 * waits SEND_TIMEOUT_S at most: for the few words that must not get lost. */
static void notify_send(struct notify *notify, const char *text, int flags)
{
	if (notify->fd < 0)
		return;
	if (send(notify->fd, text, strlen(text), flags | MSG_NOSIGNAL) < 0)
		log_warning(NULL, "cannot tell the service manager %s: %s", text, strerror(errno));
}

static int notify_connect(const char *address)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const struct timeval timeout = { .tv_sec = SEND_TIMEOUT_S };
	size_t len = strlen(address);

	if ((address[0] != '/' && address[0] != '@') || len < 2)
		return -EAFNOSUPPORT;
	if (len >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, address, len);
	if (address[0] == '@')
		addr.sun_path[0] = '\0';

	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	/* An abstract name is exactly its bytes, a path has its terminator. */
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len +
				     (address[0] == '/'));
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    connect(fd, (struct sockaddr *)&addr, size) < 0)
		return -errno;
	return steal_fd(&fd);
}

static void on_watchdog(void *userdata)
{
	struct notify *notify = userdata;

	notify_send(notify, "WATCHDOG=1", MSG_DONTWAIT);
	loop_timer_start(notify->watchdog, notify->watchdog_ms);
}

/* WATCHDOG_PID names the process that is watched: a child of it is not. */
static uint64_t watchdog_from_environment(void)
{
	const char *pid_text = getenv("WATCHDOG_PID");
	const char *usec_text = getenv("WATCHDOG_USEC");
	uint64_t pid, usec;

	if (!usec_text || str_to_u64(usec_text, 1, UINT64_MAX, &usec) < 0)
		return 0;
	if (pid_text && (str_to_u64(pid_text, 1, INT32_MAX, &pid) < 0 || (pid_t)pid != getpid()))
		return 0;
	uint64_t ms = usec / 2 / USEC_PER_MSEC;
	return ms > 0 ? ms : 1;
}

struct notify *notify_new(struct loop *loop)
{
	struct notify *notify = xnew(struct notify);
	const char *address = getenv("NOTIFY_SOCKET");

	notify->fd = address ? notify_connect(address) : -EBADF;
	if (address && notify->fd < 0)
		log_warning(NULL, "NOTIFY_SOCKET %s cannot be used: %s", address,
			    strerror(-notify->fd));
	notify->watchdog = loop_timer_new(loop, on_watchdog, notify);
	notify->watchdog_ms = notify->fd >= 0 ? watchdog_from_environment() : 0;
	if (notify->watchdog_ms > 0)
		loop_timer_start(notify->watchdog, notify->watchdog_ms);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return notify;
}

void notify_free(struct notify *notify)
{
	if (!notify)
		return;
	loop_timer_free(notify->watchdog);
	close_fd(notify->fd);
	free(notify);
}

void notify_ready(struct notify *notify)
{
	notify_send(notify, "READY=1", 0);
}

void notify_reloading(struct notify *notify)
{
	_cleanup_free_ char *text = xasprintf("RELOADING=1\nMONOTONIC_USEC=%lu",
					      (unsigned long)(clock_monotonic_ns() / 1000));

	notify_send(notify, text, 0);
}

void notify_stopping(struct notify *notify)
{
	notify_send(notify, "STOPPING=1", 0);
}

void notify_status(struct notify *notify, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	_cleanup_free_ char *line = xvasprintf(fmt, args);
	va_end(args);
	/* A line break would begin another field. */
	for (char *at = line; *at; at++) {
		if (*at == '\n')
			*at = ' ';
	}
	_cleanup_free_ char *text = xasprintf("STATUS=%s", line);
	notify_send(notify, text, MSG_DONTWAIT);
}
