/* containerd-shim-kiln-v2: containerd's runtime v2 shim for containers in pooled machines. The
 * runtime's name is io.containerd.kiln.v2. */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "proto/runtime_info.pb-c.h"
#include "shim/arguments.h"
#include "shim/bundle.h"
#include "shim/delete.h"
#include "shim/settings.h"
#include "shim/start.h"

static const struct action {
	const char *name;
	int (*run)(const struct arguments *arguments, struct error *err);
} actions[] = {
	{ "start", start_run },
	{ "delete", delete_run },
};

static int print_version(void)
{
	printf("%s:\n  Version:  %s\n", SHIM_PROGRAM, KILN_VERSION);
	return 0;
}

/* What containerd asks for before it uses it, as features.md of the OCI runtime specification has
 * it: mounts that are read-only with all below them, and those of a user namespace, without which a
 * kubelet starts no pod with `hostUsers: false` (shim/user_namespace.h). */
static const char features[] =
	"{\"ociVersionMin\":\"1.0.0\",\"ociVersionMax\":\"1.2.0\","
	"\"mountOptions\":[\"rro\",\"idmap\",\"ridmap\"],"
	"\"linux\":{\"namespaces\":[\"cgroup\",\"ipc\",\"mount\",\"network\","
	"\"pid\",\"time\",\"user\",\"uts\"],"
	"\"mountExtensions\":{\"idmap\":{\"enabled\":true}}}}";

static int print_info(struct error *err)
{
	Containerd__Types__RuntimeInfo info = CONTAINERD__TYPES__RUNTIME_INFO__INIT;
	Containerd__Types__RuntimeVersion version = CONTAINERD__TYPES__RUNTIME_VERSION__INIT;
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	uint8_t data[1024];
	size_t len;

	version.version = (char *)KILN_VERSION;
	any.type_url =
		(char *)"types.containerd.io/opencontainers/runtime-spec/1/features/Features";
	any.value.data = (uint8_t *)features;
	any.value.len = sizeof(features) - 1;
	info.name = (char *)"io.containerd.kiln.v2";
	info.version = &version;
	info.features = &any;
	len = containerd__types__runtime_info__get_packed_size(&info);
	if (len > sizeof(data))
		return error_set(err, EOVERFLOW, "the answer has %zu bytes", len);
	containerd__types__runtime_info__pack(&info, data);
	if (write_full(STDOUT_FILENO, data, len) < 0)
		return error_set_errno(err, errno, "cannot write the answer");
	return 0;
}

static int print_usage(void)
{
	printf("Usage: %s [-namespace NS] [-address SOCKET] [-publish-binary PATH] [-id ID]\n"
	       "       [-bundle DIR] [-debug] start|delete\n"
	       "       %s -v | -info | -help-config\n"
	       "containerd calls it; the runtime is io.containerd.kiln.v2.\n",
	       SHIM_PROGRAM, SHIM_PROGRAM);
	return 0;
}

static int print_config(void)
{
	settings_print(stdout);
	return 0;
}

static int run_action(const struct arguments *arguments, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		if (!str_equal(actions[i].name, arguments->action))
			continue;
		if (!id_is_valid(arguments->id))
			return error_set(err, EINVAL, "\"%s\" is no valid container id (-id)",
					 arguments->id);
		return actions[i].run(arguments, err);
	}
	return error_set(err, EINVAL, "\"%s\" is no command: start or delete", arguments->action);
}

static int run(int argc, char *const *argv, struct error *err)
{
	struct arguments arguments;
	int r;

	r = arguments_parse(argc, argv, &arguments, err);
	if (r < 0)
		return r;
	if (arguments.help)
		return print_usage();
	if (arguments.version)
		return print_version();
	if (arguments.help_config)
		return print_config();
	if (arguments.info)
		return print_info(err);
	return run_action(&arguments, err);
}

int main(int argc, char **argv)
{
	_cleanup_(error_done) struct error err = {};

	log_init(SHIM_PROGRAM, STDERR_FILENO, LOG_LEVEL_WARNING, LOG_FORMAT_TEXT);
	if (run(argc, argv, &err) >= 0)
		return 0;
	fprintf(stderr, "%s: %s\n", SHIM_PROGRAM, error_message(&err));
	return 1;
}
