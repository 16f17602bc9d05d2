#include "agent/policy.h"

#include <string.h>

#include "base/memory.h"
#include "base/strings.h"
#include "proto/agent.pb-c.h"
#include "proto/guest.pb-c.h"
#include "proto/health.pb-c.h"
#include "proto/pbjson.h"

struct policy {
	json_t *json;  /* owned */
	json_t *allow; /* in json */
};

/* ---------------------------------------------------------------- patterns */

static bool matches(const json_t *pattern, const json_t *value);

static bool matches_any(const json_t *patterns, const json_t *value)
{
	for (size_t i = 0; i < json_array_size(patterns); i++)
		if (matches(json_array_get(patterns, i), value))
			return true;
	return false;
}

static bool matches_each(const json_t *pattern, const json_t *value)
{
	for (size_t i = 0; i < json_array_size(value); i++)
		if (!matches(pattern, json_array_get(value, i)))
			return false;
	return json_is_array(value);
}

static bool matches_prefix(const json_t *pattern, const json_t *value)
{
	return json_is_string(value) &&
	       str_after(json_string_value(value), json_string_value(pattern));
}

static bool matches_max(const json_t *pattern, const json_t *value)
{
	return json_is_number(value) && json_number_value(value) <= json_number_value(pattern);
}

static bool is_list_of_patterns(const json_t *operand)
{
	return json_is_array(operand) && json_array_size(operand) > 0;
}

static bool is_pattern(const json_t *operand _unused_)
{
	return true;
}

static bool is_text(const json_t *operand)
{
	return json_is_string(operand);
}

static bool is_number(const json_t *operand)
{
	return json_is_number(operand);
}

static const struct operation {
	const char *name;
	bool (*takes)(const json_t *operand);
	bool (*matches)(const json_t *operand, const json_t *value);
} operations[] = {
	{ "$any", is_list_of_patterns, matches_any },
	{ "$each", is_pattern, matches_each },
	{ "$prefix", is_text, matches_prefix },
	{ "$max", is_number, matches_max },
};

static const struct operation *operation_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		if (str_equal(operations[i].name, name))
			return &operations[i];
	return NULL;
}

static bool matches_object(const json_t *pattern, const json_t *value)
{
	const char *key;
	json_t *below;

	json_object_foreach ((json_t *)pattern, key, below) {
		const struct operation *operation = operation_find(key);
		if (operation ? !operation->matches(below, value)
			      : !matches(below, json_object_get(value, key)))
			return false;
	}
	return json_object_size(pattern) > 0 || json_is_object(value);
}

static bool matches_list(const json_t *pattern, const json_t *value)
{
	size_t count = json_array_size(pattern);

	for (size_t i = 0; i < count; i++)
		if (!matches(json_array_get(pattern, i), json_array_get(value, i)))
			return false;
	return json_is_array(value) && json_array_size(value) == count;
}

/* value is NULL where the message is not there. */
static bool matches(const json_t *pattern, const json_t *value)
{
	if (json_is_null(pattern))
		return !value;
	if (json_is_object(pattern))
		return value && matches_object(pattern, value);
	if (json_is_array(pattern))
		return value && matches_list(pattern, value);
	return value && json_equal(pattern, value);
}

/* ---------------------------------------------------------------- reading it */

static const ProtobufCMethodDescriptor *method_find(const char *name)
{
	static const ProtobufCServiceDescriptor *const services[] = {
		&grpc__agent_service__descriptor,
		&kiln__guest__v1__guest__descriptor,
	};
	const ProtobufCMethodDescriptor *method = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(services) && !method; i++)
		method = protobuf_c_service_descriptor_get_method_by_name(services[i], name);
	return method;
}

static int check_pattern(const json_t *pattern, struct error *err);

static int check_keys(const json_t *pattern, struct error *err)
{
	const char *key;
	json_t *below;

	json_object_foreach ((json_t *)pattern, key, below) {
		const struct operation *operation = operation_find(key);
		if (*key == '$' && !operation)
			return error_set(err, EINVAL, "there is no operation \"%.64s\"", key);
		if (operation && !operation->takes(below))
			return error_set(err, EINVAL, "this is nothing for %s to compare with",
					 key);
		int r = check_pattern(below, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_pattern(const json_t *pattern, struct error *err)
{
	int r = json_is_object(pattern) ? check_keys(pattern, err) : 0;

	for (size_t i = 0; r == 0 && i < json_array_size(pattern); i++)
		r = check_pattern(json_array_get(pattern, i), err);
	return r;
}

/* A field that the message does not have would deny all, which nobody means. */
static int check_fields(const ProtobufCMethodDescriptor *method, const json_t *pattern,
			struct error *err)
{
	const char *key;
	json_t *below;

	if (!json_is_object(pattern))
		return error_set(err, EINVAL, "a pattern of a request is an object");
	json_object_foreach ((json_t *)pattern, key, below)
		if (*key != '$' &&
		    !protobuf_c_message_descriptor_get_field_by_name(method->input, key))
			return error_set(err, EINVAL, "%s has no field \"%.64s\"",
					 method->input->name, key);
	return 0;
}

static int check_rule(const char *name, const json_t *rule, struct error *err)
{
	const ProtobufCMethodDescriptor *method = method_find(name);
	int r = 0;

	if (!method)
		return error_set(err, EINVAL, "the agent has no method \"%.64s\"", name);
	if (!json_is_true(rule) && !is_list_of_patterns(rule))
		return error_set(err, EINVAL, "%s: neither true nor a list of patterns", name);
	for (size_t i = 0; r == 0 && i < json_array_size(rule); i++) {
		r = check_fields(method, json_array_get(rule, i), err);
		if (r == 0)
			r = check_pattern(json_array_get(rule, i), err);
	}
	return r < 0 ? error_wrap(err, "%s", name) : 0;
}

static int check(const json_t *json, struct error *err)
{
	const json_t *allow = json_object_get(json, "allow");
	const char *name;
	json_t *rule;
	int r;

	if (!json_is_object(allow) || json_object_size(json) != 1)
		return error_set(err, EINVAL, "it is no object with the one key \"allow\"");
	json_object_foreach ((json_t *)allow, name, rule)
		if ((r = check_rule(name, rule, err)) < 0)
			return r;
	return 0;
}

int policy_parse(const char *text, struct policy **ret, struct error *err)
{
	_cleanup_(policy_free_cleanup) struct policy *policy = xnew(struct policy);
	size_t len = strlen(text);
	int r;

	if (len > POLICY_BYTES_MAX)
		return error_set(err, E2BIG, "the policy has %zu bytes, over %d", len,
				 POLICY_BYTES_MAX);
	r = pbjson_parse(text, len, &policy->json, err);
	if (r == 0)
		r = check(policy->json, err);
	if (r < 0)
		return error_wrap(err, "the policy");
	policy->allow = json_object_get(policy->json, "allow");
	*ret = steal_ptr(policy);
	return 0;
}

void policy_free(struct policy *policy)
{
	if (!policy)
		return;
	json_decref(policy->json);
	free(policy);
}

/* ---------------------------------------------------------------- asking it */

static bool is_health(const ProtobufCMessage *request)
{
	return request->descriptor == &grpc__check_request__descriptor;
}

int policy_check(const struct policy *policy, const char *method, const ProtobufCMessage *request,
		 struct error *err)
{
	const json_t *rule;
	json_t *json;
	bool allowed;

	if (!policy || is_health(request))
		return 0;
	rule = json_object_get(policy->allow, method);
	if (json_is_true(rule))
		return 0;
	if (!rule)
		return error_set(err, EPERM, "the machine's policy does not allow %s", method);
	json = pbjson_from_message(request, PBJSON_EMIT_DEFAULTS);
	allowed = matches_any(rule, json);
	json_decref(json);
	return allowed ? 0
		       : error_set(err, EPERM, "the machine's policy does not allow this %s",
				   method);
}
