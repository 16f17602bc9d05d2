#include "base/trace.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"

#define LINE_MAX_BYTES 512

static const char *const trace_step_names[] = {
	[TRACE_SHIM_START] = "shim.start",
	[TRACE_CLAIM] = "claim",
	[TRACE_HANDOVER] = "handover",
	[TRACE_RESUME] = "resume",
	[TRACE_CLOCK] = "clock",
	[TRACE_NETWORK] = "network",
	[TRACE_CREATE_SANDBOX] = "create_sandbox",
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

/* Where the steps of this process go: a file, or where there is none, memory. */
static struct {
	int fd;
	char *who;
	char *id;
	struct trace_record *records; /* TRACE_RECORDS_MAX of them */
	size_t nrecords;
} trace = { .fd = -EBADF };

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

void trace_init(const char *who, const char *dir, const char *id)
{
	_cleanup_(error_done) struct error err = {};

	if (!dir)
		dir = getenv(TRACE_ENV);
	trace_on = false;
	trace.fd = close_fd(trace.fd);
	replace_string(&trace.who, who);
	replace_string(&trace.id, id);
	if (str_empty(dir))
		return;
	trace_on = open_file(who, dir, &trace.fd, &err) >= 0;
	if (!trace_on)
		log_warning(id, "no trace is written: %s", error_message(&err));
}

static void write_line(const char *who, const char *id, const struct trace_record *record,
		       uint64_t realtime_ns)
{
	char line[LINE_MAX_BYTES], dur[64] = "";

	if (record->dur_ns)
		snprintf(dur, sizeof(dur), ",\"dur_ns\":%" PRIu64, record->dur_ns);

	/* An id goes into the line as it is. */
	int len = snprintf(line, sizeof(line),
			   "{\"ts_ns\":%" PRIu64 ",\"mono_ns\":%" PRIu64
			   ",\"who\":\"%s\",\"id\":\"%s\",\"step\":\"%s\"%s}\n",
			   realtime_ns, record->end_ns, who, id && id_is_valid(id) ? id : "",
			   trace_step_to_string(record->step), dur);

	if (len > 0 && (size_t)len < sizeof(line))
		(void)!write(trace.fd, line, (size_t)len);
}

static void keep(const struct trace_record *record)
{
	if (trace.nrecords < TRACE_RECORDS_MAX)
		trace.records[trace.nrecords++] = *record;
}

void trace_write(enum trace_step step, const char *id, uint64_t begin_ns)
{
	struct trace_record record = { .step = step, .end_ns = clock_monotonic_ns() };
	int saved = errno;

	record.dur_ns = begin_ns ? record.end_ns - begin_ns : 0;
	if (trace.fd >= 0)
		write_line(trace.who, id ? id : trace.id, &record, clock_realtime_ns());
	else
		keep(&record);
	errno = saved;
}

void trace_write_foreign(const char *who, const struct trace_record *record, uint64_t now_ns)
{
	uint64_t ago = now_ns - record->end_ns;
	struct trace_record ours = {
		.step = record->step,
		.end_ns = clock_monotonic_ns() - ago,
		.dur_ns = record->dur_ns,
	};

	if (trace.fd >= 0)
		write_line(who, trace.id, &ours, clock_realtime_ns() - ago);
}

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
