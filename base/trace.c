#include "base/trace.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "base/id.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strbuf.h"

enum {
	SENTENCE_MAX = 512,
	NAME_MAX_BYTES = 160,
	CALLS_MAX = TRACE_RECORDS_MAX,
	DIAL_AGAIN_MS = 1000,
	HOST_SIZE = 65,
	/* Of opentelemetry-proto. */
	KIND_INTERNAL = 1,
	KIND_SERVER = 2,
	STATUS_ERROR = 2,
};

static const char *const trace_step_names[] = {
	[TRACE_SANDBOX] = "sandbox",
	[TRACE_SHIM_START] = "shim.start",
	[TRACE_CLAIM] = "claim",
	[TRACE_HANDOVER] = "handover",
	[TRACE_RESUME] = "resume",
	[TRACE_CLOCK] = "clock",
	[TRACE_NETWORK] = "network",
	[TRACE_CREATE_SANDBOX] = "create_sandbox",
	[TRACE_CREATE] = "create",
	[TRACE_SLOT] = "slot",
	[TRACE_ROOTFS] = "rootfs",
	[TRACE_ROOT_OVERLAY_DAX] = "root.overlay-dax",
	[TRACE_ROOT_OVERLAY_IMAGE] = "root.overlay-image",
	[TRACE_ROOT_OVERLAY_SHARE] = "root.overlay-share",
	[TRACE_ROOT_OVERLAY_DAX_BLOCK] = "root.overlay-dax-block",
	[TRACE_ROOT_OVERLAY_IMAGE_BLOCK] = "root.overlay-image-block",
	[TRACE_ROOT_BLOCK] = "root.block",
	[TRACE_ROOT_SHARE] = "root.share",
	[TRACE_CREATE_CONTAINER] = "create_container",
	[TRACE_START_CONTAINER] = "start_container",
	[TRACE_FIRST_OUTPUT] = "first_output",
	[TRACE_EXIT] = "exit",
	[TRACE_DELETE] = "delete",
	[TRACE_RELEASE] = "release",
	[TRACE_STORAGE] = "storage",
	[TRACE_CGROUP] = "cgroup",
	[TRACE_CLONE] = "clone",
	[TRACE_REMOVE_CONTAINER] = "remove_container",
};
DEFINE_STRING_TABLE(trace_step, enum trace_step, trace_step_names)

bool trace_on;

/* Where the spans of this process go: a file, a socket, or where there is none of both, memory. */
static struct {
	int fd;
	char *socket; /* path; NULL: none */
	uint64_t dial_ms;
	uint64_t lost; /* since the last span that got there */
	char *who;
	char *id;
	char host[HOST_SIZE];
	uint64_t ids; /* of spans: they count up from a number that is nobody else's */
	struct trace_span root;
	struct trace_context now;
	struct trace_context calls[CALLS_MAX]; /* sent of late, a ring */
	size_t ncalls;
	struct trace_record *records; /* TRACE_RECORDS_MAX of them */
	size_t nrecords;
} trace = { .fd = -EBADF };

/* ---------------------------------------------------------------- where lines go */

static int open_file(const char *who, const char *dir, int *ret_fd, struct error *err)
{
	if (dir[0] != '/')
		return error_set(err, EINVAL, "the folder of traces \"%s\" is no absolute path",
				 dir);

	_cleanup_free_ char *path = xasprintf("%s/%s-%d.jsonl", dir, who, (int)getpid());
	int r = dir_make(dir, 0700, err);

	if (r < 0)
		return r;
	*ret_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	return *ret_fd < 0 ? error_set_errno(err, errno, "cannot open the trace %s", path) : 0;
}

static int open_target(const char *who, const char *target, struct error *err)
{
	const char *path = str_after(target, TRACE_SOCKET);

	if (!path)
		return open_file(who, target, &trace.fd, err);
	trace.socket = xstrdup(path); /* connected where there is something to send */
	return socket_check_path(path, err);
}

/* Of the socket's other end, which may come later than we, or anew. */
static bool dial(void)
{
	uint64_t now_ms = clock_monotonic_ms();

	if (trace.fd >= 0)
		return true;
	if (now_ms < trace.dial_ms)
		return false;
	trace.dial_ms = now_ms + DIAL_AGAIN_MS;
	return socket_connect_packets(trace.socket, &trace.fd, NULL) == 0;
}

static void put(const struct strbuf *line)
{
	bool taken = false;

	if (line->len > TRACE_LINE_MAX) {
		trace.lost++;
		return;
	}
	if (!trace.socket) {
		(void)!write(trace.fd, line->text, line->len);
		return;
	}
	if (dial()) {
		taken = send(trace.fd, line->text, line->len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
		if (!taken && errno != EAGAIN)
			trace.fd = close_fd(trace.fd);
	}
	trace.lost = taken ? 0 : trace.lost + 1;
}

/* The child of a fork has other ids than its parent. */
void trace_init(const char *who, const char *target, const char *id)
{
	_cleanup_(error_done) struct error err = {};

	if (!target)
		target = getenv(TRACE_ENV);
	trace_on = false;
	trace.fd = close_fd(trace.fd);
	replace_string(&trace.socket, NULL);
	trace.dial_ms = 0;
	replace_string(&trace.who, who);
	replace_string(&trace.id, id);
	if (str_empty(target))
		return;
	if (gethostname(trace.host, sizeof(trace.host) - 1) < 0)
		trace.host[0] = '\0';
	random_bytes(&trace.ids, sizeof(trace.ids));
	trace_on = open_target(who, target, &err) >= 0;
	if (!trace_on)
		log_warning(id, "no trace is written: %s", error_message(&err));
}

/* ---------------------------------------------------------------- contexts */

static uint64_t next_id(void)
{
	return ++trace.ids ? trace.ids : ++trace.ids;
}

struct trace_context trace_now(void)
{
	return trace.now.span_id ? trace.now : trace.root.self;
}

struct trace_context trace_enter(const struct trace_context *context)
{
	struct trace_context outer = trace.now;

	trace.now = *context;
	return outer;
}

static void remember_call(const struct trace_context *context)
{
	for (size_t i = 0; i < trace.ncalls && i < CALLS_MAX; i++)
		if (trace.calls[i].span_id == context->span_id)
			return;
	trace.calls[trace.ncalls++ % CALLS_MAX] = *context;
}

bool trace_parent(char ret_text[static TRACEPARENT_SIZE])
{
	struct trace_context context = trace_now();

	if (!context.span_id || trace.records)
		return false;
	remember_call(&context);
	trace_context_format(&context, ret_text);
	return true;
}

/* In memory only the caller counts: who takes the records makes spans of them. */
void trace_span_new(struct trace_span *ret_span)
{
	struct trace_context parent = trace_now();

	if (parent.span_id && !parent.sampled) {
		ret_span->self = parent; /* so that nothing below it is, either */
		return;
	}
	*ret_span = (struct trace_span){
		.begin_ns = clock_monotonic_ns(),
		.self = parent,
		.parent_id = parent.span_id,
		.parent_is_remote = parent.remote,
	};
	if (trace.records)
		return;
	if (!parent.span_id)
		trace_context_new(&ret_span->self);
	ret_span->self.span_id = next_id();
	ret_span->self.remote = false;
}

void trace_root_new(uint64_t begun_ns)
{
	if (str_empty(getenv(TRACE_ENV)))
		return;
	trace.root = (struct trace_span){ .begin_ns = begun_ns };
	trace_context_new(&trace.root.self);
	random_bytes(&trace.root.self.span_id, sizeof(trace.root.self.span_id));
	trace.root.self.span_id |= 1;
}

void trace_root_end(const char *why)
{
	if (trace_on)
		trace_end_as(TRACE_SANDBOX, NULL, &trace.root,
			     &(struct trace_detail){ .error = why });
	trace.root.begin_ns = 0;
}

/* ---------------------------------------------------------------- a line */

/* Text in quotes; what is foreign in it has no say. */
static void add_string(struct strbuf *line, const char *text, size_t max)
{
	strbuf_adds(line, "\"");
	for (size_t step, used = 0; *text && used < max; text += step, used += step) {
		bool shown;

		step = str_character(text, &shown);
		if (!shown) {
			strbuf_adds(line, "?");
			continue;
		}
		if (*text == '"' || *text == '\\')
			strbuf_adds(line, "\\");
		strbuf_add(line, text, step);
	}
	strbuf_adds(line, "\"");
}

/* The first one has no comma before it. */
static void add_attribute(struct strbuf *line, const char *key, const char *value)
{
	if (str_empty(value))
		return;
	strbuf_addf(line, "%s{\"key\":\"%s\",\"value\":{\"stringValue\":",
		    line->text[line->len - 1] == '[' ? "" : ",", key);
	add_string(line, value, NAME_MAX_BYTES);
	strbuf_adds(line, "}}");
}

static void add_resource(struct strbuf *line, const char *who)
{
	_cleanup_free_ char *name = xasprintf("kiln-%s", who);

	strbuf_adds(line, "{\"resourceSpans\":[{\"resource\":{\"attributes\":[");
	add_attribute(line, "service.name", name);
	add_attribute(line, "service.version", KILN_VERSION);
	add_attribute(line, "host.name", trace.host);
	strbuf_addf(line, ",{\"key\":\"process.pid\",\"value\":{\"intValue\":\"%d\"}}",
		    (int)getpid());
	strbuf_adds(line, "]},\"scopeSpans\":[{\"scope\":{\"name\":\"kiln\"},\"spans\":[{");
}

static void add_ids(struct strbuf *line, const struct trace_context *context)
{
	strbuf_adds(line, "\"traceId\":\"");
	for (size_t i = 0; i < TRACE_ID_SIZE; i++)
		strbuf_addf(line, "%02x", context->trace_id[i]);
	strbuf_addf(line, "\",\"spanId\":\"%016" PRIx64 "\"", context->span_id);
}

static void add_attributes(struct strbuf *line, const char *id, const struct trace_detail *detail)
{
	static const struct trace_detail none;

	if (!detail)
		detail = &none;
	strbuf_adds(line, ",\"attributes\":[");
	add_attribute(line, "kiln.sandbox", id);
	add_attribute(line, "kiln.container", detail->container);
	add_attribute(line, "kiln.machine", detail->machine);
	add_attribute(line, "kiln.template", detail->template_id);
	add_attribute(line, "kiln.origin", detail->origin);
	if (trace.lost)
		strbuf_addf(line,
			    "%s{\"key\":\"kiln.lost\",\"value\":{\"intValue\":\"%" PRIu64 "\"}}",
			    line->text[line->len - 1] == '[' ? "" : ",", trace.lost);
	strbuf_adds(line, "]");
	if (!detail->error)
		return;
	strbuf_addf(line, ",\"status\":{\"code\":%d,\"message\":", STATUS_ERROR);
	add_string(line, detail->error, SENTENCE_MAX);
	strbuf_adds(line, "}");
}

static void add_link(struct strbuf *line, const struct trace_context *context)
{
	const struct trace_context *root = &trace.root.self;

	if (!root->span_id ||
	    memcmp(root->trace_id, context->trace_id, sizeof(root->trace_id)) == 0)
		return;
	strbuf_adds(line, ",\"links\":[{");
	add_ids(line, root);
	strbuf_adds(line, "}]");
}

struct line_time {
	uint64_t end_ns; /* CLOCK_REALTIME */
	uint64_t dur_ns;
};

static void write_line(const char *who, enum trace_step step, const char *id,
		       const struct trace_span *span, const struct line_time *time,
		       const struct trace_detail *detail)
{
	_cleanup_(strbuf_done) struct strbuf line = {};

	add_resource(&line, who);
	add_ids(&line, &span->self);
	if (span->parent_id)
		strbuf_addf(&line, ",\"parentSpanId\":\"%016" PRIx64 "\"", span->parent_id);
	strbuf_addf(&line,
		    ",\"name\":\"%s\",\"kind\":%d,\"startTimeUnixNano\":\"%" PRIu64
		    "\",\"endTimeUnixNano\":\"%" PRIu64 "\"",
		    trace_step_to_string(step),
		    span->parent_is_remote ? KIND_SERVER : KIND_INTERNAL,
		    time->end_ns - time->dur_ns, time->end_ns);
	add_attributes(&line, id, detail);
	add_link(&line, &span->self);
	strbuf_adds(&line, "}]}]}]}\n");
	put(&line);
}

static void keep(enum trace_step step, const struct trace_span *span)
{
	uint64_t now_ns = clock_monotonic_ns();

	if (trace.nrecords < TRACE_RECORDS_MAX)
		trace.records[trace.nrecords++] = (struct trace_record){
			.step = step,
			.end_ns = now_ns,
			.dur_ns = now_ns - span->begin_ns,
			.caller = span->parent_id,
		};
}

void trace_write(enum trace_step step, const char *id, const struct trace_span *span,
		 const struct trace_detail *detail)
{
	struct line_time time = { .end_ns = clock_realtime_ns() };
	int saved = errno;

	time.dur_ns = clock_monotonic_ns() - span->begin_ns;
	if (trace.records)
		keep(step, span);
	else
		write_line(trace.who, step, id ? id : trace.id, span, &time, detail);
	errno = saved;
}

/* ---------------------------------------------------------------- the guest's steps */

void trace_keep(void)
{
	if (!trace.records)
		trace.records = xnew_array(struct trace_record, TRACE_RECORDS_MAX);
	trace_on = true;
}

size_t trace_take(const struct trace_record **ret_records)
{
	size_t n = trace.nrecords;

	*ret_records = trace.records;
	trace.nrecords = 0;
	return n;
}

static bool is_call(enum trace_step step)
{
	return step == TRACE_CREATE_SANDBOX || step == TRACE_CREATE_CONTAINER ||
	       step == TRACE_START_CONTAINER || step == TRACE_REMOVE_CONTAINER;
}

static struct trace_context find_call(uint64_t caller)
{
	for (size_t i = 0; i < trace.ncalls && i < CALLS_MAX; i++)
		if (caller && trace.calls[i].span_id == caller)
			return trace.calls[i];
	return trace.root.self;
}

/* The call a step was part of: below that, and not beside it. */
static uint64_t find_parent(const struct trace_record *records, const uint64_t *ids, size_t n,
			    size_t at)
{
	for (size_t i = 0; i < n && !is_call(records[at].step); i++)
		if (is_call(records[i].step) && records[i].caller == records[at].caller)
			return ids[i];
	return 0;
}

void trace_write_foreign(const char *who, const struct trace_record *records, size_t n,
			 uint64_t now_ns)
{
	uint64_t realtime_ns = clock_realtime_ns(), ids[TRACE_RECORDS_MAX];

	if (!trace_on || n > TRACE_RECORDS_MAX)
		return;
	for (size_t i = 0; i < n; i++)
		ids[i] = next_id();
	for (size_t i = 0; i < n; i++) {
		struct trace_context caller = find_call(records[i].caller);
		uint64_t parent = find_parent(records, ids, n, i);
		uint64_t ago_ns = now_ns - records[i].end_ns;
		struct trace_span span = {
			.self = caller,
			.parent_id = parent ? parent : caller.span_id,
			.parent_is_remote = !parent,
		};
		const struct line_time time = {
			.end_ns = realtime_ns - ago_ns,
			.dur_ns = records[i].dur_ns,
		};

		if (ago_ns > realtime_ns || records[i].dur_ns > time.end_ns)
			continue; /* before there was time */
		if (!caller.span_id)
			trace_context_new(&span.self);
		span.self.span_id = ids[i];
		write_line(who, records[i].step, trace.id, &span, &time, NULL);
	}
}
