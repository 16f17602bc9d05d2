/* The claimer's side against a scripted factory and a scripted agent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strings.h"
#include "factory/client/claim.h"
#include "factory/store/store_note.h"
#include "factory/vm/journal.h"
#include "google/protobuf/empty.pb-c.h"
#include "proto/agent.pb-c.h"
#include "proto/factory.pb-c.h"
#include "proto/ttrpc_server.h"
#include "tests/unit/older.h"

enum { DEADLINE_MS = 20 * 1000 };

#define AGENT  KILN__FACTORY__V1__CLAIM_FD__CLAIM_FD_AGENT
#define QMP    KILN__FACTORY__V1__CLAIM_FD__CLAIM_FD_QMP
#define PIDFD  KILN__FACTORY__V1__CLAIM_FD__CLAIM_FD_PIDFD
#define FUTURE 99

/* What the scripted factory answers; changed by a test before it claims. */
struct script {
	Kiln__Factory__V1__ClaimResponse response;
	Kiln__Factory__V1__ClaimFd fds[4];
	size_t nfds; /* sent along, whatever response.n_fds says */
	enum ttrpc_code code;
	enum ttrpc_code confirm_code, release_code;
	bool hold_confirm;
};

struct bench {
	char *run_dir;
	char *address;
	struct loop *loop;
	struct ttrpc_server *factory;
	struct ttrpc_server *agent;
	struct script script;
	struct ttrpc_call *held; /* a Confirm that was not answered yet */
	char *claimed_for;
	unsigned confirms, releases, clocks, conns_ended;
	int64_t guest_sec;

	bool done;
	int number;
	struct claim *claim;
	char *error;
	bool released;
};

/* ---- the factory */

static void factory_claim(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	struct bench *bench = userdata;
	const Kiln__Factory__V1__ClaimRequest *request = (const void *)message;
	replace_string(&bench->claimed_for, request->sandbox_id);
	assert_string_equal(request->template_, "");
	if (bench->script.code != TTRPC_OK) {
		ttrpc_call_fail_code(call, bench->script.code, "scripted refusal");
		return;
	}
	int pair[2], fds[4];
	assert_int_equal(socket_pair(pair), 0);
	struct ttrpc_conn *conn;
	assert_int_equal(ttrpc_server_serve(bench->agent, pair[1], false, &conn), 0);
	fds[0] = pair[0];
	for (size_t i = 1; i < ARRAY_SIZE(fds); i++)
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (size_t i = bench->script.nfds; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	ttrpc_call_reply_fds(call, &bench->script.response.base, fds, bench->script.nfds);
}

static void factory_confirm(struct ttrpc_call *call, const ProtobufCMessage *message,
			    void *userdata)
{
	struct bench *bench = userdata;
	const Kiln__Factory__V1__ConfirmRequest *request = (const void *)message;
	assert_string_equal(request->vm_id, "vm1");
	bench->confirms++;
	if (bench->script.hold_confirm) {
		bench->held = call;
	} else if (bench->script.confirm_code != TTRPC_OK) {
		ttrpc_call_fail_code(call, bench->script.confirm_code, "unknown machine");
	} else {
		Kiln__Factory__V1__ConfirmResponse response =
			KILN__FACTORY__V1__CONFIRM_RESPONSE__INIT;
		ttrpc_call_reply(call, &response.base);
	}
}

static void factory_release(struct ttrpc_call *call, const ProtobufCMessage *message,
			    void *userdata)
{
	struct bench *bench = userdata;
	const Kiln__Factory__V1__ReleaseRequest *request = (const void *)message;
	assert_string_equal(request->vm_id, "vm1");
	bench->releases++;
	if (bench->script.release_code != TTRPC_OK) {
		ttrpc_call_fail_code(call, bench->script.release_code, "unknown machine");
		return;
	}
	Kiln__Factory__V1__ReleaseResponse response = KILN__FACTORY__V1__RELEASE_RESPONSE__INIT;
	ttrpc_call_reply(call, &response.base);
}

static void factory_conn_end(struct ttrpc_conn *conn _unused_, void *userdata)
{
	struct bench *bench = userdata;
	bench->conns_ended++;
}

static void agent_clock(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	struct bench *bench = userdata;
	bench->clocks++;
	bench->guest_sec = ((const Grpc__SetGuestDateTimeRequest *)message)->sec;
	Google__Protobuf__Empty response = GOOGLE__PROTOBUF__EMPTY__INIT;
	ttrpc_call_reply(call, &response.base);
}

static const struct ttrpc_method factory_methods[] = {
	{ "Claim", factory_claim },
	{ "Confirm", factory_confirm },
	{ "Release", factory_release },
};
static const struct ttrpc_method agent_methods[] = { { "SetGuestDateTime", agent_clock } };

static void script_good(struct bench *bench)
{
	Kiln__Factory__V1__ClaimResponse *response = &bench->script.response;
	kiln__factory__v1__claim_response__init(response);
	response->vm_id = (char *)"vm1";
	response->vm_dir = xasprintf("%s/vms/vm1", bench->run_dir);
	response->share_dir = xasprintf("%s/vms/vm1/share", bench->run_dir);
	response->share_tag = (char *)"kilnShared";
	response->template_id = (char *)"t1";
	response->image_cache = (char *)"/var/lib/images";
	response->version = (char *)"0.0.9";
	response->scratch_dir = (char *)"/var/lib/scratch";
	response->scratch_bytes = 1 << 30;
	response->origin = KILN__FACTORY__V1__ORIGIN__CLONED;
	response->reason = (char *)"the pool was empty";
	response->vmm_pid = 4711;
	response->next_stream_id = 77;
	response->claim_us = 1234;
	bench->script.fds[0] = AGENT;
	bench->script.fds[1] = QMP;
	bench->script.fds[2] = PIDFD;
	bench->script.fds[3] = FUTURE;
	response->fds = bench->script.fds;
	response->n_fds = bench->script.nfds = 3;
}

static int setup(void **state)
{
	struct bench *bench = xnew(struct bench);
	char path[] = "/tmp/kiln-test-claim-XXXXXX";
	int fd;
	assert_non_null(mkdtemp(path));
	bench->run_dir = xstrdup(path);
	bench->address = path_join(path, "factory.sock");
	bench->loop = loop_new();
	bench->factory = ttrpc_server_new(
		bench->loop, &(struct ttrpc_server_options){ .userdata = bench,
							     .on_conn_end = factory_conn_end });
	bench->agent = ttrpc_server_new(bench->loop,
					&(struct ttrpc_server_options){ .userdata = bench });
	ttrpc_server_add(bench->factory,
			 &(struct ttrpc_service){ &kiln__factory__v1__factory__descriptor,
						  factory_methods, ARRAY_SIZE(factory_methods) });
	ttrpc_server_add(bench->agent,
			 &(struct ttrpc_service){ &grpc__agent_service__descriptor, agent_methods,
						  ARRAY_SIZE(agent_methods) });
	assert_int_equal(socket_listen_unix(bench->address, 0600, &fd, NULL), 0);
	ttrpc_server_listen(bench->factory, fd);
	script_good(bench);
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;
	if (bench->held)
		ttrpc_call_drop(bench->held);
	claim_free(bench->claim);
	/* What a claim left to end by itself ends now. */
	loop_run_until(bench->loop, &(bool){ false }, 50);
	ttrpc_server_free(bench->factory);
	ttrpc_server_free(bench->agent);
	loop_run_until(bench->loop, &(bool){ false }, 10);
	loop_free(bench->loop);
	free(bench->script.response.vm_dir);
	free(bench->script.response.share_dir);
	free(bench->claimed_for);
	free(bench->error);
	free(bench->address);
	assert_int_equal(path_remove(bench->run_dir, NULL), 0);
	free(bench->run_dir);
	free(bench);
	return 0;
}

/* ---- the claimer */

static void on_claim(int number, struct claim *claim, const struct error *err, void *userdata)
{
	struct bench *bench = userdata;
	assert_false(bench->done);
	assert_true((number == 0) == (claim != NULL));
	bench->done = true;
	bench->number = number;
	bench->claim = claim;
	replace_string(&bench->error, err ? error_message(err) : NULL);
}

static void claim_now(struct bench *bench)
{
	bench->done = false;
	struct claim_options options = { .factory_address = bench->address, .sandbox_id = "pod-1" };
	assert_int_equal(claim_start(bench->loop, &options, on_claim, bench, NULL), 0);
	assert_false(bench->done);
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
}

/* Rounds until *counter has reached value. */
static void wait_for(struct bench *bench, const unsigned *counter, unsigned value)
{
	for (int i = 0; i < DEADLINE_MS / 5 && *counter < value; i++)
		loop_run_until(bench->loop, &(bool){ false }, 5);
	assert_int_equal(*counter, value);
}

static void expect_refusal(struct bench *bench, const char *words)
{
	claim_now(bench);
	assert_true(bench->number < 0);
	if (!strstr(bench->error, words))
		fail_msg("\"%s\" does not say \"%s\"", bench->error, words);
	assert_int_equal(bench->confirms, 0);
	wait_for(bench, &bench->conns_ended, bench->conns_ended + 1);
}

static void test_claim(void **state)
{
	struct bench *bench = *state;
	claim_now(bench);
	assert_int_equal(bench->number, 0);
	struct claim *claim = bench->claim;
	assert_string_equal(bench->claimed_for, "pod-1");
	assert_string_equal(claim->vm_id, "vm1");
	assert_string_equal(claim->share_tag, "kilnShared");
	assert_string_equal(claim->image_cache, "/var/lib/images");
	assert_string_equal(claim->factory_version, "0.0.9");
	assert_string_equal(claim->scratch_dir, "/var/lib/scratch");
	assert_int_equal(claim->scratch_bytes, 1 << 30);
	assert_string_equal(claim->template_id, "t1");
	assert_string_equal(claim->origin, "cloned");
	assert_string_equal(claim->reason, "the pool was empty");
	assert_int_equal(claim->vmm_pid, 4711);
	assert_int_equal(claim->claim_us, 1234);
	assert_true(claim->qmp_fd >= 0 && claim->vmm_pidfd >= 0);
	assert_non_null(claim->agent);

	assert_int_equal(bench->clocks, 0); /* not waited for */
	wait_for(bench, &bench->clocks, 1);
	assert_true(llabs(bench->guest_sec - (int64_t)time(NULL)) < 10);

	assert_int_equal(bench->confirms, 0);
	claim_confirm(claim);
	wait_for(bench, &bench->confirms, 1);
	wait_for(bench, &bench->conns_ended, 1); /* only after Confirm's answer */
}

static void test_connection_stays_until_confirmed(void **state)
{
	struct bench *bench = *state;
	bench->script.hold_confirm = true;
	claim_now(bench);
	claim_confirm(bench->claim);
	wait_for(bench, &bench->confirms, 1);
	claim_free(steal_ptr(bench->claim));
	loop_run_until(bench->loop, &(bool){ false }, 50);
	assert_int_equal(bench->conns_ended, 0);
	Kiln__Factory__V1__ConfirmResponse response = KILN__FACTORY__V1__CONFIRM_RESPONSE__INIT;
	ttrpc_call_reply(steal_ptr(bench->held), &response.base);
	wait_for(bench, &bench->conns_ended, 1);
}

static void test_refused_confirmation_is_survived(void **state)
{
	struct bench *bench = *state;
	bench->script.confirm_code = TTRPC_NOT_FOUND;
	claim_now(bench);
	assert_int_equal(bench->number, 0);
	claim_confirm(bench->claim);
	wait_for(bench, &bench->conns_ended, 1);
	assert_non_null(bench->claim);
}

static void test_unconfirmed_claim_ends_with_its_connection(void **state)
{
	struct bench *bench = *state;
	claim_now(bench);
	claim_free(steal_ptr(bench->claim));
	wait_for(bench, &bench->conns_ended, 1);
	assert_int_equal(bench->confirms, 0);
}

static void test_fds_in_another_order(void **state)
{
	struct bench *bench = *state;
	Kiln__Factory__V1__ClaimFd order[] = { AGENT, FUTURE, PIDFD, QMP };
	memcpy(bench->script.fds, order, sizeof(order));
	bench->script.response.n_fds = bench->script.nfds = 4;
	claim_now(bench);
	assert_int_equal(bench->number, 0);
	wait_for(bench, &bench->clocks, 1);
}

static void test_bad_descriptors(void **state)
{
	static const struct {
		Kiln__Factory__V1__ClaimFd kinds[4];
		size_t promised, sent;
		const char *words;
	} cases[] = {
		{ { AGENT, QMP }, 2, 2, "lacks the pidfd" },
		{ { AGENT, PIDFD }, 2, 2, "lacks the monitor" },
		{ { QMP, PIDFD }, 2, 2, "lacks the agent channel" },
		{ { AGENT, AGENT, QMP, PIDFD }, 4, 4, "two of the agent channel" },
		{ { AGENT, QMP, PIDFD }, 3, 2, "promises 3 descriptors and has 2" },
		{ { AGENT, QMP, PIDFD }, 3, 4, "promises 3 descriptors and has 4" },
		{ { 0 }, 0, 0, "lacks the agent channel" },
	};
	struct bench *bench = *state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		memcpy(bench->script.fds, cases[i].kinds, sizeof(cases[i].kinds));
		bench->script.response.n_fds = cases[i].promised;
		bench->script.nfds = cases[i].sent;
		expect_refusal(bench, cases[i].words);
		assert_int_equal(bench->number, -EPROTO);
	}
}

static void test_bad_answers(void **state)
{
	struct bench *bench = *state;
	Kiln__Factory__V1__ClaimResponse *response = &bench->script.response;
	Kiln__Factory__V1__ClaimResponse good = *response;

	response->vm_id = (char *)"../vm1";
	expect_refusal(bench, "names no machine");
	*response = good;
	response->template_id = (char *)"";
	expect_refusal(bench, "names no machine or template");
	*response = good;
	response->origin = 17;
	expect_refusal(bench, "unknown origin 17");
	*response = good;
	response->vmm_pid = 1;
	expect_refusal(bench, "the pid 1");
	*response = good;
	response->next_stream_id = 4;
	expect_refusal(bench, "stream id 4");
	*response = good;
	response->share_dir = (char *)"share";
	expect_refusal(bench, "no folder or share");
	*response = good;
	response->image_cache = (char *)"images";
	expect_refusal(bench, "at no absolute path");
	*response = good;
	response->scratch_dir = (char *)"scratch";
	expect_refusal(bench, "a scratch disk at no absolute path");
	*response = good;
}

/* Where root mounts is what root's note says, whatever the factory answers. */
static void test_a_folder_elsewhere_is_not_believed(void **state)
{
	struct bench *bench = *state;
	struct store_note note = { .run_dir = (char *)"/somewhere/else",
				   .store = (char *)"/store",
				   .scratch_dir = (char *)"/scratch" };

	assert_int_equal(store_note_write(bench->address, &note, NULL), 0);
	expect_refusal(bench, "no machine's below /somewhere/else");
	note.run_dir = bench->run_dir;
	assert_int_equal(store_note_write(bench->address, &note, NULL), 0);
	claim_now(bench);
	assert_int_equal(bench->number, 0);
}

static void test_refused_by_the_factory(void **state)
{
	struct bench *bench = *state;
	bench->script.code = TTRPC_RESOURCE_EXHAUSTED;
	expect_refusal(bench, "cannot claim a machine for sandbox pod-1: ");
	assert_int_equal(bench->number, -EAGAIN);
}

/* As a version to come may write it. */
#define LATER(version)                                                                             \
	"{\"version\":" #version ",\"run_dir\":\"/r\",\"store\":\"/s\",\"scratch_dir\":\"/w\","    \
	"\"more\":[1]}"

static void test_store_note(void **state)
{
	struct bench *bench = *state;
	_cleanup_(store_note_done) struct store_note note = {};
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *socket = path_join(bench->run_dir, "s");
	_cleanup_free_ char *file = path_join(bench->run_dir, "s.json");
	_cleanup_free_ char *address = xasprintf("unix://%s", socket);
	static const char *const bad[] = { "",
					   "[]",
					   "{}",
					   "{\"run_dir\":\"/r\"}",
					   "{\"run_dir\":\"r\",\"store\":\"/s\"}",
					   "{\"run_dir\":\"/r\",\"store\":\"/s\",\"more\":1}",
					   LATER(2),
					   ("{\"run_dir\":\"/r\",\"store\":\"/s\","
					    "\"image_cache\":\"i\"}") };

	assert_int_equal(store_note_read(address, &note, &err), -ENOENT);
	assert_int_equal(store_note_read("vsock://3:4", &note, &err), -ENOENT);
	assert_int_equal(store_note_read("unix://@abstract", &note, &err), -ENOENT);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(file_write_atomic(file, bad[i], strlen(bad[i]), 0600, NULL), 0);
		assert_true(store_note_read(address, &note, &err) < 0);
		assert_null(note.run_dir);
	}
	assert_int_equal(file_write_atomic(file, LATER(1), strlen(LATER(1)), 0600, NULL), 0);
	assert_int_equal(store_note_read(address, &note, &err), 0);
	assert_string_equal(note.store, "/s");
	store_note_done(&note);
	_cleanup_free_ char *older = older_read("note.json");
	assert_int_equal(file_write_atomic(file, older, strlen(older), 0600, NULL), 0);
	assert_int_equal(store_note_read(address, &note, &err), 0);
	assert_string_equal(note.store, "/run/kiln/store");
	_cleanup_free_ char *again = NULL; /* whose readers take nothing but what it wrote */
	assert_int_equal(store_note_write(socket, &note, &err), 0);
	store_note_done(&note);
	assert_int_equal(store_note_read(address, &note, &err), 0);
	assert_int_equal(file_read(file, 4096, &again, NULL, NULL), 0);
	assert_string_equal(again, older);
	store_note_done(&note);
	const struct store_note written = {
		.run_dir = (char *)"/r",
		.store = (char *)"/s",
		.uid_first = 65536,
		.cgroup = (char *)"kiln",
		.scratch_dir = (char *)"/w",
		.image_cache = (char *)"/i",
	};
	assert_int_equal(store_note_write(socket, &written, &err), 0);
	assert_int_equal(chmod(file, 0666), 0);
	assert_int_equal(store_note_read(address, &note, &err), -EPERM);
	assert_int_equal(chmod(file, 0600), 0);
	assert_int_equal(store_note_read(address, &note, &err), 0);
	assert_string_equal(note.run_dir, "/r");
	assert_string_equal(note.store, "/s");
	assert_string_equal(note.scratch_dir, "/w");
	assert_int_equal(note.uid_first, 65536);
	assert_string_equal(note.cgroup, "kiln");
	assert_string_equal(note.image_cache, "/i");
}

static void test_no_factory(void **state)
{
	struct bench *bench = *state;
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *nowhere = path_join(bench->run_dir, "nobody.sock");
	struct claim_options options = { .factory_address = nowhere, .sandbox_id = "pod-1" };
	assert_int_equal(claim_start(bench->loop, &options, on_claim, bench, &err), -ENOENT);
	assert_non_null(strstr(error_message(&err), "start it with kiln-factory"));
	assert_non_null(strstr(error_message(&err), "no factory was ever there"));
	const struct store_note note = { .run_dir = bench->run_dir,
					 .store = bench->run_dir,
					 .scratch_dir = bench->run_dir };
	assert_int_equal(store_note_write(nowhere, &note, NULL), 0);
	_cleanup_free_ char *templates = path_join(bench->run_dir, "templates");
	assert_int_equal(dir_make(templates, 0700, NULL), 0);
	assert_int_equal(claim_start(bench->loop, &options, on_claim, bench, &err), -ENOENT);
	assert_non_null(strstr(error_message(&err), "no template is in "));
	options.no_fallback = true;
	assert_int_equal(claim_start(bench->loop, &options, on_claim, bench, &err), -ENOENT);
	assert_null(strstr(error_message(&err), "template"));
	options.sandbox_id = "a/b";
	assert_int_equal(claim_start(bench->loop, &options, on_claim, bench, &err), -EINVAL);
	assert_false(bench->done);
}

/* A socket whose queue of connections is full, and the connections that fill it. */
static int fill_queue(const char *path, int *fds, size_t max)
{
	int fd, r = 0;
	assert_int_equal(socket_listen_unix(path, 0600, &fd, NULL), 0);
	assert_int_equal(listen(fd, 0), 0);
	for (size_t i = 0; i < max; i++) {
		fds[i] = -EBADF;
		if (r == 0)
			r = socket_connect(path, &fds[i], NULL);
	}
	assert_int_equal(r, -EAGAIN);
	return fd;
}

static void test_a_full_queue_is_waited_for(void **state)
{
	struct bench *bench = *state;
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *busy = path_join(bench->run_dir, "busy.sock");
	int fds[4];
	int listener = fill_queue(busy, fds, ARRAY_SIZE(fds));
	struct claim_options options = { .factory_address = busy,
					 .sandbox_id = "pod-1",
					 .timeout_ms = 100 };
	assert_int_equal(claim_start(bench->loop, &options, on_claim, bench, &err), 0);
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
	assert_int_equal(bench->number, -EAGAIN);
	assert_non_null(strstr(bench->error, "queue of connections is full"));
	assert_null(strstr(bench->error, "template")); /* no clone was tried */

	bench->done = false;
	options.timeout_ms = DEADLINE_MS;
	assert_int_equal(claim_start(bench->loop, &options, on_claim, bench, &err), 0);
	loop_run_until(bench->loop, &bench->done, 50);
	assert_false(bench->done);
	ttrpc_server_listen(bench->factory, listener);
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
	assert_int_equal(bench->number, 0);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close_fd(fds[i]);
}

static void test_factory_dies_before_it_answers(void **state)
{
	struct bench *bench = *state;
	struct claim_options options = { .factory_address = bench->address, .sandbox_id = "pod-1" };
	assert_int_equal(claim_start(bench->loop, &options, on_claim, bench, NULL), 0);
	ttrpc_server_free(steal_ptr(bench->factory));
	assert_true(loop_run_until(bench->loop, &bench->done, DEADLINE_MS));
	assert_true(bench->number < 0);
}

static void on_release(int number, const struct error *err, void *userdata)
{
	struct bench *bench = userdata;
	assert_false(bench->released);
	assert_true((number < 0) == (err != NULL));
	bench->released = true;
	bench->number = number;
}

static void release_now(struct bench *bench)
{
	claim_release(bench->loop, steal_ptr(bench->claim), bench->address, on_release, bench);
	assert_false(bench->released);
	assert_true(loop_run_until(bench->loop, &bench->released, DEADLINE_MS));
	assert_int_equal(bench->number, 0);
}

static void test_release(void **state)
{
	struct bench *bench = *state;
	claim_now(bench);
	release_now(bench);
	assert_int_equal(bench->releases, 1);
}

/* A machine whose process is gone already; its entry and folder are what reaping removes. */
static void leave_a_machine(struct bench *bench)
{
	struct journal_entry entry = { .id = (char *)"vm1",
				       .template_id = (char *)"t1",
				       .template_name = (char *)"default",
				       .sandbox_id = (char *)"pod-1",
				       .state = VM_CLAIMED,
				       .pid = getpid(), /* but not with this start time */
				       .start_time = 1 };
	assert_int_equal(journal_write(bench->run_dir, &entry, NULL), 0);
	assert_int_equal(dir_make(bench->script.response.share_dir, 0700, NULL), 0);
}

static void test_release_without_factory(void **state)
{
	struct bench *bench = *state;
	claim_now(bench);
	claim_confirm(bench->claim);
	wait_for(bench, &bench->conns_ended, 1);
	ttrpc_server_free(steal_ptr(bench->factory));
	leave_a_machine(bench);
	release_now(bench);
	assert_false(path_exists(bench->script.response.vm_dir));
	struct journal_entry entry;
	assert_int_equal(journal_read(bench->run_dir, "vm1", &entry, NULL), -ENOENT);
}

static void test_release_of_what_the_factory_lost(void **state)
{
	struct bench *bench = *state;
	bench->script.release_code = TTRPC_NOT_FOUND;
	claim_now(bench);
	leave_a_machine(bench);
	release_now(bench);
	assert_int_equal(bench->releases, 1);
	assert_false(path_exists(bench->script.response.vm_dir));
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_claim),
		CASE(test_connection_stays_until_confirmed),
		CASE(test_refused_confirmation_is_survived),
		CASE(test_unconfirmed_claim_ends_with_its_connection),
		CASE(test_fds_in_another_order),
		CASE(test_bad_descriptors),
		CASE(test_bad_answers),
		CASE(test_refused_by_the_factory),
		CASE(test_a_folder_elsewhere_is_not_believed),
		CASE(test_store_note),
		CASE(test_no_factory),
		CASE(test_a_full_queue_is_waited_for),
		CASE(test_factory_dies_before_it_answers),
		CASE(test_release),
		CASE(test_release_without_factory),
		CASE(test_release_of_what_the_factory_lost),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
