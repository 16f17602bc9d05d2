/* Levelled log lines, each naming the object it is about.
 *
 *   log_info(vm->id, "parked after %u ms", ms);
 *   2026-01-31T12:00:00.123Z INFO kiln-factory[812] 5f3c…: parked after 41 ms
 *
 * As JSON lines: {"time","level","program","pid","object","message"}. The object is the
 * id of a sandbox, container, vm or template; NULL where there is none (rare).
 * One write(2) a line, so lines of several processes on one file do not mix. A failed
 * write is dropped: logging never fails its caller. errno is kept. An object has at most
 * LOG_LIMIT_LINES a second (base/log_limit.h), but for those of AUDIT.
 */
#pragma once

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/strings.h"

/* AUDIT is for the record rather than for attention: above all others, so never left out. */
enum log_level {
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_INFO,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_ERROR,
	LOG_LEVEL_AUDIT
};
DECLARE_STRING_TABLE(log_level, enum log_level); /* "debug" ... "error", "audit" */

enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };
DECLARE_STRING_TABLE(log_format, enum log_format); /* "text", "json" */

/* Program name and sink of all later lines; the defaults are "kiln", stderr, info, text.
 * fd is borrowed and must stay open. */
void log_init(const char *program, int fd, enum log_level level, enum log_format format);
void log_set_level(enum log_level level);
void log_set_format(enum log_format format);
bool log_enabled(enum log_level level);

void log_write(enum log_level level, const char *object, const char *fmt, ...) _printf_(3, 4);

#define log_debug(object, ...)   log_write(LOG_LEVEL_DEBUG, (object), __VA_ARGS__)
#define log_info(object, ...)    log_write(LOG_LEVEL_INFO, (object), __VA_ARGS__)
#define log_warning(object, ...) log_write(LOG_LEVEL_WARNING, (object), __VA_ARGS__)
#define log_error(object, ...)   log_write(LOG_LEVEL_ERROR, (object), __VA_ARGS__)
#define log_audit(object, ...)   log_write(LOG_LEVEL_AUDIT, (object), __VA_ARGS__)
