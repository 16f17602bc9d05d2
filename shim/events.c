#include "shim/events.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strings.h"
#include "proto/events.pb-c.h"
#include "proto/events_ttrpc.pb-c.h"
#include "proto/ttrpc_client.h"

#define FORWARD_TIMEOUT_MS 5000
#define RETRY_MIN_MS       50
#define RETRY_MAX_MS       5000

struct event {
	STAILQ_ENTRY(event) link;
	const char *topic; /* static */
	const char *type;  /* static: the descriptor's name */
	uint64_t time_ns;
	uint8_t *data;
	size_t len;
};

struct events {
	struct loop *loop;
	char *address; /* NULL: nobody listens */
	char *ns;
	char *id;
	struct ttrpc_client *client;          /* NULL: not connected */
	struct event *current;                /* the one containerd is given; NULL: none */
	STAILQ_HEAD(event_list, event) queue; /* those behind it */
	size_t count;                         /* of queue */
	bool in_flight;
	bool is_freed; /* what is answered from now on is answered to nobody */
	uint64_t retry_ms;
	struct loop_timer *retry;
	struct loop_timer *drain_timer;
	void (*on_drained)(void *userdata); /* NULL: nobody waits */
	void *userdata;
};

/* The order of containerd's documentation; a message without topic is a bug of ours. */
static const struct topic {
	const ProtobufCMessageDescriptor *descriptor;
	const char *name;
} topics[] = {
	{ &containerd__events__task_create__descriptor, "/tasks/create" },
	{ &containerd__events__task_start__descriptor, "/tasks/start" },
	{ &containerd__events__task_exec_added__descriptor, "/tasks/exec-added" },
	{ &containerd__events__task_exec_started__descriptor, "/tasks/exec-started" },
	{ &containerd__events__task_exit__descriptor, "/tasks/exit" },
	{ &containerd__events__task_delete__descriptor, "/tasks/delete" },
	{ &containerd__events__task_oom__descriptor, "/tasks/oom" },
	{ &containerd__events__task_paused__descriptor, "/tasks/paused" },
	{ &containerd__events__task_resumed__descriptor, "/tasks/resumed" },
};

static const char *topic_of(const ProtobufCMessageDescriptor *descriptor)
{
	for (size_t i = 0; i < ARRAY_SIZE(topics); i++)
		if (topics[i].descriptor == descriptor)
			return topics[i].name;
	abort();
}

static void send_next(struct events *events);

static void event_free(struct event *event)
{
	if (!event)
		return;
	free(event->data);
	free(event);
}

/* The oldest that waits, or NULL; the caller owns it. */
static struct event *take_first(struct events *events)
{
	struct event *event = STAILQ_FIRST(&events->queue);

	if (!event)
		return NULL;
	STAILQ_REMOVE_HEAD(&events->queue, link);
	events->count--;
	return event;
}

static void report_drained(struct events *events)
{
	void (*fn)(void *userdata) = steal_ptr(events->on_drained);

	if (!fn)
		return;
	loop_timer_stop(events->drain_timer);
	fn(events->userdata);
}

static void retry_later(struct events *events)
{
	loop_timer_start(events->retry, events->retry_ms);
	events->retry_ms = events->retry_ms * 2 < RETRY_MAX_MS ? events->retry_ms * 2
							       : RETRY_MAX_MS;
}

static void on_retry(void *userdata)
{
	send_next(userdata);
}

static void free_client(void *userdata)
{
	ttrpc_client_free(userdata);
}

/* Not at once: this runs in the client's own callback. */
static void disconnect(struct events *events)
{
	if (events->client)
		loop_defer(events->loop, free_client, steal_ptr(events->client));
}

/* CANCELLED is containerd's own, as where it is about to end. */
static bool may_be_sent_again(enum ttrpc_code code)
{
	return code == TTRPC_UNAVAILABLE || code == TTRPC_DEADLINE_EXCEEDED ||
	       code == TTRPC_CANCELLED;
}

static void on_forwarded(const struct ttrpc_reply *reply, void *userdata)
{
	struct events *events = userdata;
	const struct event *event = events->current;

	if (events->is_freed)
		return;
	events->in_flight = false;
	if (may_be_sent_again(reply->code)) {
		log_debug(events->id, "event %s waits: %s", event->topic, reply->message);
		disconnect(events);
		retry_later(events);
		return;
	}
	if (reply->code != TTRPC_OK)
		log_error(events->id, "event %s is lost, containerd refuses it: %s", event->topic,
			  reply->message);
	events->retry_ms = RETRY_MIN_MS;
	event_free(steal_ptr(events->current));
	send_next(events);
}

static int connect_client(struct events *events)
{
	struct ttrpc_client_options options = {};
	_cleanup_(error_done) struct error err = {};
	int fd, r;

	if (events->client)
		return 0;
	r = socket_connect(events->address, &fd, &err);
	if (r < 0) {
		log_debug(events->id, "events wait: %s", error_message(&err));
		return r;
	}
	events->client = ttrpc_client_new(events->loop, fd, &options);
	return 0;
}

static void forward(struct events *events, const struct event *event)
{
	Containerd__Services__Events__Ttrpc__V1__ForwardRequest request =
		CONTAINERD__SERVICES__EVENTS__TTRPC__V1__FORWARD_REQUEST__INIT;
	Containerd__Types__Envelope envelope = CONTAINERD__TYPES__ENVELOPE__INIT;
	Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	const char *const metadata[] = { "containerd-namespace-ttrpc", events->ns, NULL };
	struct ttrpc_call_options options = {
		.service = &containerd__services__events__ttrpc__v1__events__descriptor,
		.method = "Forward",
		.request = &request.base,
		.timeout_ms = FORWARD_TIMEOUT_MS,
		.metadata = metadata,
		.on_reply = on_forwarded,
		.userdata = events,
	};

	time.seconds = (int64_t)(event->time_ns / 1000000000);
	time.nanos = (int32_t)(event->time_ns % 1000000000);
	any.type_url = (char *)event->type;
	any.value.data = event->data;
	any.value.len = event->len;
	envelope.timestamp = &time;
	envelope.namespace_ = events->ns;
	envelope.topic = (char *)event->topic;
	envelope.event = &any;
	request.envelope = &envelope;
	ttrpc_client_call(events->client, &options);
}

static void send_next(struct events *events)
{
	if (events->in_flight)
		return;
	if (!events->current)
		events->current = take_first(events);
	if (!events->current) {
		report_drained(events);
		return;
	}
	if (connect_client(events) < 0) {
		retry_later(events);
		return;
	}
	forward(events, events->current);
	events->in_flight = true;
}

static void on_drain_end(void *userdata)
{
	struct events *events = userdata;

	if (events->current)
		log_warning(events->id, "%zu events are lost: containerd does not take them",
			    events->count + 1);
	report_drained(events);
}

struct events *events_new(struct loop *loop, const char *address, const char *ns, const char *id)
{
	struct events *events = xnew(struct events);

	*events = (struct events){
		.loop = loop,
		.address = str_empty(address) ? NULL : xstrdup(address),
		.ns = xstrdup(ns),
		.id = xstrdup(id),
		.queue = STAILQ_HEAD_INITIALIZER(events->queue),
		.retry_ms = RETRY_MIN_MS,
	};
	events->retry = loop_timer_new(loop, on_retry, events);
	events->drain_timer = loop_timer_new(loop, on_drain_end, events);
	return events;
}

void events_free(struct events *events)
{
	struct event *event;

	if (!events)
		return;
	events->is_freed = true;
	ttrpc_client_free(events->client);
	loop_timer_free(events->retry);
	loop_timer_free(events->drain_timer);
	event_free(events->current);
	while ((event = take_first(events)))
		event_free(event);
	free(events->address);
	free(events->ns);
	free(events->id);
	free(events);
}

static void make_room(struct events *events)
{
	struct event *oldest;

	if (events->count < EVENTS_MAX)
		return;
	oldest = take_first(events);
	log_error(events->id, "event %s is lost: %u wait already", oldest->topic, EVENTS_MAX);
	event_free(oldest);
}

void events_publish(struct events *events, const ProtobufCMessage *message)
{
	struct event *event;

	if (!events->address)
		return;
	make_room(events);
	event = xnew(struct event);
	event->topic = topic_of(message->descriptor);
	event->type = message->descriptor->name;
	event->time_ns = clock_realtime_ns();
	event->len = protobuf_c_message_get_packed_size(message);
	event->data = xcalloc(1, event->len + 1);
	protobuf_c_message_pack(message, event->data);
	STAILQ_INSERT_TAIL(&events->queue, event, link);
	events->count++;
	if (!events->current)
		send_next(events);
}

void events_drain(struct events *events, uint64_t timeout_ms, void (*fn)(void *userdata),
		  void *userdata)
{
	events->on_drained = fn;
	events->userdata = userdata;
	loop_timer_start(events->drain_timer, events->current ? timeout_ms : 0);
}
