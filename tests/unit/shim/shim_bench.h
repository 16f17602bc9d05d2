/* A whole shim between a scripted factory, agent and containerd. Bundles and the share are real;
 * mounts are made in a mount namespace of the test's own. */
#pragma once

#include "fake_agent.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/spawn.h"
#include "proto/events.pb-c.h"
#include "proto/events_ttrpc.pb-c.h"
#include "proto/factory.pb-c.h"
#include "proto/runtimeoptions.pb-c.h"
#include "proto/sandbox.pb-c.h"
#include "proto/task.pb-c.h"
#include "proto/ttrpc_client.h"
#include "runc_spec.h"
#include "shim/bundle.h"
#include "shim/shim.h"

/* Of an exec. */
#define PROCESS_JSON "{\"args\":[\"ls\"],\"cwd\":\"/\"}"

struct bench {
	char dir[32];
	struct loop *loop;
	struct fake_agent agent;
	struct ttrpc_server *factory;
	struct ttrpc_server *containerd;
	struct shim *shim;
	struct ttrpc_client *client;
	pid_t vmm;
	int vmm_pidfd;
	unsigned claims, releases;
	unsigned conns; /* to the factory and containerd */
	bool refuse_claim;
	const char *image_cache;       /* of the machine; NULL: there is none */
	struct ttrpc_call *image_wait; /* for an image to be made; NULL: nobody waits */
	const char *config;            /* of the runtime, JSON; NULL: none */
	int (*connect_agent)(void); /* the claim's end of another agent; NULL: of the one above */
	struct strbuf events;       /* "/tasks/create c1;..." */
	uint32_t last_exit_status;
};

/* ---- the factory */

static inline void bench_on_claim(struct ttrpc_call *call, const ProtobufCMessage *message _unused_,
				  void *userdata)
{
	Kiln__Factory__V1__ClaimResponse response = KILN__FACTORY__V1__CLAIM_RESPONSE__INIT;
	Kiln__Factory__V1__ClaimFd kinds[] = {
		KILN__FACTORY__V1__CLAIM_FD__CLAIM_FD_AGENT,
		KILN__FACTORY__V1__CLAIM_FD__CLAIM_FD_QMP,
		KILN__FACTORY__V1__CLAIM_FD__CLAIM_FD_PIDFD,
	};
	struct bench *bench = userdata;
	_cleanup_free_ char *vm_dir = path_join(bench->dir, "vms/vm1");
	_cleanup_free_ char *share = path_join(vm_dir, "share");
	int fds[3];

	bench->claims++;
	if (bench->refuse_claim) {
		ttrpc_call_fail_code(call, TTRPC_NOT_FOUND, "no such template");
		return;
	}
	fds[0] = bench->connect_agent ? bench->connect_agent() : fake_agent_connect(&bench->agent);
	fds[1] = open("/dev/null", O_RDWR | O_CLOEXEC);
	fds[2] = fcntl(bench->vmm_pidfd, F_DUPFD_CLOEXEC, 3);
	response.vm_id = (char *)"vm1";
	response.origin = KILN__FACTORY__V1__ORIGIN__POOLED;
	response.version = (char *)"0.0.9";
	response.fds = kinds;
	response.n_fds = ARRAY_SIZE(kinds);
	response.next_stream_id = 1;
	response.vmm_pid = (uint32_t)bench->vmm;
	response.vm_dir = vm_dir;
	response.share_dir = share;
	response.share_tag = (char *)"kilnShared";
	response.template_id = (char *)"t1";
	response.vcpus = 2;
	response.memory_mib = 256;
	if (bench->image_cache)
		response.image_cache = (char *)bench->image_cache;
	ttrpc_call_reply_fds(call, &response.base, fds, ARRAY_SIZE(fds));
}

static inline void bench_on_confirm(struct ttrpc_call *call,
				    const ProtobufCMessage *message _unused_,
				    void *userdata _unused_)
{
	Kiln__Factory__V1__ConfirmResponse response = KILN__FACTORY__V1__CONFIRM_RESPONSE__INIT;

	ttrpc_call_reply(call, &response.base);
}

static inline void bench_on_release(struct ttrpc_call *call,
				    const ProtobufCMessage *message _unused_, void *userdata)
{
	Kiln__Factory__V1__ReleaseResponse response = KILN__FACTORY__V1__RELEASE_RESPONSE__INIT;
	struct bench *bench = userdata;

	bench->releases++;
	ttrpc_call_reply(call, &response.base);
}

static inline void bench_on_prepare_image(struct ttrpc_call *call, const ProtobufCMessage *message,
					  void *userdata)
{
	const Kiln__Factory__V1__PrepareImageRequest *request = (const void *)message;
	Kiln__Factory__V1__PrepareImageResponse response =
		KILN__FACTORY__V1__PREPARE_IMAGE_RESPONSE__INIT;
	struct bench *bench = userdata;

	if (request->wait)
		bench->image_wait = call;
	else
		ttrpc_call_reply(call, &response.base);
}

static const struct ttrpc_method bench_factory_methods[] = {
	{ "Claim", bench_on_claim },
	{ "Confirm", bench_on_confirm },
	{ "Release", bench_on_release },
	{ "PrepareImage", bench_on_prepare_image },
};

static const struct ttrpc_service bench_factory_service = {
	.descriptor = &kiln__factory__v1__factory__descriptor,
	.methods = bench_factory_methods,
	.nmethods = ARRAY_SIZE(bench_factory_methods),
};

/* ---- containerd's end of the events */

/* The container's id is field 1 of every task event, the exec's field 2 of those that have one. */
static inline void bench_on_forward(struct ttrpc_call *call, const ProtobufCMessage *message,
				    void *userdata)
{
	const Containerd__Services__Events__Ttrpc__V1__ForwardRequest *request =
		(const void *)message;
	const Containerd__Types__Envelope *envelope = request->envelope;
	struct bench *bench = userdata;
	Containerd__Events__TaskExit *exit;

	assert_string_equal(envelope->namespace_, "default");
	assert_true(envelope->timestamp->seconds > 1700000000);
	strbuf_addf(&bench->events, "%s%s", bench->events.len ? " " : "",
		    str_after(envelope->topic, "/tasks/"));
	if (str_equal(envelope->topic, "/tasks/exit")) {
		assert_string_equal(envelope->event->type_url, "containerd.events.TaskExit");
		exit = containerd__events__task_exit__unpack(NULL, envelope->event->value.len,
							     envelope->event->value.data);
		assert_non_null(exit);
		bench->last_exit_status = exit->exit_status;
		strbuf_addf(&bench->events, "(%s)", exit->id);
		containerd__events__task_exit__free_unpacked(exit, NULL);
	}
	fake_reply_empty(call);
}

static const struct ttrpc_method bench_events_methods[] = { { "Forward", bench_on_forward } };

static const struct ttrpc_service bench_events_service = {
	.descriptor = &containerd__services__events__ttrpc__v1__events__descriptor,
	.methods = bench_events_methods,
	.nmethods = ARRAY_SIZE(bench_events_methods),
};

/* ---- the bench */

static inline int bench_on_accept(int fd _unused_, const struct peer *peer _unused_, void *userdata)
{
	struct bench *bench = userdata;

	bench->conns++;
	return 0;
}

static inline void bench_on_conn_end(struct ttrpc_conn *conn _unused_, void *userdata)
{
	struct bench *bench = userdata;

	bench->conns--;
}

static inline struct ttrpc_server *bench_serve(struct bench *bench, const char *name,
					       const struct ttrpc_service *service)
{
	_cleanup_free_ char *path = path_join(bench->dir, name);
	struct ttrpc_server_options options = {
		.userdata = bench,
		.on_accept = bench_on_accept,
		.on_conn_end = bench_on_conn_end,
	};
	struct ttrpc_server *server = ttrpc_server_new(bench->loop, &options);
	int fd;

	assert_int_equal(socket_listen_unix(path, 0600, &fd, NULL), 0);
	ttrpc_server_add(server, service);
	ttrpc_server_listen(server, fd);
	return server;
}

static inline void bench_make_bundle(struct bench *bench, const char *id, const char *config)
{
	_cleanup_free_ char *bundle = path_join(bench->dir, id);
	_cleanup_free_ char *root = path_join(bundle, "rootfs");
	_cleanup_free_ char *file = path_join(bundle, "config.json");

	assert_int_equal(dir_make(root, 0755, NULL), 0);
	assert_int_equal(file_write_atomic(file, config, strlen(config), 0600, NULL), 0);
}

static inline void bench_start_vmm(struct bench *bench)
{
	char *argv[] = { (char *)"sleep", (char *)"100", NULL };

	assert_int_equal(spawn(&(struct spawn_options){ .argv = argv }, &bench->vmm,
			       &bench->vmm_pidfd, NULL),
			 0);
}

static inline void bench_start_shim(struct bench *bench)
{
	_cleanup_free_ char *path = path_join(bench->dir, "shim.sock");
	_cleanup_free_ char *events = path_join(bench->dir, "events.sock");
	struct shim_options options = {
		.loop = bench->loop,
		.socket_path = path,
		.id = "c1",
		.ns = "default",
		.events_address = events,
		.forgotten_ms = 500,
	};
	int fd;

	assert_int_equal(socket_listen_unix(path, 0600, &options.listen_fd, NULL), 0);
	bench->shim = shim_new(&options);
	assert_int_equal(socket_connect(path, &fd, NULL), 0);
	bench->client = ttrpc_client_new(bench->loop, fd, &(struct ttrpc_client_options){});
}

static inline int bench_setup(void **state)
{
	struct bench *bench = xnew(struct bench);
	_cleanup_free_ char *address = NULL;
	_cleanup_free_ char *share = NULL;

	strcpy(bench->dir, "/tmp/kiln-test-shim.XXXXXX");
	assert_non_null(mkdtemp(bench->dir));
	share = path_join(bench->dir, "vms/vm1/share/lower");
	assert_int_equal(dir_make(share, 0755, NULL), 0);
	bench->loop = loop_new();
	fake_agent_init(&bench->agent, bench->loop);
	bench->factory = bench_serve(bench, "factory.sock", &bench_factory_service);
	bench->containerd = bench_serve(bench, "events.sock", &bench_events_service);
	address = xasprintf("unix://%s/factory.sock", bench->dir);
	setenv("KILN_FACTORY", address, 1);
	bench_start_vmm(bench);
	bench_make_bundle(bench, "c1", SPEC_JSON("", "", ""));
	bench_start_shim(bench);
	*state = bench;
	return 0;
}

static inline int bench_teardown(void **state)
{
	struct bench *bench = *state;
	int status;

	ttrpc_client_free(bench->client);
	shim_free(bench->shim);
	/* The claim's own connection, or its release's, ends by itself, unless the shim has stopped
	 * the loop. It may be accepted only now. */
	turn(bench->loop, 1);
	for (unsigned i = 0; bench->conns > 0 && i < DEADLINE_MS; i++)
		turn(bench->loop, 1);
	ttrpc_server_free(bench->factory);
	ttrpc_server_free(bench->containerd);
	fake_agent_done(&bench->agent);
	loop_free(bench->loop);
	kill(bench->vmm, SIGKILL);
	waitpid(bench->vmm, &status, 0);
	close(bench->vmm_pidfd);
	strbuf_done(&bench->events);
	assert_int_equal(path_remove(bench->dir, NULL), 0);
	free(bench);
	return 0;
}

/* ---- containerd's calls */

struct answer {
	bool done;
	enum ttrpc_code code;
	char message[512];
	uint32_t pid;
	uint32_t exit_status;
	char info[256]; /* of a pod's status: "KEY=VALUE ..." */
};

static inline void note_info(
	struct answer *answer,
	const Containerd__Runtime__Sandbox__V1__SandboxStatusResponse *response)
{
	_cleanup_(strbuf_done) struct strbuf text = {};

	for (size_t i = 0; i < response->n_info; i++)
		strbuf_addf(&text, "%s%s=%s", i > 0 ? " " : "", response->info[i]->key,
			    response->info[i]->value);
	snprintf(answer->info, sizeof(answer->info), "%s", strbuf_text(&text));
}

static inline void on_bench_answer(const struct ttrpc_reply *reply, void *userdata)
{
	struct answer *answer = userdata;

	answer->done = true;
	answer->code = reply->code;
	snprintf(answer->message, sizeof(answer->message), "%s", reply->message);
	if (!reply->response)
		return;
	if (reply->response->descriptor == &containerd__task__v2__create_task_response__descriptor)
		answer->pid =
			((const Containerd__Task__V2__CreateTaskResponse *)reply->response)->pid;
	if (reply->response->descriptor ==
	    &containerd__runtime__sandbox__v1__sandbox_status_response__descriptor)
		note_info(answer, (const void *)reply->response);
	if (reply->response->descriptor == &containerd__task__v2__wait_response__descriptor)
		answer->exit_status =
			((const Containerd__Task__V2__WaitResponse *)reply->response)->exit_status;
	if (reply->response->descriptor == &containerd__task__v2__delete_response__descriptor)
		answer->exit_status =
			((const Containerd__Task__V2__DeleteResponse *)reply->response)
				->exit_status;
}

static inline void bench_send(struct bench *bench, const char *method,
			      const ProtobufCMessage *request, uint64_t timeout_ms,
			      struct answer *answer)
{
	struct ttrpc_call_options options = {
		.service = &containerd__task__v2__task__descriptor,
		.method = method,
		.request = request,
		.timeout_ms = timeout_ms,
		.on_reply = on_bench_answer,
		.userdata = answer,
	};

	answer->done = false;
	ttrpc_client_call(bench->client, &options);
}

static inline struct answer bench_call(struct bench *bench, const char *method,
				       const ProtobufCMessage *request)
{
	struct answer answer = {};

	bench_send(bench, method, request, 0, &answer);
	await(bench->loop, answer.done);
	return answer;
}

static inline void bench_send_create(struct bench *bench, const char *id, uint64_t timeout_ms,
				     struct answer *answer)
{
	Containerd__Task__V2__CreateTaskRequest request =
		CONTAINERD__TASK__V2__CREATE_TASK_REQUEST__INIT;
	_cleanup_free_ char *bundle = path_join(bench->dir, id);
	_cleanup_free_ char *config = path_join(bench->dir, "shim.json");
	Runtimeoptions__V1__Options options = RUNTIMEOPTIONS__V1__OPTIONS__INIT;
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	uint8_t packed[128];

	request.id = (char *)id;
	request.bundle = bundle;
	if (bench->config) {
		assert_int_equal(
			file_write_atomic(config, bench->config, strlen(bench->config), 0600, NULL),
			0);
		options.config_path = config;
		any.type_url = (char *)options.base.descriptor->name;
		any.value.data = packed;
		any.value.len = runtimeoptions__v1__options__pack(&options, packed);
		request.options = &any;
	}
	bench_send(bench, "Create", &request.base, timeout_ms, answer);
}

static inline struct answer bench_create(struct bench *bench, const char *id)
{
	struct answer answer = {};

	bench_send_create(bench, id, 0, &answer);
	await(bench->loop, answer.done);
	return answer;
}

/* Requests that consist of id and exec_id. */
#define bench_simple(bench_, method_, type_, TYPE_, id_, exec_id_)                                 \
	({                                                                                         \
		Containerd__Task__V2__##type_##Request request_ =                                  \
			CONTAINERD__TASK__V2__##TYPE_##_REQUEST__INIT;                             \
		request_.id = (char *)(id_);                                                       \
		request_.exec_id = (char *)(exec_id_);                                             \
		bench_call((bench_), (method_), &request_.base);                                   \
	})

#define bench_start(bench_, id_, exec_)  bench_simple(bench_, "Start", Start, START, id_, exec_)
#define bench_delete(bench_, id_, exec_) bench_simple(bench_, "Delete", Delete, DELETE, id_, exec_)
#define bench_wait(bench_, id_, exec_)   bench_simple(bench_, "Wait", Wait, WAIT, id_, exec_)
#define bench_state(bench_, id_, exec_)  bench_simple(bench_, "State", State, STATE, id_, exec_)

static inline struct answer bench_kill(struct bench *bench, const char *id, const char *exec_id,
				       uint32_t signo)
{
	Containerd__Task__V2__KillRequest request = CONTAINERD__TASK__V2__KILL_REQUEST__INIT;

	request.id = (char *)id;
	request.exec_id = (char *)exec_id;
	request.signal = signo;
	return bench_call(bench, "Kill", &request.base);
}

static inline struct answer bench_exec(struct bench *bench, const char *id, const char *exec_id,
				       const char *json)
{
	Containerd__Task__V2__ExecProcessRequest request =
		CONTAINERD__TASK__V2__EXEC_PROCESS_REQUEST__INIT;
	Google__Protobuf__Any spec = GOOGLE__PROTOBUF__ANY__INIT;

	spec.type_url = (char *)"types.containerd.io/opencontainers/runtime-spec/1/Process";
	spec.value.data = (uint8_t *)json;
	spec.value.len = strlen(json);
	request.id = (char *)id;
	request.exec_id = (char *)exec_id;
	request.spec = &spec;
	return bench_call(bench, "Exec", &request.base);
}

static inline struct answer bench_update(struct bench *bench, const char *id, const char *json)
{
	Containerd__Task__V2__UpdateTaskRequest request =
		CONTAINERD__TASK__V2__UPDATE_TASK_REQUEST__INIT;
	Google__Protobuf__Any resources = GOOGLE__PROTOBUF__ANY__INIT;

	resources.type_url =
		(char *)"types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
	resources.value.data = (uint8_t *)json;
	resources.value.len = strlen(json);
	request.id = (char *)id;
	request.resources = &resources;
	return bench_call(bench, "Update", &request.base);
}

static inline struct answer bench_shutdown(struct bench *bench)
{
	Containerd__Task__V2__ShutdownRequest request =
		CONTAINERD__TASK__V2__SHUTDOWN_REQUEST__INIT;

	request.id = (char *)"c1";
	return bench_call(bench, "Shutdown", &request.base);
}

/* Its streams are over too, so that its exit is reported at once. */
static inline void bench_exit(struct bench *bench, const char *exec_id, int32_t status)
{
	await(bench->loop, fake_agent_exit(&bench->agent, exec_id, status));
	fake_stream_set(&bench->agent.out, NULL, 0, true);
	fake_stream_set(&bench->agent.err, NULL, 0, true);
}

static inline bool bench_in_bundle(struct bench *bench, const char *id, const char *name)
{
	_cleanup_free_ char *bundle = path_join(bench->dir, id);
	_cleanup_free_ char *path = path_join(bundle, name);

	return path_exists(path);
}

static inline bool bench_is_shared(struct bench *bench, const char *id)
{
	_cleanup_free_ char *share = path_join(bench->dir, "vms/vm1/share");
	_cleanup_free_ char *path = path_join(share, id);

	return path_exists(path);
}

static inline void expect(struct answer answer, enum ttrpc_code code, const char *sentence)
{
	if (answer.code != code || !strstr(answer.message, sentence))
		fail_msg("%s: %s; expected %s: %s", ttrpc_code_to_string(answer.code),
			 answer.message, ttrpc_code_to_string(code), sentence);
}

static inline void expect_ok(struct answer answer)
{
	expect(answer, TTRPC_OK, "");
}

static inline bool bench_private_mounts(void)
{
	if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
		return true;
	printf("skipped: a mount namespace of its own needs root\n");
	return false;
}

/* Of a pid that containerd was told. */
static inline bool is_there(uint32_t pid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%u/ns/pid", pid);
	return access(path, F_OK) == 0;
}
