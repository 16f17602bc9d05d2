#include "shim/volume_service.h"

#include <stdlib.h>

#include "base/memory.h"
#include "proto/agent.pb-c.h"
#include "proto/ttrpc_server.h"
#include "proto/volumes.pb-c.h"
#include "shim/disks.h"
#include "shim/shim.h"

enum { STATS_TIMEOUT_MS = 10000, RESIZE_TIMEOUT_MS = 60000 };

/* ---------------------------------------------------------------- Stats */

static void on_guest_stats(const struct ttrpc_reply *reply, void *userdata)
{
	struct ttrpc_call *call = userdata;

	if (reply->code == TTRPC_OK)
		ttrpc_call_reply(call, reply->response);
	else
		ttrpc_call_fail_code(call, reply->code, "%s", reply->message);
}

static void on_stats(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Shim__V1__VolumeStatsRequest *request =
		(const Kiln__Shim__V1__VolumeStatsRequest *)message;
	Grpc__VolumeStatsRequest guest = GRPC__VOLUME_STATS_REQUEST__INIT;
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *path = NULL;
	struct agent_link *agent;
	struct disk *disk;

	if (shim_find_volume(userdata, request->volume_path, &disk, &path, &agent, &err) < 0) {
		ttrpc_call_fail(call, &err);
		return;
	}
	guest.volume_guest_path = path;
	agent_call(agent, "GetVolumeStats", &guest.base, STATS_TIMEOUT_MS, on_guest_stats, call);
}

/* ---------------------------------------------------------------- Resize */

struct resize {
	struct ttrpc_call *call;
	struct shim *shim;
	char *volume_path;
	uint64_t size;
};

static void resize_fail(struct resize *resize, const struct error *err)
{
	ttrpc_call_fail(resize->call, err);
	free(resize->volume_path);
	free(resize);
}

static void on_guest_resized(const struct ttrpc_reply *reply, void *userdata)
{
	Kiln__Shim__V1__VolumeResizeResponse response =
		KILN__SHIM__V1__VOLUME_RESIZE_RESPONSE__INIT;
	struct ttrpc_call *call = userdata;

	if (reply->code == TTRPC_OK)
		ttrpc_call_reply(call, &response.base);
	else
		ttrpc_call_fail_code(call, reply->code, "%s", reply->message);
}

/* The container may have gone meanwhile, so the volume is looked up again. */
static void on_disk_resized(int number, const struct error *why, void *userdata)
{
	struct resize *resize = userdata;
	Grpc__ResizeVolumeRequest guest = GRPC__RESIZE_VOLUME_REQUEST__INIT;
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *path = NULL;
	struct agent_link *agent;
	struct disk *disk;

	if (number < 0) {
		resize_fail(resize, why);
		return;
	}
	if (shim_find_volume(resize->shim, resize->volume_path, &disk, &path, &agent, &err) < 0) {
		resize_fail(resize, &err);
		return;
	}
	guest.volume_guest_path = path;
	guest.size = resize->size;
	agent_call(agent, "ResizeVolume", &guest.base, RESIZE_TIMEOUT_MS, on_guest_resized,
		   resize->call);
	free(resize->volume_path);
	free(resize);
}

static void on_resize(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Shim__V1__VolumeResizeRequest *request =
		(const Kiln__Shim__V1__VolumeResizeRequest *)message;
	struct resize *resize = xnew(struct resize);
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *path = NULL;
	struct agent_link *agent;
	struct disk *disk;

	*resize = (struct resize){ call, userdata, xstrdup(request->volume_path), request->size };
	if (shim_find_volume(userdata, request->volume_path, &disk, &path, &agent, &err) < 0)
		resize_fail(resize, &err);
	else
		disk_resize(disk, request->size, on_disk_resized, resize);
}

static const struct ttrpc_method methods[] = {
	{ "Stats", on_stats },
	{ "Resize", on_resize },
};

static const struct ttrpc_service service = {
	.descriptor = &kiln__shim__v1__volumes__descriptor,
	.methods = methods,
	.nmethods = ARRAY_SIZE(methods),
};

void volume_service_add(struct ttrpc_server *server)
{
	ttrpc_server_add(server, &service);
}
