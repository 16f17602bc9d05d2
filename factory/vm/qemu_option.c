#include "factory/vm/qemu_option.h"

#include <jansson.h>
#include <string.h>

#include "base/memory.h"
#include "base/strings.h"
#include "base/strv.h"

struct qemu_option {
	json_t *json; /* owned; NULL: keys and values */
	struct strv keys;
	struct strv values;
	bool implied; /* the first key is not written */
};

/* The next word up to a single comma, with doubled ones made single; *text goes past it. */
static char *word_take(const char **text)
{
	_cleanup_(strbuf_done) struct strbuf word = {};
	const char *at = *text;

	while (*at) {
		size_t len = strcspn(at, ",");
		strbuf_add(&word, at, len);
		at += len;
		if (at[0] != ',')
			break;
		if (at[1] != ',') {
			at++;
			break;
		}
		strbuf_adds(&word, ",");
		at += 2;
	}
	*text = at;
	return strbuf_steal(&word);
}

static int parse_words(struct qemu_option *option, const char *text, const char *implied_key)
{
	while (*text) {
		_cleanup_free_ char *word = word_take(&text);
		char *equals = strchr(word, '=');
		if (equals) {
			strv_take(&option->keys, xstrndup(word, (size_t)(equals - word)));
			strv_add(&option->values, equals + 1);
		} else if (option->keys.count == 0 && implied_key) {
			option->implied = true;
			strv_add(&option->keys, implied_key);
			strv_add(&option->values, word);
		} else {
			/* "server" is QEMU's short way for "server=on". */
			strv_add(&option->keys, word);
			strv_add(&option->values, "on");
		}
	}
	return option->keys.count > 0 ? 0 : -EINVAL;
}

int qemu_option_parse(const char *text, const char *implied_key, struct qemu_option **ret,
		      struct error *err)
{
	_cleanup_(qemu_option_free_cleanup) struct qemu_option *option = xnew(struct qemu_option);

	if (text[0] == '{') {
		json_error_t where;
		option->json = json_loads(text, JSON_REJECT_DUPLICATES, &where);
		if (!option->json)
			return error_set(err, EINVAL, "not a QEMU option: %s: %s", text,
					 where.text);
	} else if (parse_words(option, text, implied_key) < 0) {
		return error_set(err, EINVAL, "not a QEMU option: \"%s\"", text);
	}
	*ret = steal_ptr(option);
	return 0;
}

void qemu_option_free(struct qemu_option *option)
{
	if (!option)
		return;
	json_decref(option->json);
	strv_done(&option->keys);
	strv_done(&option->values);
	free(option);
}

/* The slot of key, the last one where it stands twice (as QEMU reads it), or NULL. */
static char **find_value(const struct qemu_option *option, const char *key)
{
	for (size_t i = option->keys.count; i > 0; i--)
		if (str_equal(option->keys.items[i - 1], key))
			return &option->values.items[i - 1];
	return NULL;
}

const char *qemu_option_get(const struct qemu_option *option, const char *key)
{
	if (option->json)
		return json_string_value(json_object_get(option->json, key));
	char **value = find_value(option, key);
	return value ? *value : NULL;
}

static void set_word(struct qemu_option *option, const char *key, const char *value)
{
	char **slot = find_value(option, key);

	if (slot) {
		replace_string(slot, value);
		return;
	}
	strv_add(&option->keys, key);
	strv_add(&option->values, value);
}

void qemu_option_set(struct qemu_option *option, const char *key, const char *value)
{
	if (option->json)
		json_object_set_new(option->json, key, json_string(value));
	else
		set_word(option, key, value);
}

void qemu_option_set_bool(struct qemu_option *option, const char *key, bool value)
{
	if (option->json)
		json_object_set_new(option->json, key, json_boolean(value));
	else
		set_word(option, key, value ? "on" : "off");
}

char *qemu_option_format(const struct qemu_option *option)
{
	_cleanup_(strbuf_done) struct strbuf out = {};

	if (option->json) {
		_cleanup_free_ char *text = json_dumps(option->json, JSON_COMPACT);
		strbuf_adds(&out, text ? text : "{}");
		return strbuf_steal(&out);
	}
	for (size_t i = 0; i < option->keys.count; i++) {
		if (i > 0)
			strbuf_adds(&out, ",");
		if (i > 0 || !option->implied)
			strbuf_addf(&out, "%s=", option->keys.items[i]);
		qemu_option_escape_comma(&out, option->values.items[i]);
	}
	return strbuf_steal(&out);
}

int qemu_option_escape_comma(struct strbuf *out, const char *value)
{
	for (; *value; value++)
		strbuf_adds(out, *value == ',' ? ",," : (char[]){ *value, '\0' });
	return 0;
}

int qemu_option_escape_json(struct strbuf *out, const char *value)
{
	json_t *string = json_string(value);
	_cleanup_free_ char *quoted = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;

	json_decref(string);
	if (!quoted)
		return -EILSEQ;
	strbuf_add(out, quoted + 1, strlen(quoted) - 2);
	return 0;
}
