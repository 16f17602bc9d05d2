#include "ctl/toml_write.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "base/memory.h"

#define BARE "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

static void write_string(const char *text, FILE *out)
{
	putc('"', out);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < ' ' || c == 0x7f)
			fprintf(out, "\\u%04X", c);
		else
			putc(c, out);
	}
	putc('"', out);
}

static void write_key(const char *key, FILE *out)
{
	if (*key && key[strspn(key, BARE)] == '\0')
		fputs(key, out);
	else
		write_string(key, out);
}

static bool is_list_of_tables(const json_t *value)
{
	return json_is_array(value) && json_is_object(json_array_get(value, 0));
}

static void write_value(const json_t *value, FILE *out)
{
	if (json_is_array(value)) {
		putc('[', out);
		for (size_t i = 0; i < json_array_size(value); i++) {
			fputs(i > 0 ? ", " : "", out);
			write_value(json_array_get(value, i), out);
		}
		putc(']', out);
	} else if (json_is_string(value)) {
		write_string(json_string_value(value), out);
	} else if (json_is_integer(value)) {
		fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	} else if (json_is_real(value)) {
		fprintf(out, "%#.17g", json_real_value(value));
	} else {
		fputs(json_is_true(value) ? "true" : "false", out);
	}
}

static void write_table(const json_t *object, const char *name, FILE *out);

static char *name_below(const char *name, const char *key)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		abort(); /* out of memory */
	fprintf(out, "%s%s", name, *name ? "." : "");
	write_key(key, out);
	fclose(out);
	return text;
}

static void write_list(const json_t *list, const char *name, FILE *out)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		fprintf(out, "\n[[%s]]\n", name);
		write_table(json_array_get(list, i), name, out);
	}
}

static void write_table(const json_t *object, const char *name, FILE *out)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)object, key, value) {
		if (json_is_null(value) || json_is_object(value) || is_list_of_tables(value))
			continue;
		write_key(key, out);
		fputs(" = ", out);
		write_value(value, out);
		putc('\n', out);
	}
	json_object_foreach ((json_t *)(uintptr_t)object, key, value) {
		_cleanup_free_ char *below = name_below(name, key);
		if (json_is_object(value)) {
			fprintf(out, "\n[%s]\n", below);
			write_table(value, below, out);
		} else if (is_list_of_tables(value)) {
			write_list(value, below, out);
		}
	}
}

void toml_write(const json_t *object, FILE *out)
{
	write_table(object, "", out);
}
