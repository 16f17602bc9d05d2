#include "agent/channel.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "agent/uevents.h"
#include "base/file.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/memory.h"
#include "proto/ttrpc_server.h"

#define PORT_NAME   "org.kiln.agent.0"
#define PORT_FOLDER "/sys/class/virtio-ports"

enum { RETRY_MS = 20, NAME_MAX_BYTES = 256 };

static const char *const state_names[] = {
	[CHANNEL_SEARCHING] = "searching",
	[CHANNEL_WAITING] = "waiting",
	[CHANNEL_SERVING] = "serving",
};
DEFINE_STRING_TABLE(channel_state, enum channel_state, state_names)

static const unsigned next_states[] = {
	[CHANNEL_SEARCHING] = STATE(CHANNEL_WAITING),
	[CHANNEL_WAITING] = STATE(CHANNEL_SERVING),
	[CHANNEL_SERVING] = STATE(CHANNEL_WAITING),
};
const struct state_machine channel_states = STATE_MACHINE("channel", state_names, next_states);

struct channel {
	struct agent *agent; /* borrowed */
	enum channel_state state;
	int port;                        /* owned; -EBADF in SEARCHING */
	struct loop_watch *port_watch;   /* owned; WAITING only */
	int uevents;                     /* owned; negative where the kernel gives none */
	struct loop_watch *uevent_watch; /* owned; paused but in SEARCHING */
	struct loop_timer *retry;        /* owned */
	struct ttrpc_conn *conn;         /* borrowed; SERVING only */
};

static void search(struct channel *channel);

static void set_state(struct channel *channel, enum channel_state state)
{
	state_change(&channel_states, PORT_NAME, channel->state, state);
	channel->state = state;
}

/* ---------------------------------------------------------------- waiting and serving */

static void serve(struct channel *channel)
{
	int copy = fcntl(channel->port, F_DUPFD_CLOEXEC, 0);

	loop_watch_free(steal_ptr(channel->port_watch));
	set_state(channel, CHANNEL_SERVING);
	if (copy >= 0 &&
	    ttrpc_server_serve(channel->agent->server, copy, true, &channel->conn) == 0)
		return;
	/* Too many connections or descriptors: some will end. */
	log_warning(PORT_NAME, "the host's connection has to wait");
	set_state(channel, CHANNEL_WAITING);
	loop_timer_start(channel->retry, RETRY_MS);
}

/* Something changed on the port, or the watch is new. */
static void on_port(int fd, unsigned events _unused_, void *userdata)
{
	struct pollfd now = { .fd = fd, .events = POLLIN };

	if (poll(&now, 1, 0) > 0 && !(now.revents & POLLHUP))
		serve(userdata);
}

static void wait_for_host(struct channel *channel)
{
	if (channel->state != CHANNEL_WAITING)
		set_state(channel, CHANNEL_WAITING);
	channel->port_watch = loop_watch_new(channel->agent->loop, channel->port,
					     LOOP_READ | LOOP_EDGE, on_port, channel);
}

/* ---------------------------------------------------------------- searching */

char *channel_find_port(const char *folder, const char *name)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	char *device = NULL;

	if (!dir)
		return NULL;
	while (!device && (entry = readdir(dir))) {
		_cleanup_free_ char *path = xasprintf("%s/%s/name", folder, entry->d_name);
		_cleanup_free_ char *text = NULL;
		if (entry->d_name[0] == '.' ||
		    file_read(path, NAME_MAX_BYTES, &text, NULL, NULL) < 0)
			continue;
		text[strcspn(text, "\n")] = '\0';
		if (str_equal(text, name))
			device = path_join("/dev", entry->d_name);
	}
	closedir(dir);
	return device;
}

static void on_uevent(int fd, unsigned events _unused_, void *userdata)
{
	uevents_drain(fd);
	search(userdata);
}

static void listen_to_uevents(struct channel *channel)
{
	channel->uevents = uevents_open();
	if (channel->uevents < 0) {
		log_warning(PORT_NAME, "no device events: %s", strerror(-channel->uevents));
		return;
	}
	channel->uevent_watch = loop_watch_new(channel->agent->loop, channel->uevents, 0, on_uevent,
					       channel);
}

static void wait_for_device(struct channel *channel, bool wait)
{
	if (channel->uevent_watch)
		loop_watch_set(channel->uevent_watch, wait ? LOOP_READ : 0);
}

static void on_retry(void *userdata)
{
	struct channel *channel = userdata;

	if (channel->state == CHANNEL_SEARCHING)
		search(channel);
	else if (channel->state == CHANNEL_WAITING && !channel->port_watch)
		wait_for_host(channel);
}

/* Opens the port if it is there. */
static void search(struct channel *channel)
{
	_cleanup_free_ char *device = channel_find_port(PORT_FOLDER, PORT_NAME);

	wait_for_device(channel, !device);
	if (!device)
		return;
	channel->port = open(device, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (channel->port >= 0) {
		wait_for_host(channel);
		return;
	}
	/* The port may be described before its device is in /dev, and nothing tells when it is. */
	if (errno != ENOENT)
		log_warning(PORT_NAME, "cannot open %s: %s", device, strerror(errno));
	loop_timer_start(channel->retry, RETRY_MS);
}

void channel_on_conn_end(struct channel *channel, const struct ttrpc_conn *conn)
{
	if (channel->state != CHANNEL_SERVING || channel->conn != conn)
		return;
	channel->conn = NULL;
	wait_for_host(channel);
}

/* ---------------------------------------------------------------- life */

struct channel *channel_new(struct agent *agent)
{
	struct channel *channel = xnew(struct channel);

	channel->agent = agent;
	channel->port = channel->uevents = -EBADF;
	channel->retry = loop_timer_new(agent->loop, on_retry, channel);
	listen_to_uevents(channel);
	search(channel);
	return channel;
}

void channel_free(struct channel *channel)
{
	if (!channel)
		return;
	loop_watch_free(channel->port_watch);
	close_fd(channel->port);
	loop_watch_free(channel->uevent_watch);
	close_fd(channel->uevents);
	loop_timer_free(channel->retry);
	free(channel);
}
