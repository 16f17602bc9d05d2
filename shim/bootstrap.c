#include "shim/bootstrap.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/strings.h"
#include "proto/bootstrap.pb-c.h"
#include "proto/containerd_mount.pb-c.h"
#include "proto/runtimeoptions.pb-c.h"

#define PARAMS Containerd__Runtime__Bootstrap__V1__BootstrapParams

enum {
	TASK_VERSION = 3,       /* of the Task service; version 2 is served as well */
	FIRST_JSON_VERSION = 2, /* MAX_SHIM_VERSION of those who read JSON */
	VERSION_MAX = 99,
};

/* A claimed transform counts only with all that follow it in a mount's type. */
static char *const mount_types[] = { (char *)"erofs", (char *)"overlay" };
static char *const mount_transforms[] = { (char *)"format", (char *)"mkdir", (char *)"mkfs" };

static Google__Protobuf__Any *copy_any(const Google__Protobuf__Any *any)
{
	_cleanup_free_ uint8_t *bytes = xcalloc(1, google__protobuf__any__get_packed_size(any) + 1);
	size_t len = google__protobuf__any__pack(any, bytes);

	return google__protobuf__any__unpack(NULL, len, bytes);
}

/* Among the extensions: those of a type that nobody here knows are for others. */
static Google__Protobuf__Any *find_options(const PARAMS *params)
{
	for (size_t i = 0; i < params->n_extensions; i++) {
		const Google__Protobuf__Any *any = params->extensions[i]->value;
		if (any && str_equal(any->type_url, runtimeoptions__v1__options__descriptor.name))
			return copy_any(any);
	}
	return NULL;
}

/* An Any that names a type of the id's name can be read as them, too, with nothing but the two
 * fields that both have. */
static bool are_params(const PARAMS *params, const char *id)
{
	return str_equal(params->instance_id, id) && (!str_empty(params->containerd_version) ||
						      !str_empty(params->containerd_grpc_address) ||
						      !str_empty(params->containerd_ttrpc_address));
}

void bootstrap_read(const uint8_t *data, size_t len, const char *id, struct bootstrap *ret)
{
	PARAMS *params = NULL;

	*ret = (struct bootstrap){};
	if (len > 0)
		params = containerd__runtime__bootstrap__v1__bootstrap_params__unpack(NULL, len,
										      data);
	if (params && are_params(params, id)) {
		ret->wants_result = true;
		ret->options = find_options(params);
	} else if (len > 0) {
		ret->options = google__protobuf__any__unpack(NULL, len, data);
	}
	if (params)
		containerd__runtime__bootstrap__v1__bootstrap_params__free_unpacked(params, NULL);
}

/* The caller frees. */
static uint8_t *pack_capabilities(size_t *ret_len)
{
	Containerd__Types__MountCapabilities capabilities =
		CONTAINERD__TYPES__MOUNT_CAPABILITIES__INIT;
	uint8_t *bytes;

	capabilities.types = (char **)mount_types;
	capabilities.n_types = ARRAY_SIZE(mount_types);
	capabilities.transforms = (char **)mount_transforms;
	capabilities.n_transforms = ARRAY_SIZE(mount_transforms);
	bytes = xcalloc(1, containerd__types__mount_capabilities__get_packed_size(&capabilities));
	*ret_len = containerd__types__mount_capabilities__pack(&capabilities, bytes);
	return bytes;
}

static void add_result(const char *address, struct strbuf *ret)
{
	Containerd__Runtime__Bootstrap__V1__BootstrapResult result =
		CONTAINERD__RUNTIME__BOOTSTRAP__V1__BOOTSTRAP_RESULT__INIT;
	Containerd__Runtime__Bootstrap__V1__Extension extension =
		CONTAINERD__RUNTIME__BOOTSTRAP__V1__EXTENSION__INIT;
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	Containerd__Runtime__Bootstrap__V1__Extension *extensions[] = { &extension };
	size_t len;
	_cleanup_free_ uint8_t *capabilities = pack_capabilities(&len);

	any.type_url = (char *)containerd__types__mount_capabilities__descriptor.name;
	any.value = (ProtobufCBinaryData){ len, capabilities };
	extension.value = &any;
	result.version = TASK_VERSION;
	result.address = (char *)address;
	result.protocol = (char *)"ttrpc";
	result.extensions = extensions;
	result.n_extensions = ARRAY_SIZE(extensions);
	len = containerd__runtime__bootstrap__v1__bootstrap_result__get_packed_size(&result);
	_cleanup_free_ uint8_t *bytes = xcalloc(1, len);
	containerd__runtime__bootstrap__v1__bootstrap_result__pack(&result, bytes);
	strbuf_add(ret, bytes, len);
}

void bootstrap_read_version(const char *text, struct bootstrap *bootstrap)
{
	uint64_t version;

	if (text && str_to_u64(text, FIRST_JSON_VERSION, VERSION_MAX, &version) == 0)
		bootstrap->json_version = version < TASK_VERSION ? (int)version : TASK_VERSION;
}

void bootstrap_answer(const struct bootstrap *bootstrap, const char *address, struct strbuf *ret)
{
	if (bootstrap->wants_result)
		add_result(address, ret);
	else if (bootstrap->json_version > 0)
		strbuf_addf(ret, "{\"version\":%d,\"address\":\"%s\",\"protocol\":\"ttrpc\"}\n",
			    bootstrap->json_version, address);
	else
		strbuf_addf(ret, "%s\n", address);
}

void bootstrap_done(struct bootstrap *bootstrap)
{
	if (bootstrap->options)
		google__protobuf__any__free_unpacked(bootstrap->options, NULL);
	*bootstrap = (struct bootstrap){};
}
