#include "base/log.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log_limit.h"
#include "base/memory.h"
#include "base/strbuf.h"

#define LOG_MESSAGE_MAX 8192 /* bytes of one message; the rest is cut */
#define LOG_TIME_SIZE   64

static const char *const log_level_names[] = {
	[LOG_LEVEL_DEBUG] = "debug", [LOG_LEVEL_INFO] = "info",   [LOG_LEVEL_WARNING] = "warning",
	[LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_AUDIT] = "audit",
};
DEFINE_STRING_TABLE(log_level, enum log_level, log_level_names)

static const char *const log_format_names[] = {
	[LOG_FORMAT_TEXT] = "text",
	[LOG_FORMAT_JSON] = "json",
};
DEFINE_STRING_TABLE(log_format, enum log_format, log_format_names)

/* Set before threads start, except the atomic ones, which may change while workers log. */
static char log_program[64] = "kiln";
static int log_fd = STDERR_FILENO;
static _Atomic(int) log_form = LOG_FORMAT_TEXT;
static _Atomic(int) log_threshold = LOG_LEVEL_INFO;

static pthread_mutex_t log_limit_lock = PTHREAD_MUTEX_INITIALIZER;

void log_init(const char *program, int fd, enum log_level level, enum log_format format)
{
	size_t len = strnlen(program, sizeof(log_program) - 1);

	memmove(log_program, program, len);
	log_program[len] = '\0';
	log_fd = fd;
	log_set_format(format);
	log_set_level(level);
}

void log_set_level(enum log_level level)
{
	atomic_store(&log_threshold, (int)level);
}

void log_set_format(enum log_format format)
{
	atomic_store(&log_form, (int)format);
}

bool log_enabled(enum log_level level)
{
	return (int)level >= atomic_load(&log_threshold);
}

static void log_time(char ret_text[static LOG_TIME_SIZE])
{
	struct timespec now;
	struct tm tm;
	char seconds[32];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(ret_text, LOG_TIME_SIZE, "%s.%03ldZ", seconds, now.tv_nsec / 1000000);
}

static void add_bytes(struct strbuf *line, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		strbuf_addf(line, "\\x%02x", (unsigned char)bytes[i]);
}

/* A message may hold bytes of a guest or a peer: no line breaks, no terminal sequences. */
static void add_printable(struct strbuf *line, const char *text)
{
	for (const char *at = text; *at;) {
		bool shown;
		size_t len = str_character(at, &shown);

		if (*at == '\n')
			strbuf_adds(line, "\\n");
		else if (*at == '\t')
			strbuf_adds(line, " ");
		else if (shown)
			strbuf_add(line, at, len);
		else
			add_bytes(line, at, len);
		at += len;
	}
}

static void add_text_line(struct strbuf *line, enum log_level level, const char *object,
			  const char *message)
{
	char when[LOG_TIME_SIZE];

	log_time(when);
	strbuf_addf(line, "%s ", when);
	for (const char *at = log_level_to_string(level); *at; at++)
		strbuf_addf(line, "%c", toupper((unsigned char)*at));
	strbuf_addf(line, " %s[%d]", log_program, (int)getpid());
	if (object) {
		strbuf_adds(line, " ");
		add_printable(line, object);
	}
	strbuf_adds(line, ": ");
	add_printable(line, message);
}

/* JSON text is UTF-8; what is not loses its high bytes rather than the whole line. */
static json_t *json_from_bytes(const char *text)
{
	if (!text)
		return json_null();

	json_t *string = json_string(text);

	if (string)
		return string;

	_cleanup_free_ char *ascii = xstrdup(text);

	for (char *at = ascii; *at; at++) {
		if (*at & 0x80)
			*at = '?';
	}
	return json_string(ascii);
}

static void add_json_line(struct strbuf *line, enum log_level level, const char *object,
			  const char *message)
{
	char when[LOG_TIME_SIZE];

	log_time(when);
	json_t *root = json_pack("{s:s, s:s, s:o, s:i, s:o, s:o}", "time", when, "level",
				 log_level_to_string(level), "program",
				 json_from_bytes(log_program), "pid", (int)getpid(), "object",
				 json_from_bytes(object), "message", json_from_bytes(message));
	_cleanup_free_ char *text = root ? json_dumps(root, JSON_COMPACT | JSON_ENSURE_ASCII)
					 : NULL;

	json_decref(root);
	if (text)
		strbuf_adds(line, text);
}

static void write_line(enum log_level level, const char *object, const char *message)
{
	_cleanup_(strbuf_done) struct strbuf line = {};

	if (atomic_load(&log_form) == LOG_FORMAT_JSON)
		add_json_line(&line, level, object, message);
	else
		add_text_line(&line, level, object, message);
	strbuf_adds(&line, "\n");
	(void)!write(log_fd, line.text, line.len);
}

static void tell_left_out(const struct log_left_out *left_out)
{
	_cleanup_free_ char *message = xasprintf("%u more like \"%s\" were left out",
						 left_out->lines, left_out->fmt);

	write_line(LOG_LEVEL_WARNING, left_out->object[0] ? left_out->object : NULL, message);
}

/* Whether the line may be written. What was left out of earlier seconds is told of first. */
static bool log_admit(enum log_level level, const char *object, const char *fmt)
{
	uint64_t second = clock_monotonic_ns() / 1000000000;
	struct log_left_out left_out;
	bool more;

	do {
		pthread_mutex_lock(&log_limit_lock);
		more = log_limit_take(second, &left_out);
		pthread_mutex_unlock(&log_limit_lock);
		if (more)
			tell_left_out(&left_out);
	} while (more);
	if (level == LOG_LEVEL_AUDIT)
		return true;
	pthread_mutex_lock(&log_limit_lock);
	bool pass = log_limit_pass(object, fmt, second);
	pthread_mutex_unlock(&log_limit_lock);
	return pass;
}

void log_write(enum log_level level, const char *object, const char *fmt, ...)
{
	int saved = errno;
	va_list args;

	if (!log_enabled(level))
		return;
	if (log_admit(level, object, fmt)) {
		va_start(args, fmt);
		_cleanup_free_ char *message = xvasprintf(fmt, args);
		va_end(args);
		if (strlen(message) > LOG_MESSAGE_MAX)
			memcpy(message + LOG_MESSAGE_MAX - 3, "...", 4);
		write_line(level, object, message);
	}
	errno = saved;
}
