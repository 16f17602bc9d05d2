/* A stand-in for a clone's QEMU and the agent in its guest: the test binary started again. It
 * inherits the same listening sockets (3: agent, 4 and 5: monitors), speaks just enough QMP and
 * ttRPC, and misbehaves as its mode says. */
#pragma once

#include <event2/buffer.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/memory.h"
#include "base/stream.h"
#include "base/strings.h"
#include "google/protobuf/empty.pb-c.h"
#include "proto/agent.pb-c.h"
#include "proto/health.pb-c.h"
#include "proto/ttrpc_server.h"

struct fake_qemu {
	struct loop *loop;
	const char *mode;
	const char *status;
	struct ttrpc_server *agent;
	unsigned checks, reads;
	uint32_t onlined;          /* vCPUs */
	json_int_t requested_size; /* of the memory device */
	struct ttrpc_call *forgotten;
	struct fake_monitor *held; /* "held-stop": who waits for the answer to stop */
	json_t *held_id;           /* until somebody connects to the second monitor */
};

struct fake_monitor {
	struct fake_qemu *qemu;
	struct stream *stream;
};

static bool fake_is(const struct fake_qemu *qemu, const char *mode)
{
	return str_equal(qemu->mode, mode);
}

static _Noreturn void fake_die(const char *words, int status)
{
	fprintf(stderr, "an earlier line\n%s\n", words);
	fflush(stderr);
	_exit(status);
}

/* ---- the agent */

static void fake_check(struct ttrpc_call *call, const ProtobufCMessage *request _unused_,
		       void *userdata)
{
	struct fake_qemu *qemu = userdata;
	if (fake_is(qemu, "deaf")) {
		ttrpc_call_fail_code(call, TTRPC_UNAVAILABLE, "deaf");
		return;
	}
	if (fake_is(qemu, "forgetful") && qemu->checks++ == 0) {
		qemu->forgotten = call;
		return;
	}
	Grpc__HealthCheckResponse response = GRPC__HEALTH_CHECK_RESPONSE__INIT;
	response.status = GRPC__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
	ttrpc_call_reply(call, &response.base);
}

static void fake_version(struct ttrpc_call *call, const ProtobufCMessage *request _unused_,
			 void *userdata)
{
	struct fake_qemu *qemu = userdata;
	Grpc__VersionCheckResponse response = GRPC__VERSION_CHECK_RESPONSE__INIT;
	response.agent_version = (char *)(fake_is(qemu, "odd-version") ? "1\n2" : "1.2.3");
	ttrpc_call_reply(call, &response.base);
}

static void fake_empty(struct ttrpc_call *call, const ProtobufCMessage *request _unused_,
		       void *userdata)
{
	struct fake_qemu *qemu = userdata;
	const char *method = ttrpc_call_method(call);
	if (fake_is(qemu, "no-reseed") && str_equal(method, "ReseedRandomDev")) {
		ttrpc_call_fail_code(call, TTRPC_INTERNAL, "no /dev/random");
		return;
	}
	if (fake_is(qemu, "no-sandbox") && str_equal(method, "CreateSandbox")) {
		ttrpc_call_fail_code(call, TTRPC_INTERNAL, "no room");
		return;
	}
	if (fake_is(qemu, "killed-warming") && str_equal(method, "CreateContainer"))
		raise(SIGKILL);
	Google__Protobuf__Empty response = GOOGLE__PROTOBUF__EMPTY__INIT;
	ttrpc_call_reply(call, &response.base);
}

static void fake_online(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	struct fake_qemu *qemu = userdata;
	const Grpc__OnlineCPUMemRequest *request = (const Grpc__OnlineCPUMemRequest *)message;
	qemu->onlined += request->nb_cpus;
	if (fake_is(qemu, "few-cpus") && qemu->onlined > 1) {
		ttrpc_call_fail_code(call, TTRPC_NOT_FOUND, "2 vCPUs are to come online");
		return;
	}
	if (fake_is(qemu, "killed-growing"))
		raise(SIGKILL);
	fake_empty(call, message, userdata);
}

static void fake_interface(struct ttrpc_call *call, const ProtobufCMessage *request, void *userdata)
{
	struct fake_qemu *qemu = userdata;
	const Types__Interface *wanted = ((const Grpc__UpdateInterfaceRequest *)request)->interface;
	/* Of one card, locally administered; or the rehearsal of a network. */
	bool good = wanted->n_ipaddresses > 0 ||
		    (strlen(wanted->hwaddr) == 17 && strchr("26ae", wanted->hwaddr[1]));
	if (fake_is(qemu, "no-card"))
		ttrpc_call_fail_code(call, TTRPC_NOT_FOUND, "no interface");
	else if ((fake_is(qemu, "no-mac") && wanted->n_ipaddresses == 0) || !good)
		ttrpc_call_fail_code(call, TTRPC_INTERNAL, "no address");
	else
		ttrpc_call_reply(call, &wanted->base);
}

static void fake_wait(struct ttrpc_call *call, const ProtobufCMessage *request _unused_,
		      void *userdata)
{
	struct fake_qemu *qemu = userdata;
	Grpc__WaitProcessResponse response = GRPC__WAIT_PROCESS_RESPONSE__INIT;
	response.status = fake_is(qemu, "bad-rehearsal") ? 127 : 0;
	ttrpc_call_reply(call, &response.base);
}

static void fake_read(struct ttrpc_call *call, const ProtobufCMessage *request _unused_,
		      void *userdata)
{
	struct fake_qemu *qemu = userdata;
	Grpc__ReadStreamResponse response = GRPC__READ_STREAM_RESPONSE__INIT;
	if (qemu->reads++ % 2 == 0 || fake_is(qemu, "endless-output")) {
		response.data.data = (uint8_t *)"1.2.3\n";
		response.data.len = 6;
	}
	ttrpc_call_reply(call, &response.base);
}

static void fake_agent_start(struct fake_qemu *qemu)
{
	static const struct ttrpc_method health[] = {
		{ "Check", fake_check },
		{ "Version", fake_version },
	};
	static const struct ttrpc_method agent[] = {
		{ "ReseedRandomDev", fake_empty },     { "SetGuestDateTime", fake_empty },
		{ "CreateSandbox", fake_empty },       { "CreateContainer", fake_empty },
		{ "StartContainer", fake_empty },      { "WaitProcess", fake_wait },
		{ "ReadStdout", fake_read },           { "RemoveContainer", fake_empty },
		{ "DestroySandbox", fake_empty },      { "OnlineCPUMem", fake_online },
		{ "UpdateInterface", fake_interface },
	};
	qemu->agent = ttrpc_server_new(qemu->loop, &(struct ttrpc_server_options){
							   .userdata = qemu,
						   });
	ttrpc_server_add(qemu->agent, &(struct ttrpc_service){ &grpc__health__descriptor, health,
							       ARRAY_SIZE(health) });
	ttrpc_server_add(qemu->agent, &(struct ttrpc_service){ &grpc__agent_service__descriptor,
							       agent, ARRAY_SIZE(agent) });
	ttrpc_server_listen(qemu->agent, 3);
}

/* ---- the monitor */

static void fake_send(struct fake_monitor *monitor, json_t *message)
{
	_cleanup_free_ char *text = json_dumps(message, JSON_COMPACT);
	stream_write(monitor->stream, text, strlen(text), NULL, 0);
	stream_write(monitor->stream, "\r\n", 2, NULL, 0);
	json_decref(message);
}

static void fake_send_migration(struct fake_monitor *monitor, const char *status)
{
	fake_send(monitor,
		  json_pack("{s:s, s:{s:s}, s:{s:i, s:i}}", "event", "MIGRATION", "data", "status",
			    status, "timestamp", "seconds", 1, "microseconds", 2));
}

static json_t *fake_chardevs(const struct fake_qemu *qemu)
{
	return json_pack("[{s:s, s:s}]", "label", "channel0", "filename",
			 fake_is(qemu, "unheld") ? "disconnected:fd:3,server=on"
						 : "unix:/x/agent.sock,server=on");
}

/* The memory device: the guest takes what is requested, or half of it. */
static json_t *fake_device(struct fake_qemu *qemu, const char *command, const json_t *arguments)
{
	if (fake_is(qemu, "no-device"))
		return NULL;
	if (str_equal(command, "qom-get"))
		return json_integer(fake_is(qemu, "half") ? qemu->requested_size / 2
							  : qemu->requested_size);
	qemu->requested_size = json_integer_value(json_object_get(arguments, "value"));
	return json_object();
}

static json_t *fake_execute(struct fake_monitor *monitor, const char *command,
			    const json_t *arguments)
{
	struct fake_qemu *qemu = monitor->qemu;
	if (str_equal(command, "cont")) {
		if (fake_is(qemu, "no-cont"))
			return NULL;
		qemu->status = "running";
	} else if (str_equal(command, "stop")) {
		qemu->status = "paused";
	} else if (str_equal(command, "query-status")) {
		return json_pack("{s:s}", "status", qemu->status);
	} else if (str_after(command, "qom-")) {
		return fake_device(qemu, command, arguments);
	} else if (str_equal(command, "query-chardev")) {
		return fake_chardevs(qemu);
	} else if (str_equal(command, "migrate-incoming")) {
		if (fake_is(qemu, "bad-state"))
			fake_die("qemu: load of migration failed", 1);
		qemu->status = "paused";
	} else if (str_equal(command, "getfd")) {
		close_fd(stream_take_fd(monitor->stream));
	}
	return json_object();
}

/* What no QEMU says: before an answer those to other commands and events, after it one more. */
static void fake_chatter(struct fake_monitor *monitor, json_t *id)
{
	for (json_int_t other = -2; other < 200; other++) {
		if (other == json_integer_value(id))
			continue;
		fake_send(monitor,
			  json_pack("{s:{s:s}, s:I}", "return", "status", "running", "id", other));
		fake_send(monitor, json_pack("{s:s}", "event", "STOP"));
		fake_send_migration(monitor, "nonsense");
	}
}

static void fake_return(struct fake_monitor *monitor, json_t *result, json_t *id)
{
	if (fake_is(monitor->qemu, "chatter"))
		fake_chatter(monitor, id);
	if (fake_is(monitor->qemu, "twice"))
		fake_send(monitor, json_pack("{s:O, s:O*}", "return", result, "id", id));
	fake_send(monitor, json_pack("{s:o, s:O*}", "return", result, "id", id));
}

static void fake_endless_line(struct fake_monitor *monitor)
{
	static char spaces[1 << 20];

	memset(spaces, ' ', sizeof(spaces));
	for (int i = 0; i < 8; i++)
		stream_write(monitor->stream, spaces, sizeof(spaces), NULL, 0);
}

static void fake_hold(struct fake_monitor *monitor, json_t *id)
{
	monitor->qemu->held = monitor;
	monitor->qemu->held_id = json_incref(id);
}

static void fake_release(struct fake_qemu *qemu)
{
	struct fake_monitor *monitor = steal_ptr(qemu->held);
	if (monitor)
		fake_return(monitor, json_object(), qemu->held_id);
	json_decref(steal_ptr(qemu->held_id));
}

static void fake_on_line(struct fake_monitor *monitor, const char *line)
{
	json_t *request = json_loads(line, 0, NULL);
	const char *command = json_string_value(json_object_get(request, "execute"));
	json_t *id = json_object_get(request, "id");
	json_t *result = fake_execute(monitor, command, json_object_get(request, "arguments"));
	if (str_equal(command, "cont") && fake_is(monitor->qemu, "endless-line"))
		fake_endless_line(monitor);
	if (str_equal(command, "cont") && fake_is(monitor->qemu, "hangs-up"))
		stream_free(steal_ptr(monitor->stream));
	if (!monitor->stream) {
		json_decref(result);
	} else if (str_equal(command, "stop") && fake_is(monitor->qemu, "held-stop")) {
		fake_hold(monitor, id);
		json_decref(result);
	} else if (result)
		fake_return(monitor, result, id);
	else
		fake_send(monitor, json_pack("{s:{s:s, s:s}, s:O*}", "error", "class",
					     "GenericError", "desc", "no", "id", id));
	if (str_equal(command, "migrate-incoming")) {
		fake_send_migration(monitor, "setup");
		fake_send_migration(monitor, "active");
		fake_send_migration(monitor, "completed");
	}
	json_decref(request);
}

static void fake_on_data(struct stream *stream _unused_, struct evbuffer *input, void *userdata)
{
	struct fake_monitor *monitor = userdata;
	for (char *line;
	     monitor->stream && (line = evbuffer_readln(input, NULL, EVBUFFER_EOL_CRLF));) {
		if (*line)
			fake_on_line(monitor, line);
		free(line);
	}
}

/* A monitor lives as long as the process: this one ends by being killed. */
static void fake_on_monitor_end(struct stream *stream _unused_, int reason _unused_,
				void *userdata _unused_)
{
}

static void fake_on_connect(int fd, unsigned events _unused_, void *userdata)
{
	struct fake_monitor *monitor = xnew(struct fake_monitor);
	monitor->qemu = userdata;
	int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (conn < 0)
		fake_die("accept failed", 9);
	if (fd == 5)
		fake_release(userdata);
	monitor->stream = stream_new(monitor->qemu->loop, conn,
				     &(struct stream_options){ .on_data = fake_on_data,
							       .on_end = fake_on_monitor_end,
							       .userdata = monitor });
	fake_send(monitor,
		  json_pack("{s:{s:{s:{s:i,s:i,s:i},s:s},s:[]}}", "QMP", "version", "qemu", "micro",
			    0, "minor", 2, "major", 7, "package", "", "capabilities"));
}

/* argv: program, "fake-qemu", mode, share folder. */
static int fake_qemu_main(char **argv)
{
	struct fake_qemu qemu = { .loop = loop_new(), .mode = argv[2], .status = "inmigrate" };
	signal(SIGPIPE, SIG_IGN);
	if (fake_is(&qemu, "no-start"))
		fake_die("qemu: unknown \033[31moption", 1);
	fake_agent_start(&qemu);
	loop_watch_new(qemu.loop, 4, LOOP_READ, fake_on_connect, &qemu);
	loop_watch_new(qemu.loop, 5, LOOP_READ, fake_on_connect, &qemu);
	loop_run(qemu.loop);
	return 0;
}
