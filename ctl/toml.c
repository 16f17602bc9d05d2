#include "ctl/toml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"

#define BARE "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
/* Of numbers, dates, inf and nan. */
#define PLAIN BARE "+.:"

struct reader {
	const char *at;
	unsigned line;
	unsigned depth;
	toml_fn fn;
	void *userdata;
	struct error *err;
};

static int bad(struct reader *reader, const char *what)
{
	return error_set(reader->err, EBADMSG, "line %u: %s", reader->line, what);
}

static void skip_blanks(struct reader *reader)
{
	reader->at += strspn(reader->at, " \t\r");
}

/* Over line ends and comments too. */
static void skip_space(struct reader *reader)
{
	for (;;) {
		skip_blanks(reader);
		if (*reader->at == '#')
			reader->at += strcspn(reader->at, "\n");
		if (*reader->at != '\n')
			return;
		reader->at++;
		reader->line++;
	}
}

static bool take(struct reader *reader, char c)
{
	if (*reader->at != c)
		return false;
	reader->at++;
	return true;
}

static int end_of_line(struct reader *reader)
{
	skip_blanks(reader);
	if (*reader->at == '#')
		reader->at += strcspn(reader->at, "\n");
	return *reader->at == '\n' || *reader->at == '\0' ? 0 : bad(reader, "more than a value");
}

static void forget_last(struct strv *v, size_t keep)
{
	while (v->count > keep) {
		free(v->items[--v->count]);
		v->items[v->count] = NULL;
	}
}

/* ---------------------------------------------------------------- strings */

/* \uXXXX and \UXXXXXXXX stand for a '?': no name or pattern that is looked for has them. */
static int read_escape(struct reader *reader, struct strbuf *out)
{
	static const char letters[] = "btnfre\"\\", values[] = "\b\t\n\f\r\033\"\\";
	char c = *reader->at;
	const char *found = c ? strchr(letters, c) : NULL;
	size_t digits = c == 'u' ? 4 : c == 'U' ? 8 : 0;

	if (found) {
		strbuf_add(out, &values[found - letters], 1);
	} else if (digits == 0 || strspn(reader->at + 1, "0123456789abcdefABCDEF") < digits) {
		return bad(reader, "an escape that is none");
	} else {
		strbuf_adds(out, "?");
	}
	reader->at += 1 + digits;
	return 0;
}

/* "basic" or 'literal', on one line. */
static int read_string(struct reader *reader, char **ret_text)
{
	_cleanup_(strbuf_done) struct strbuf out = {};
	char quote = *reader->at++;
	int r = 0;

	if (reader->at[0] == quote && reader->at[1] == quote)
		return bad(reader, "a string of several lines");
	while (r == 0 && *reader->at != quote) {
		if (*reader->at == '\0' || *reader->at == '\n')
			return bad(reader, "a string without an end");
		if (quote == '"' && take(reader, '\\'))
			r = read_escape(reader, &out);
		else
			strbuf_add(&out, reader->at++, 1);
	}
	if (r < 0)
		return r;
	reader->at++;
	*ret_text = xstrdup(strbuf_text(&out));
	return 0;
}

/* a.b."c d", appended to path. */
static int read_name(struct reader *reader, struct strv *path)
{
	do {
		char *part = NULL;
		size_t len;
		int r = 0;

		skip_blanks(reader);
		len = strspn(reader->at, BARE);
		if (*reader->at == '"' || *reader->at == '\'')
			r = read_string(reader, &part);
		else if (len == 0)
			r = bad(reader, "a name is missing");
		else
			part = xstrndup(reader->at, len);
		if (r == 0 && path->count == TOML_DEPTH_MAX) {
			free(part);
			r = bad(reader, "a name of too many parts");
		}
		if (r < 0)
			return r;
		if (len > 0)
			reader->at += len;
		strv_take(path, part);
		skip_blanks(reader);
	} while (take(reader, '.'));
	return 0;
}

/* ---------------------------------------------------------------- values */

static int read_pair(struct reader *reader, struct strv *path, char end);

/* { a = 1, b = 2 }: its keys are the caller's path longer by a part. */
static int read_inline_table(struct reader *reader, struct strv *path)
{
	int r = 0;

	skip_space(reader);
	if (take(reader, '}'))
		return 0;
	do {
		skip_space(reader);
		r = read_pair(reader, path, '}');
		skip_space(reader);
	} while (r == 0 && take(reader, ','));
	return r < 0 || take(reader, '}') ? r : bad(reader, "a table without an end");
}

static int read_value(struct reader *reader, struct strv *path, struct strv *values);

static int read_array(struct reader *reader, struct strv *path, struct strv *values)
{
	int r = 0;

	for (;;) {
		skip_space(reader);
		if (take(reader, ']'))
			return 0;
		r = read_value(reader, path, values);
		if (r < 0)
			return r;
		skip_space(reader);
		if (!take(reader, ',') && *reader->at != ']')
			return bad(reader, "an array without an end");
	}
}

static int read_nested(struct reader *reader, struct strv *path, struct strv *values)
{
	bool array = *reader->at++ == '[';

	if (reader->depth == TOML_DEPTH_MAX)
		return bad(reader, "too deep");
	reader->depth++;
	int r = array ? read_array(reader, path, values) : read_inline_table(reader, path);
	reader->depth--;
	return r;
}

static int read_value(struct reader *reader, struct strv *path, struct strv *values)
{
	char *text = NULL;
	int r = 0;

	if (*reader->at == '[' || *reader->at == '{')
		return read_nested(reader, path, values);
	if (*reader->at == '"' || *reader->at == '\'') {
		r = read_string(reader, &text);
	} else {
		size_t len = strspn(reader->at, PLAIN);
		if (len == 0)
			return bad(reader, "a value is missing");
		text = xstrndup(reader->at, len);
		reader->at += len;
	}
	if (r == 0)
		strv_take(values, text);
	return r;
}

/* key = value; end: of the table it stands in, 0: a line. */
static int read_pair(struct reader *reader, struct strv *path, char end)
{
	_cleanup_(strv_done) struct strv values = {};
	size_t before = path->count;
	int r = read_name(reader, path);

	if (r == 0 && !take(reader, '='))
		r = bad(reader, "a key without a value");
	if (r == 0) {
		skip_blanks(reader);
		r = read_value(reader, path, &values);
	}
	if (r == 0 && end == '\0')
		r = end_of_line(reader);
	if (r == 0)
		reader->fn(path, &values, reader->userdata);
	forget_last(path, before);
	return r;
}

/* [a.b], or [[a.b]]. */
static int read_header(struct reader *reader, struct strv *table)
{
	bool list = take(reader, '[');

	forget_last(table, 0);
	int r = read_name(reader, table);
	if (r == 0 && (!take(reader, ']') || (list && !take(reader, ']'))))
		r = bad(reader, "a table's name without an end");
	return r < 0 ? r : end_of_line(reader);
}

int toml_read(const char *text, toml_fn fn, void *userdata, struct error *err)
{
	struct reader reader = {
		.at = text, .line = 1, .fn = fn, .userdata = userdata, .err = err
	};
	_cleanup_(strv_done) struct strv table = {};
	int r = 0;

	for (skip_space(&reader); r == 0 && *reader.at; skip_space(&reader))
		r = take(&reader, '[') ? read_header(&reader, &table)
				       : read_pair(&reader, &table, '\0');
	return r;
}
