#include "ctl/agent_request.h"

#include <ctype.h>
#include <strings.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "base/strv.h"
#include "proto/agent.pb-c.h"
#include "proto/guest.pb-c.h"
#include "proto/health.pb-c.h"
#include "proto/pbjson.h"
#include "proto/pbjson_field.h"

#define JSON_MAX   (8u << 20)
#define NAME_BOUND 64
#define LIST_WIDTH 96

static const ProtobufCServiceDescriptor *const services[] = {
	&grpc__health__descriptor,
	&grpc__agent_service__descriptor,
	&kiln__guest__v1__guest__descriptor,
};

/* ---------------------------------------------------------------- names */

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t least = a < b ? a : b;
	return least < c ? least : c;
}

/* Letters to insert, delete or replace to get from a to b (Levenshtein), ignoring case. Names
 * over the bound are far from everything. */
static size_t distance(const char *a, const char *b)
{
	size_t row[NAME_BOUND + 1];
	size_t len_b = strlen(b);

	if (strlen(a) > NAME_BOUND || len_b > NAME_BOUND)
		return SIZE_MAX;
	for (size_t j = 0; j <= len_b; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t diagonal = row[0];
		row[0] = i;
		for (size_t j = 1; j <= len_b; j++) {
			bool same = tolower((unsigned char)a[i - 1]) ==
				    tolower((unsigned char)b[j - 1]);
			size_t above = row[j];
			row[j] = min3(above + 1, row[j - 1] + 1, diagonal + !same);
			diagonal = above;
		}
	}
	return row[len_b];
}

static bool is_near(const char *name, const char *method)
{
	size_t len = strlen(name);
	return distance(name, method) <= len / 3 || (len >= 4 && strcasestr(method, name));
}

static char *near_names(const char *name)
{
	_cleanup_(strv_done) struct strv near = {};

	for (size_t s = 0; s < ARRAY_SIZE(services); s++)
		for (unsigned m = 0; m < services[s]->n_methods; m++)
			if (is_near(name, services[s]->methods[m].name))
				strv_add(&near, services[s]->methods[m].name);
	return near.count > 0 ? strv_join(&near, ", ") : NULL;
}

static bool find_method(const char *name, struct agent_request *request)
{
	for (size_t s = 0; s < ARRAY_SIZE(services); s++) {
		const ProtobufCMethodDescriptor *method =
			protobuf_c_service_descriptor_get_method_by_name(services[s], name);
		if (method) {
			request->service = services[s];
			request->method = method;
			return true;
		}
	}
	return false;
}

static int no_such_method(const char *name, struct error *err)
{
	_cleanup_free_ char *near = near_names(name);

	if (near)
		return error_set(err, EINVAL, "the agent has no request '%s'; did you mean %s?",
				 name, near);
	return error_set(err, EINVAL, "the agent has no request '%s'; 'agent list' shows all",
			 name);
}

/* ---------------------------------------------------------------- messages */

bool agent_request_is_json(const char *word)
{
	return word[0] == '{' || word[0] == '@' || str_equal(word, "-");
}

static int read_stdin(char **ret_text, size_t *ret_len, struct error *err)
{
	_cleanup_free_ char *text = xcalloc(JSON_MAX + 1, 1);
	ssize_t len = read_full(STDIN_FILENO, text, JSON_MAX + 1);

	if (len < 0)
		return error_set_errno(err, (int)len, "cannot read stdin");
	if (len > (ssize_t)JSON_MAX)
		return error_set(err, EFBIG, "stdin has more than %u bytes", JSON_MAX);
	*ret_text = steal_ptr(text);
	*ret_len = (size_t)len;
	return 0;
}

static int get_text(const char *json, char **ret_text, size_t *ret_len, struct error *err)
{
	if (str_equal(json, "-"))
		return read_stdin(ret_text, ret_len, err);
	if (json && json[0] == '@')
		return file_read(json + 1, JSON_MAX, ret_text, ret_len, err);
	*ret_text = xstrdup(json ? json : "{}");
	*ret_len = strlen(*ret_text);
	return 0;
}

static int read_message(const char *json, struct agent_request *request, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	json_t *object = NULL;

	int r = get_text(json, &text, &len, err);
	if (r < 0)
		return r;
	r = pbjson_parse(text, len, &object, err);
	if (r < 0)
		return r;
	r = pbjson_to_message(request->method->input, object, PBJSON_STRICT, &request->message,
			      err);
	json_decref(object);
	return r;
}

int agent_request_parse(const char *name, const char *json, struct agent_request *ret_request,
			struct error *err)
{
	struct agent_request request = {};

	if (!find_method(name, &request))
		return no_such_method(name, err);
	int r = read_message(json, &request, err);
	if (r < 0)
		return error_wrap(err, "%s", name);
	*ret_request = request;
	return 0;
}

int agent_request_parse_call(const char *call, struct agent_request *ret_request, struct error *err)
{
	call += strspn(call, " \t\n");
	size_t len = strcspn(call, " \t\n{");
	_cleanup_free_ char *name = xstrndup(call, len);
	_cleanup_free_ char *json = xstrdup(call + len + strspn(call + len, " \t\n"));

	for (size_t end = strlen(json); end > 0 && isspace((unsigned char)json[end - 1]); end--)
		json[end - 1] = '\0';
	if (*json && !agent_request_is_json(json))
		return error_set(err, EINVAL, "'%s' is neither a JSON object nor @FILE nor -",
				 json);
	return agent_request_parse(name, *json ? json : NULL, ret_request, err);
}

void agent_request_done(struct agent_request *request)
{
	if (request->message)
		protobuf_c_message_free_unpacked(request->message, NULL);
	*request = (struct agent_request){};
}

/* ---------------------------------------------------------------- the list */

static const char *type_name(const ProtobufCFieldDescriptor *field)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		return ((const ProtobufCMessageDescriptor *)field->descriptor)->short_name;
	case PROTOBUF_C_TYPE_ENUM:
		return ((const ProtobufCEnumDescriptor *)field->descriptor)->short_name;
	case PROTOBUF_C_TYPE_STRING:
		return "string";
	case PROTOBUF_C_TYPE_BYTES:
		return "base64";
	case PROTOBUF_C_TYPE_BOOL:
		return "bool";
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_DOUBLE:
		return "number";
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		return "int32";
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return "uint32";
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return "int64";
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return "uint64";
	}
	abort();
}

static char *field_text(const ProtobufCFieldDescriptor *field)
{
	const ProtobufCMessageDescriptor *entry = pbjson_map_entry(field);

	if (entry)
		return xasprintf("%s: {%s}", field->name, type_name(&entry->fields[1]));
	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return xasprintf("%s: [%s]", field->name, type_name(field));
	return xasprintf("%s: %s", field->name, type_name(field));
}

static void list_method(const ProtobufCMethodDescriptor *method, FILE *out)
{
	const ProtobufCMessageDescriptor *input = method->input;
	size_t column = 0;

	fprintf(out, "  %s\n", method->name);
	for (unsigned i = 0; i < input->n_fields; i++) {
		_cleanup_free_ char *text = field_text(&input->fields[i]);
		if (column == 0 || column + strlen(text) + 2 > LIST_WIDTH) {
			fprintf(out, "%s      ", column > 0 ? ",\n" : "");
			column = 6;
		} else {
			fputs(", ", out);
			column += 2;
		}
		fputs(text, out);
		column += strlen(text);
	}
	if (column > 0)
		fputc('\n', out);
}

const char *agent_request_name(size_t n)
{
	for (size_t s = 0; s < ARRAY_SIZE(services); s++) {
		if (n < services[s]->n_methods)
			return services[s]->methods[n].name;
		n -= services[s]->n_methods;
	}
	return NULL;
}

void agent_request_list(FILE *out)
{
	for (size_t s = 0; s < ARRAY_SIZE(services); s++) {
		fprintf(out, "%s%s\n", s > 0 ? "\n" : "", services[s]->name);
		for (unsigned m = 0; m < services[s]->n_methods; m++)
			list_method(&services[s]->methods[m], out);
	}
}
