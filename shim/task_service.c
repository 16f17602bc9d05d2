#include "shim/task_service.h"

#include <unistd.h>

#include "base/memory.h"
#include "google/protobuf/empty.pb-c.h"
#include "proto/task.pb-c.h"
#include "proto/ttrpc_server.h"
#include "shim/shim.h"
#include "shim/task_service_priv.h"
#include "shim/timestamp.h"

struct task_pending *task_pending_new(struct ttrpc_call *call, struct container *container,
				      struct process *process)
{
	struct task_pending *pending = xnew(struct task_pending);

	pending->call = call;
	pending->container = container ? container_ref(container) : NULL;
	pending->process = process ? process_ref(process) : NULL;
	return pending;
}

void task_pending_free(struct task_pending *pending)
{
	container_unref(pending->container);
	process_unref(pending->process);
	free(pending);
}

void task_reply_empty(int number, const struct error *err, void *userdata)
{
	Google__Protobuf__Empty response = GOOGLE__PROTOBUF__EMPTY__INIT;

	if (number < 0)
		ttrpc_call_fail(userdata, err);
	else
		ttrpc_call_reply(userdata, &response.base);
}

struct task_target task_find(struct ttrpc_call *call, struct shim *shim, const char *id,
			     const char *exec_id)
{
	_cleanup_(error_done) struct error err = {};
	struct task_target target = {};

	if (shim_find(shim, id, &target.container, &err) == 0)
		(void)container_find(target.container, exec_id, &target.process, &err);
	if (!target.process)
		ttrpc_call_fail(call, &err);
	return target;
}

/* ---- Create, Start, Delete */

static void on_created(int number, const struct error *err, void *userdata)
{
	Containerd__Task__V2__CreateTaskResponse response =
		CONTAINERD__TASK__V2__CREATE_TASK_RESPONSE__INIT;
	struct task_pending *pending = userdata;
	struct process *init;

	if (number < 0) {
		ttrpc_call_fail(pending->call, err);
	} else if (container_find(pending->container, "", &init, NULL) == 0) {
		response.pid = process_pid(init);
		ttrpc_call_reply(pending->call, &response.base);
	}
	task_pending_free(pending);
}

static void on_create_cancelled(struct ttrpc_call *call _unused_, void *userdata)
{
	struct task_pending *pending = userdata;

	container_abort(pending->container);
}

static void on_create(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	struct task_pending *pending = task_pending_new(call, NULL, NULL);
	_cleanup_(error_done) struct error err = {};
	struct container *container;

	if (shim_create(userdata, (const Containerd__Task__V2__CreateTaskRequest *)message,
			on_created, pending, &container, &err) < 0) {
		ttrpc_call_fail(call, &err);
		task_pending_free(pending);
		return;
	}
	pending->container = container_ref(container);
	ttrpc_call_on_cancel(call, on_create_cancelled, pending);
}

static void on_started(int number, const struct error *err, void *userdata)
{
	Containerd__Task__V2__StartResponse response = CONTAINERD__TASK__V2__START_RESPONSE__INIT;
	struct task_pending *pending = userdata;

	if (number < 0) {
		ttrpc_call_fail(pending->call, err);
	} else {
		response.pid = process_pid(pending->process);
		ttrpc_call_reply(pending->call, &response.base);
	}
	task_pending_free(pending);
}

static void on_start(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Containerd__Task__V2__StartRequest *request =
		(const Containerd__Task__V2__StartRequest *)message;
	struct task_target target;

	target = task_find(call, userdata, request->id, request->exec_id);
	if (target.process)
		container_start(target.container, target.process, on_started,
				task_pending_new(call, NULL, target.process));
}

static void reply_deleted(struct ttrpc_call *call, const struct process *process)
{
	Containerd__Task__V2__DeleteResponse response = CONTAINERD__TASK__V2__DELETE_RESPONSE__INIT;
	Google__Protobuf__Timestamp time = timestamp_from_ns(process_exited_ns(process));

	response.pid = process_pid(process);
	response.exit_status = process_exit_status(process);
	response.exited_at = &time;
	ttrpc_call_reply(call, &response.base);
}

static void on_deleted(int number, const struct error *err, void *userdata)
{
	struct task_pending *pending = userdata;

	if (number < 0)
		ttrpc_call_fail(pending->call, err);
	else
		reply_deleted(pending->call, pending->process);
	task_pending_free(pending);
}

static void delete_container(struct ttrpc_call *call, struct container *container,
			     struct process *init)
{
	struct task_pending *pending = task_pending_new(call, NULL, init);
	_cleanup_(error_done) struct error err = {};

	if (container_delete(container, on_deleted, pending, &err) < 0)
		on_deleted(-err.number, &err, pending);
}

static void delete_exec(struct ttrpc_call *call, struct container *container,
			struct process *process)
{
	struct task_pending *pending = task_pending_new(call, NULL, process);
	_cleanup_(error_done) struct error err = {};

	(void)container_delete_exec(container, process, &err);
	on_deleted(-err.number, &err, pending);
}

static void on_delete(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Containerd__Task__V2__DeleteRequest *request =
		(const Containerd__Task__V2__DeleteRequest *)message;
	struct task_target target;

	/* A caller that gave up on its Create says so by this, not by cancelling the call. */
	if (!*request->exec_id)
		shim_abort(userdata, request->id);
	target = task_find(call, userdata, request->id, request->exec_id);
	if (!target.process)
		return;
	if (*request->exec_id)
		delete_exec(call, target.container, target.process);
	else if (container_state(target.container) != CONTAINER_CREATED)
		ttrpc_call_fail_code(call, TTRPC_FAILED_PRECONDITION,
				     "container %s is being deleted", request->id);
	else
		delete_container(call, target.container, target.process);
}

/* ---- what happens to a running process */

static void on_exec(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Containerd__Task__V2__ExecProcessRequest *request =
		(const Containerd__Task__V2__ExecProcessRequest *)message;
	_cleanup_(error_done) struct error err = {};
	struct container *container;

	if (shim_find(userdata, request->id, &container, &err) == 0)
		(void)container_add_exec(container, request, &err);
	task_reply_empty(-err.number, &err, call);
}

static void on_kill(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Containerd__Task__V2__KillRequest *request =
		(const Containerd__Task__V2__KillRequest *)message;
	struct task_target target;

	target = task_find(call, userdata, request->id, request->exec_id);
	if (target.process)
		process_kill(target.process, request->signal, request->all && !*request->exec_id,
			     task_reply_empty, call);
}

static void on_resize(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Containerd__Task__V2__ResizePtyRequest *request =
		(const Containerd__Task__V2__ResizePtyRequest *)message;
	struct task_target target;

	target = task_find(call, userdata, request->id, request->exec_id);
	if (target.process)
		process_resize(target.process, request->width, request->height, task_reply_empty,
			       call);
}

static void on_close_io(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Containerd__Task__V2__CloseIORequest *request =
		(const Containerd__Task__V2__CloseIORequest *)message;
	struct task_target target;

	target = task_find(call, userdata, request->id, request->exec_id);
	if (!target.process)
		return;
	if (request->stdin)
		process_close_stdin(target.process);
	task_reply_empty(0, NULL, call);
}

static void on_waited(int number _unused_, const struct error *err _unused_, void *userdata)
{
	Containerd__Task__V2__WaitResponse response = CONTAINERD__TASK__V2__WAIT_RESPONSE__INIT;
	struct task_pending *pending = userdata;
	const struct process *process = pending->process;
	Google__Protobuf__Timestamp time = timestamp_from_ns(process_exited_ns(process));

	response.exit_status = process_exit_status(process);
	response.exited_at = &time;
	ttrpc_call_reply(pending->call, &response.base);
	task_pending_free(pending);
}

static void on_wait_cancelled(struct ttrpc_call *call, void *userdata)
{
	struct task_pending *pending = userdata;

	process_wait_cancel(pending->process, pending);
	ttrpc_call_drop(call);
	task_pending_free(pending);
}

static void on_wait(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Containerd__Task__V2__WaitRequest *request =
		(const Containerd__Task__V2__WaitRequest *)message;
	struct task_pending *pending;
	struct task_target target;

	target = task_find(call, userdata, request->id, request->exec_id);
	if (!target.process)
		return;
	pending = task_pending_new(call, NULL, target.process);
	if (process_state(target.process) == PROCESS_STOPPED) {
		on_waited(0, NULL, pending);
		return;
	}
	ttrpc_call_on_cancel(call, on_wait_cancelled, pending);
	process_wait(target.process, on_waited, pending);
}

/* ---- questions */

static void on_state(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Containerd__Task__V2__StateRequest *request =
		(const Containerd__Task__V2__StateRequest *)message;
	Containerd__Task__V2__StateResponse response = CONTAINERD__TASK__V2__STATE_RESPONSE__INIT;
	Google__Protobuf__Timestamp time;
	const struct stdio *stdio;
	struct task_target target;

	target = task_find(call, userdata, request->id, request->exec_id);
	if (!target.process)
		return;
	stdio = process_stdio(target.process);
	time = timestamp_from_ns(process_exited_ns(target.process));
	response.id = request->id;
	response.bundle = (char *)container_bundle(target.container);
	response.pid = process_pid(target.process);
	response.status = process_state_status(process_state(target.process));
	if (container_is_paused(target.container) &&
	    process_state(target.process) == PROCESS_RUNNING)
		response.status = CONTAINERD__V1__TYPES__STATUS__PAUSED;
	response.stdin = stdio->in;
	response.stdout = stdio->out;
	response.stderr = stdio->err;
	response.terminal = stdio->terminal;
	response.exec_id = request->exec_id;
	if (process_state(target.process) == PROCESS_STOPPED) {
		response.exit_status = process_exit_status(target.process);
		response.exited_at = &time;
	}
	ttrpc_call_reply(call, &response.base);
}

static void on_connect(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Containerd__Task__V2__ConnectRequest *request =
		(const Containerd__Task__V2__ConnectRequest *)message;
	Containerd__Task__V2__ConnectResponse response =
		CONTAINERD__TASK__V2__CONNECT_RESPONSE__INIT;

	response.shim_pid = (uint32_t)getpid();
	response.task_pid = shim_task_pid(userdata, request->id);
	response.version = (char *)KILN_VERSION;
	ttrpc_call_reply(call, &response.base);
}

static void on_shutdown(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Containerd__Task__V2__ShutdownRequest *request =
		(const Containerd__Task__V2__ShutdownRequest *)message;

	task_reply_empty(0, NULL, call);
	if (request->now)
		shim_end(userdata);
	else
		shim_shutdown(userdata);
}

static const struct ttrpc_method methods[] = {
	{ "Create", on_create },
	{ "Start", on_start },
	{ "Delete", on_delete },
	{ "Exec", on_exec },
	{ "Kill", on_kill },
	{ "ResizePty", on_resize },
	{ "CloseIO", on_close_io },
	{ "Wait", on_wait },
	{ "State", on_state },
	{ "Connect", on_connect },
	{ "Shutdown", on_shutdown },
	{ "Pids", task_on_pids },
	{ "Pause", task_on_pause },
	{ "Resume", task_on_resume },
	{ "Update", task_on_update },
	{ "Stats", task_on_stats },
	{ "Checkpoint", task_on_checkpoint },
};

/* Version 3 is version 2 by another name: methods and messages are the same. */
void task_service_add(struct ttrpc_server *server)
{
	static ProtobufCServiceDescriptor v3;
	const ProtobufCServiceDescriptor *const versions[] = {
		&containerd__task__v2__task__descriptor,
		&v3,
	};

	v3 = containerd__task__v2__task__descriptor;
	v3.name = "containerd.task.v3.Task";
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++)
		ttrpc_server_add(server, &(struct ttrpc_service){
						 .descriptor = versions[i],
						 .methods = methods,
						 .nmethods = ARRAY_SIZE(methods),
					 });
}
