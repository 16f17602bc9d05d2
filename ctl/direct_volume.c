/* kiln-ctl direct-volume add | remove | stats | resize. */
#include <getopt.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "base/loop.h"
#include "base/socket.h"
#include "base/strings.h"
#include "ctl/ctl.h"
#include "proto/direct_volume.h"
#include "proto/ttrpc_client.h"
#include "proto/volumes.pb-c.h"

#define RUN_DIR "/run/kiln"

enum { STATS_TIMEOUT_MS = 15000, RESIZE_TIMEOUT_MS = 90000 };

struct volume_args {
	const char *run_dir;
	const char *path;
	const char *mount_info;
	uint64_t size; /* bytes; 0: not given */
};

static const struct option option_table[] = {
	{ "volume-path", required_argument, NULL, 'p' },
	{ "mount-info", required_argument, NULL, 'm' },
	{ "size", required_argument, NULL, 's' },
	{ "run-dir", required_argument, NULL, 'r' },
	{ "help", no_argument, NULL, 'h' },
	{},
};

static int set_size(const char *text, struct volume_args *args)
{
	if (str_to_u64(text, 1, INT64_MAX, &args->size) < 0)
		return ctl_usage(&ctl_direct_volume, "size '%s' is no number of bytes", text);
	return -1;
}

static int parse_options(int argc, char **argv, struct volume_args *args)
{
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, ":h", option_table, NULL)) != -1) {
		switch (c) {
		case 'p':
			args->path = optarg;
			break;
		case 'm':
			args->mount_info = optarg;
			break;
		case 's':
			if (set_size(optarg, args) >= 0)
				return CTL_USAGE;
			break;
		case 'r':
			args->run_dir = optarg;
			break;
		case 'h':
			return ctl_help(&ctl_direct_volume);
		default:
			return ctl_usage_option(&ctl_direct_volume, c, argv);
		}
	}
	return -1;
}

static int run_add(const struct volume_args *args)
{
	_cleanup_(error_done) struct error err = {};

	if (!args->mount_info)
		return ctl_usage(&ctl_direct_volume, "--mount-info is missing");
	if (direct_volume_add(args->run_dir, args->path, args->mount_info, &err) < 0)
		return ctl_fail(&err);
	return CTL_OK;
}

static int run_remove(const struct volume_args *args)
{
	_cleanup_(error_done) struct error err = {};

	if (direct_volume_remove(args->run_dir, args->path, &err) < 0)
		return ctl_fail(&err);
	return CTL_OK;
}

/* ---------------------------------------------------------------- asked of the sandbox's shim */

/* The caller frees *ret_response; may be NULL. */
static int ask(const struct volume_args *args, const char *method, const ProtobufCMessage *request,
	       uint64_t timeout_ms, ProtobufCMessage **ret_response, struct error *err)
{
	const struct ttrpc_call_options call = {
		.service = &kiln__shim__v1__volumes__descriptor,
		.method = method,
		.request = request,
		.timeout_ms = timeout_ms,
	};
	_cleanup_free_ char *address = NULL;
	int fd;
	int r = direct_volume_find_user(args->run_dir, args->path, &address, err);

	if (r < 0)
		return r;
	r = socket_connect(address, &fd, err);
	if (r < 0)
		return error_wrap(err, "the sandbox that had the volume %s is gone", args->path);
	_cleanup_(loop_free_cleanup) struct loop *loop = loop_new();
	struct ttrpc_client *client = ttrpc_client_new(loop, fd, NULL);

	r = ttrpc_client_call_wait(client, loop, &call, ret_response, NULL, NULL, err);
	ttrpc_client_free(client);
	return r < 0 ? error_wrap(err, "volume %s", args->path) : 0;
}

/* JSON's numbers have a sign. */
static json_int_t number(uint64_t value)
{
	return value > INT64_MAX ? INT64_MAX : (json_int_t)value;
}

/* As Kata's command prints it, for plugins that read it: units are numbers. */
static void print_stats(const Grpc__VolumeStatsResponse *stats)
{
	json_t *usage = json_array();

	for (size_t i = 0; i < stats->n_usage; i++) {
		const Grpc__VolumeUsage *item = stats->usage[i];
		json_array_append_new(
			usage, json_pack("{s:I, s:I, s:I, s:i}", "available",
					 number(item->available), "total", number(item->total),
					 "used", number(item->used), "unit", (int)item->unit));
	}
	json_t *json = json_pack("{s:o, s:{s:b, s:s}}", "usage", usage, "volume_condition",
				 "abnormal", 0, "message", "");
	json_dumpf(json, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(json);
}

static int run_stats(const struct volume_args *args)
{
	Kiln__Shim__V1__VolumeStatsRequest request = KILN__SHIM__V1__VOLUME_STATS_REQUEST__INIT;
	_cleanup_(error_done) struct error err = {};
	ProtobufCMessage *response = NULL;

	request.volume_path = (char *)args->path;
	if (ask(args, "Stats", &request.base, STATS_TIMEOUT_MS, &response, &err) < 0)
		return ctl_fail(&err);
	if (response)
		print_stats((const Grpc__VolumeStatsResponse *)response);
	protobuf_c_message_free_unpacked(response, NULL);
	return CTL_OK;
}

static int run_resize(const struct volume_args *args)
{
	Kiln__Shim__V1__VolumeResizeRequest request = KILN__SHIM__V1__VOLUME_RESIZE_REQUEST__INIT;
	_cleanup_(error_done) struct error err = {};
	ProtobufCMessage *response = NULL;

	if (args->size == 0)
		return ctl_usage(&ctl_direct_volume, "--size is missing");
	request.volume_path = (char *)args->path;
	request.size = args->size;
	if (ask(args, "Resize", &request.base, RESIZE_TIMEOUT_MS, &response, &err) < 0)
		return ctl_fail(&err);
	protobuf_c_message_free_unpacked(response, NULL);
	return CTL_OK;
}

/* ---------------------------------------------------------------- the command */

struct verb {
	const char *name;
	int (*run)(const struct volume_args *args);
};

static const struct verb verbs[] = {
	{ "add", run_add },
	{ "remove", run_remove },
	{ "stats", run_stats },
	{ "resize", run_resize },
};

/* kata-ctl's way: PATH, and what the verb wants besides. -1: go on; else the exit code. */
static int take_words(const struct verb *verb, int argc, char **argv, struct volume_args *args)
{
	int r = -1;

	if (optind < argc && !args->path)
		args->path = argv[optind++];
	if (optind < argc && verb->run == run_add && !args->mount_info)
		args->mount_info = argv[optind++];
	else if (optind < argc && verb->run == run_resize && args->size == 0)
		r = set_size(argv[optind++], args);
	if (r < 0 && optind < argc)
		r = ctl_usage(&ctl_direct_volume, "'%s' is one word too many", argv[optind]);
	if (r < 0 && !args->path)
		r = ctl_usage(&ctl_direct_volume, "--volume-path is missing");
	return r;
}

static int direct_volume_run(int argc, char **argv)
{
	struct volume_args args = { .run_dir = RUN_DIR };

	if (argc < 2)
		return ctl_usage(&ctl_direct_volume, "add, remove, stats or resize?");
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (!str_equal(argv[1], verbs[i].name))
			continue;
		int r = parse_options(argc - 1, argv + 1, &args);
		if (r < 0)
			r = take_words(&verbs[i], argc - 1, argv + 1, &args);
		return r >= 0 ? r : verbs[i].run(&args);
	}
	if (str_equal(argv[1], "--help") || str_equal(argv[1], "-h"))
		return ctl_help(&ctl_direct_volume);
	return ctl_usage(&ctl_direct_volume, "there is no '%s'", argv[1]);
}

static const char *word(size_t i)
{
	return i < ARRAY_SIZE(verbs) ? verbs[i].name : NULL;
}

const struct ctl_command ctl_direct_volume = {
	.name = "direct-volume",
	.usage =
		"kiln-ctl direct-volume add --volume-path PATH --mount-info JSON [--run-dir DIR]\n"
		"       kiln-ctl direct-volume remove --volume-path PATH [--run-dir DIR]\n"
		"       kiln-ctl direct-volume stats --volume-path PATH [--run-dir DIR]\n"
		"       kiln-ctl direct-volume resize --volume-path PATH --size BYTES [--run-dir DIR]\n"
		"       kiln-ctl direct-volume add PATH JSON, remove PATH, stats PATH, resize PATH BYTES",
	.summary = "give volumes to sandboxes as the block devices they are on",
	.help = "A storage plugin calls it, with the arguments of Kata Containers' command of this name.\n"
		"A container's bind mount whose source is PATH then shows the file system on the\n"
		"device, which the guest mounts: the host does not. stats says how full it is, in\n"
		"bytes (unit 1) and inodes (unit 2); resize makes the file system larger, when the\n"
		"device has become so (an image file becomes larger with it): both ask the sandbox\n"
		"that has the volume.\n\n"
		"  --volume-path PATH  the volume's folder on the host, where nothing is mounted\n"
		"  --mount-info JSON   {\"volume-type\": \"block\", \"device\": \"/dev/sdf\",\n"
		"                      \"fstype\": \"ext4\", \"options\": [\"noatime\"]}; device: a\n"
		"                      block device, or an image file\n"
		"  --size BYTES        how large it is to be\n"
		"  --run-dir DIR       the factory's run_dir (" RUN_DIR ")\n",
	.options = option_table,
	.word = word,
	.run = direct_volume_run,
};
