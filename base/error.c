#include "base/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* A failure without a number must not look like success. */
static int error_number(int number)
{
	if (number == 0)
		return EIO;
	return number < 0 ? -number : number;
}

/* Takes message. */
static int error_store(struct error *e, int number, char *message)
{
	free(e->message);
	e->number = error_number(number);
	e->message = message;
	return -e->number;
}

int error_setv(struct error *e, int number, const char *fmt, va_list args)
{
	if (!e)
		return -error_number(number);
	/* Formatted before the old message goes, which may be among the arguments. */
	return error_store(e, number, xvasprintf(fmt, args));
}

int error_set(struct error *e, int number, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	int r = error_setv(e, number, fmt, args);
	va_end(args);
	return r;
}

int error_set_errno(struct error *e, int number, const char *fmt, ...)
{
	if (!e)
		return -error_number(number);

	va_list args;

	va_start(args, fmt);
	_cleanup_free_ char *context = xvasprintf(fmt, args);
	va_end(args);

	number = error_number(number);
	const char *text = strerrordesc_np(number);
	char *message = text ? xasprintf("%s: %s", context, text)
			     : xasprintf("%s: error %d", context, number);
	return error_store(e, number, message);
}

int error_wrap(struct error *e, const char *fmt, ...)
{
	if (!e)
		return -EIO;

	va_list args;

	va_start(args, fmt);
	_cleanup_free_ char *context = xvasprintf(fmt, args);
	va_end(args);

	if (!e->message)
		return error_store(e, e->number, steal_ptr(context));
	return error_store(e, e->number, xasprintf("%s: %s", context, e->message));
}

void error_move(struct error *to, struct error *from)
{
	if (!from || to == from)
		return;
	if (!to) {
		error_done(from);
		return;
	}
	free(to->message);
	*to = *from;
	*from = (struct error){};
}

const char *error_message(const struct error *e)
{
	return e && e->message ? e->message : "no error";
}

void error_done(struct error *e)
{
	if (!e)
		return;

	int saved = errno;

	free(e->message);
	*e = (struct error){};
	errno = saved;
}
