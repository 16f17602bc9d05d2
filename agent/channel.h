/* The agent's channel to the host: the virtio-serial port "org.kiln.agent.0".
 *
 *   SEARCHING  no such port (yet): the kernel's device events say when to look again
 *   WAITING    open, and nobody on the host side, or nothing heard from it yet
 *   SERVING    the ttRPC server has a copy of the descriptor, until the host side goes away
 *
 *   SEARCHING -> WAITING <-> SERVING
 *
 * Facts of the driver (drivers/char/virtio_console.c) behind this:
 * - While the host side is closed, read gives 0 and poll POLLHUP for ever: only edges may be
 *   listened to. One comes with every opening and closing of the host side, and with data.
 * - Data and the news of an opening come by different queues, so data may be there first,
 *   under POLLHUP. The edge of the opening follows; until then it is left alone.
 * - What the guest has not read is thrown away when it closes the port: a host side that came
 *   back at once would lose its first request. So the port is opened once and kept open.
 */
#pragma once

#include "agent/agent.h"
#include "base/error.h"
#include "base/state.h"
#include "base/strings.h"

enum channel_state { CHANNEL_SEARCHING, CHANNEL_WAITING, CHANNEL_SERVING };
DECLARE_STRING_TABLE(channel_state, enum channel_state); /* "searching", ... */
extern const struct state_machine channel_states;

struct channel;
struct ttrpc_conn;

/* Serves the port on agent->server for ever. */
struct channel *channel_new(struct agent *agent);
void channel_free(struct channel *channel);
DEFINE_CLEANUP(struct channel *, channel_free)

/* To be called by the server's on_conn_end; other connections are ignored. */
void channel_on_conn_end(struct channel *channel, const struct ttrpc_conn *conn);

/* The port's device ("/dev/vport1p1") below the folder of port descriptions
 * ("/sys/class/virtio-ports"); NULL where none has this name. The caller frees. */
char *channel_find_port(const char *folder, const char *name);
