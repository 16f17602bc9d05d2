#include "bench/empty_shim.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "base/socket.h"
#include "base/strings.h"
#include "google/protobuf/empty.pb-c.h"
#include "proto/task.pb-c.h"
#include "proto/ttrpc_server.h"

struct empty_shim {
	struct loop *loop;
	char *socket; /* owned; removed at the end */
	bool started;
	bool over; /* Shutdown was answered; the end of its connection is ours */
	int fifos[2];
};

/* ---------------------------------------------------------------- the task */

/* ctr waits for the other end of its FIFOs. */
static void on_create(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Containerd__Task__V2__CreateTaskRequest *request =
		(const Containerd__Task__V2__CreateTaskRequest *)message;
	Containerd__Task__V2__CreateTaskResponse response =
		CONTAINERD__TASK__V2__CREATE_TASK_RESPONSE__INIT;
	const char *const paths[] = { request->stdout, request->stderr };
	struct empty_shim *shim = userdata;

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		if (!str_empty(paths[i]))
			shim->fifos[i] = open(paths[i], O_RDWR | O_NONBLOCK | O_CLOEXEC);
	}
	response.pid = (uint32_t)getpid();
	ttrpc_call_reply(call, &response.base);
}

static void on_start(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
		     void *userdata)
{
	Containerd__Task__V2__StartResponse response = CONTAINERD__TASK__V2__START_RESPONSE__INIT;
	struct empty_shim *shim = userdata;

	shim->started = true;
	for (size_t i = 0; i < ARRAY_SIZE(shim->fifos); i++)
		shim->fifos[i] = close_fd(shim->fifos[i]);
	response.pid = (uint32_t)getpid();
	ttrpc_call_reply(call, &response.base);
}

static void on_wait(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
		    void *userdata _unused_)
{
	Containerd__Task__V2__WaitResponse response = CONTAINERD__TASK__V2__WAIT_RESPONSE__INIT;
	Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;

	response.exited_at = &time;
	ttrpc_call_reply(call, &response.base);
}

static void on_state(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Containerd__Task__V2__StateRequest *request =
		(const Containerd__Task__V2__StateRequest *)message;
	Containerd__Task__V2__StateResponse response = CONTAINERD__TASK__V2__STATE_RESPONSE__INIT;
	const struct empty_shim *shim = userdata;

	response.id = request->id;
	response.pid = (uint32_t)getpid();
	response.status = shim->started ? CONTAINERD__V1__TYPES__STATUS__STOPPED
					: CONTAINERD__V1__TYPES__STATUS__CREATED;
	ttrpc_call_reply(call, &response.base);
}

static void on_delete(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
		      void *userdata _unused_)
{
	Containerd__Task__V2__DeleteResponse response = CONTAINERD__TASK__V2__DELETE_RESPONSE__INIT;
	Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;

	response.pid = (uint32_t)getpid();
	response.exited_at = &time;
	ttrpc_call_reply(call, &response.base);
}

static void on_connect(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
		       void *userdata _unused_)
{
	Containerd__Task__V2__ConnectResponse response =
		CONTAINERD__TASK__V2__CONNECT_RESPONSE__INIT;

	response.shim_pid = (uint32_t)getpid();
	response.task_pid = (uint32_t)getpid();
	ttrpc_call_reply(call, &response.base);
}

static void on_shutdown(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
			void *userdata)
{
	Google__Protobuf__Empty response = GOOGLE__PROTOBUF__EMPTY__INIT;
	struct empty_shim *shim = userdata;

	shim->over = true;
	ttrpc_call_reply(call, &response.base);
}

static void on_conn_end(struct ttrpc_conn *conn _unused_, void *userdata)
{
	struct empty_shim *shim = userdata;

	if (shim->over)
		loop_stop(shim->loop);
}

static const struct ttrpc_method methods[] = {
	{ "Create", on_create },     { "Start", on_start },   { "Wait", on_wait },
	{ "State", on_state },       { "Delete", on_delete }, { "Connect", on_connect },
	{ "Shutdown", on_shutdown },
};

static const struct ttrpc_service service = {
	.descriptor = &containerd__task__v2__task__descriptor,
	.methods = methods,
	.nmethods = ARRAY_SIZE(methods),
};

/* ---------------------------------------------------------------- the process */

static int shim_serve(struct empty_shim *shim, int listen_fd)
{
	_cleanup_(ttrpc_server_free_cleanup) struct ttrpc_server *server = NULL;
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || setsid() < 0 || chdir("/") < 0)
		return EXIT_FAILURE;
	for (int fd = 0; fd <= 2; fd++)
		(void)!dup2(null, fd);
	shim->loop = loop_new();
	server = ttrpc_server_new(
		shim->loop,
		&(struct ttrpc_server_options){ .userdata = shim, .on_conn_end = on_conn_end });
	ttrpc_server_add(server, &service);
	ttrpc_server_listen(server, listen_fd);
	loop_run(shim->loop);
	unlink(shim->socket);
	return EXIT_SUCCESS;
}

static int shim_start(const char *id)
{
	_cleanup_(error_done) struct error err = {};
	struct empty_shim shim = { .fifos = { -EBADF, -EBADF } };
	_cleanup_free_ char *path = xasprintf("/tmp/kiln-bench-empty.%s", id);
	int fd = -EBADF;

	shim.socket = path;
	if (!id_is_valid(id) || socket_listen_unix(path, 0600, &fd, &err) < 0) {
		fprintf(stderr, EMPTY_SHIM ": %s\n", error_message(&err));
		return EXIT_FAILURE;
	}
	pid_t pid = fork();
	if (pid == 0)
		return shim_serve(&shim, fd);
	close(fd);
	if (pid < 0)
		return EXIT_FAILURE;
	printf("unix://%s\n", path);
	return EXIT_SUCCESS;
}

/* -namespace NS -address SOCKET -publish-binary FILE -id ID [-debug] start|delete */
int empty_shim_main(int argc, char **argv)
{
	const char *id = "";

	for (int i = 1; i + 1 < argc; i++) {
		if (str_equal(argv[i], "-id"))
			id = argv[i + 1];
	}
	return str_equal(argv[argc - 1], "start") ? shim_start(id) : EXIT_SUCCESS;
}
