#include "ctl/sandboxes.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strings.h"
#include "ctl/bundle_words.h"
#include "ctl/message.h"
#include "ctl/replaced.h"
#include "ctl/shim_process.h"
#include "proto/shim_socket.h"
#include "proto/ttrpc_client.h"

/* One shim that is being asked. */
struct question {
	struct sandboxes_query *query;
	struct sandbox *sandbox;     /* of the query */
	struct ttrpc_client *client; /* owned */
	unsigned awaited;            /* answers */
};

struct sandboxes_query {
	struct loop *loop;
	unsigned timeout_ms;
	bool guest;
	sandboxes_fn fn;
	void *userdata;
	struct sandboxes sandboxes;
	struct question *questions; /* one a sandbox */
	size_t next;                /* to be asked */
	size_t asking;
	bool cancelled;
};

static void sandbox_done(struct sandbox *sandbox)
{
	for (size_t i = 0; sandbox->images && i < sandbox->info->n_containers; i++)
		free(sandbox->images[i]);
	free(sandbox->images);
	free(sandbox->socket);
	free(sandbox->id);
	free(sandbox->ns);
	free(sandbox->pod);
	free(sandbox->pod_ns);
	free(sandbox->pod_uid);
	error_done(&sandbox->error);
	if (sandbox->info)
		kiln__shim__v1__sandbox_info__free_unpacked(sandbox->info, NULL);
	if (sandbox->guest)
		grpc__metrics__free_unpacked(sandbox->guest, NULL);
}

void sandboxes_done(struct sandboxes *sandboxes)
{
	for (size_t i = 0; i < sandboxes->count; i++)
		sandbox_done(&sandboxes->items[i]);
	free(sandboxes->items);
	*sandboxes = (struct sandboxes){};
}

/* ---------------------------------------------------------------- the answers */

/* What a container's bundle says of its image and pod. */
static void read_bundles(struct sandbox *sandbox)
{
	const Kiln__Shim__V1__SandboxInfo *info = sandbox->info;

	sandbox->images = xnew_array(char *, info->n_containers + 1);
	if (info->pod && !str_empty(info->pod->name)) {
		sandbox->pod = xstrdup(info->pod->name);
		sandbox->pod_ns = xstrdup(info->pod->namespace_);
		sandbox->pod_uid = xstrdup(info->pod->uid);
	}
	for (size_t i = 0; i < info->n_containers; i++) {
		struct bundle_words words;
		if (bundle_words_read(info->containers[i]->bundle, &words, NULL) < 0)
			continue; /* it goes just now */
		sandbox->images[i] = steal_ptr(words.image);
		if (!sandbox->pod && words.pod) {
			sandbox->pod = steal_ptr(words.pod);
			sandbox->pod_ns = steal_ptr(words.pod_ns);
			sandbox->pod_uid = steal_ptr(words.pod_uid);
		}
		bundle_words_done(&words);
	}
}

static int compare(const void *a, const void *b)
{
	const struct sandbox *one = a, *other = b;
	int order = strcmp(one->id ? one->id : "", other->id ? other->id : "");

	return order ? order : strcmp(one->socket, other->socket);
}

/* A shim that ended while it was asked, or that had ended before, is none. */
static void drop_gone(struct sandboxes *sandboxes)
{
	size_t kept = 0;

	for (size_t i = 0; i < sandboxes->count; i++)
		if (sandboxes->items[i].info || path_exists(sandboxes->items[i].socket))
			sandboxes->items[kept++] = sandboxes->items[i];
		else
			sandbox_done(&sandboxes->items[i]);
	sandboxes->count = kept;
}

static void query_free(struct sandboxes_query *query)
{
	sandboxes_done(&query->sandboxes);
	free(query->questions);
	free(query);
}

static void finish(void *userdata)
{
	struct sandboxes_query *query = userdata;
	struct sandboxes *sandboxes = &query->sandboxes;

	if (!query->cancelled) {
		drop_gone(sandboxes);
		shim_process_name(sandboxes);
		for (size_t i = 0; i < sandboxes->count; i++)
			sandboxes->items[i].replaced = program_is_replaced(
				sandboxes->items[i].shim_pid);
		if (sandboxes->count > 0)
			qsort(sandboxes->items, sandboxes->count, sizeof(*sandboxes->items),
			      compare);
		query->fn(sandboxes, query->userdata);
		*sandboxes = (struct sandboxes){};
	}
	query_free(query);
}

/* ---------------------------------------------------------------- the questions */

static void ask_more(struct sandboxes_query *query);

static void question_end(void *userdata)
{
	struct question *question = userdata;
	struct sandboxes_query *query = question->query;

	ttrpc_client_free(steal_ptr(question->client));
	query->asking--;
	ask_more(query);
}

static void on_answer(struct question *question)
{
	if (--question->awaited == 0)
		loop_defer(question->query->loop, question_end, question);
}

static void on_info(const struct ttrpc_reply *reply, void *userdata)
{
	struct question *question = userdata;
	struct sandbox *sandbox = question->sandbox;
	ProtobufCMessage *info;

	if (reply->code == TTRPC_DEADLINE_EXCEEDED) {
		(void)error_set(&sandbox->error, ETIMEDOUT, "its shim does not answer");
	} else if (reply->code == TTRPC_UNIMPLEMENTED) {
		(void)error_set(&sandbox->error, EOPNOTSUPP,
				"its shim is of an earlier Kiln, which tells nothing of it");
	} else if (message_of_reply(reply, &info, &sandbox->error) == 0) {
		sandbox->info = (Kiln__Shim__V1__SandboxInfo *)info;
		sandbox->id = xstrdup(sandbox->info->sandbox_id);
		sandbox->ns = xstrdup(sandbox->info->namespace_);
		sandbox->shim_pid = (pid_t)sandbox->info->shim_pid;
		read_bundles(sandbox);
	}
	on_answer(question);
}

static void on_guest(const struct ttrpc_reply *reply, void *userdata)
{
	struct question *question = userdata;
	ProtobufCMessage *guest;

	if (message_of_reply(reply, &guest, NULL) == 0)
		question->sandbox->guest = (Grpc__Metrics *)guest;
	on_answer(question);
}

static void send(struct question *question)
{
	Kiln__Shim__V1__InspectRequest inspect = KILN__SHIM__V1__INSPECT_REQUEST__INIT;
	Grpc__GetMetricsRequest metrics = GRPC__GET_METRICS_REQUEST__INIT;
	struct ttrpc_call_options call = {
		.service = &kiln__shim__v1__operator__descriptor,
		.method = "Inspect",
		.request = &inspect.base,
		.timeout_ms = question->query->timeout_ms,
		.on_reply = on_info,
		.userdata = question,
	};

	question->awaited++;
	(void)ttrpc_client_call(question->client, &call);
	if (!question->query->guest)
		return;
	question->awaited++;
	call.method = "GuestMetrics";
	call.request = &metrics.base;
	call.on_reply = on_guest;
	(void)ttrpc_client_call(question->client, &call);
}

/* A shim that starts has bound its socket a moment before it listens: nobody is there only where
 * socket_remove_dead() has found nobody. */
static int connect_to(const char *socket, int *ret_fd, struct error *err)
{
	int r = socket_connect(socket, ret_fd, err);

	if (r != -ECONNREFUSED || socket_remove_dead(socket, NULL) != -EADDRINUSE)
		return r;
	error_done(err);
	return socket_connect(socket, ret_fd, err);
}

static void ask(struct question *question)
{
	int fd;

	question->query->asking++;
	if (connect_to(question->sandbox->socket, &fd, &question->sandbox->error) < 0) {
		loop_defer(question->query->loop, question_end, question);
		return;
	}
	question->client = ttrpc_client_new(question->query->loop, fd, NULL);
	send(question);
}

static void ask_more(struct sandboxes_query *query)
{
	while (!query->cancelled && query->next < query->sandboxes.count &&
	       query->asking < QUESTIONS_MAX)
		ask(&query->questions[query->next++]);
	if (query->asking == 0)
		loop_defer(query->loop, finish, query);
}

/* ---------------------------------------------------------------- who is there */

static int list_sockets(const char *dir, struct sandboxes *ret, struct error *err)
{
	DIR *stream = opendir(dir);
	const struct dirent *entry;

	if (!stream && errno == ENOENT)
		return 0;
	if (!stream)
		return error_set_errno(err, errno, "cannot look for sandboxes in %s", dir);
	while ((entry = readdir(stream)) && ret->count < SANDBOXES_MAX) {
		if (entry->d_name[0] == '.')
			continue;
		ret->items = xrealloc_array(ret->items, ret->count + 1, sizeof(*ret->items));
		ret->items[ret->count++] = (struct sandbox){
			.socket = path_join(dir, entry->d_name),
		};
	}
	closedir(stream);
	return 0;
}

/* A descriptor each, beside our own. */
static void raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int sandboxes_ask(struct loop *loop, const struct sandboxes_options *options, sandboxes_fn fn,
		  void *userdata, struct sandboxes_query **ret_query, struct error *err)
{
	struct sandboxes sandboxes = {};
	struct sandboxes_query *query;
	int r = list_sockets(options->dir ? options->dir : SHIM_DIR, &sandboxes, err);

	if (r < 0)
		return r;
	raise_limit();
	query = xnew(struct sandboxes_query);
	*query = (struct sandboxes_query){
		.loop = loop,
		.timeout_ms = options->timeout_ms ? options->timeout_ms : SANDBOXES_TIMEOUT_MS,
		.guest = options->guest,
		.fn = fn,
		.userdata = userdata,
		.sandboxes = sandboxes,
		.questions = xnew_array(struct question, sandboxes.count + 1),
	};
	for (size_t i = 0; i < sandboxes.count; i++)
		query->questions[i] = (struct question){ query, &sandboxes.items[i], NULL, 0 };
	ask_more(query);
	*ret_query = query;
	return 0;
}

void sandboxes_cancel(struct sandboxes_query *query)
{
	if (!query)
		return;
	query->cancelled = true;
	/* Their calls are answered CANCELLED here, and each ends as with any other answer. */
	for (size_t i = 0; i < query->next; i++)
		ttrpc_client_free(steal_ptr(query->questions[i].client));
}

/* ---------------------------------------------------------------- for a command */

struct waiting {
	struct sandboxes *ret;
	bool done;
};

static void on_all(struct sandboxes *sandboxes, void *userdata)
{
	struct waiting *waiting = userdata;

	*waiting->ret = *sandboxes;
	waiting->done = true;
}

int sandboxes_get(const struct sandboxes_options *options, struct sandboxes *ret, struct error *err)
{
	_cleanup_(loop_free_cleanup) struct loop *loop = loop_new();
	struct waiting waiting = { ret, false };
	struct sandboxes_query *query;
	int r = sandboxes_ask(loop, options, on_all, &waiting, &query, err);

	if (r < 0)
		return r;
	while (!waiting.done)
		(void)loop_run_until(loop, &waiting.done, SANDBOXES_TIMEOUT_MS);
	return 0;
}

int sandboxes_find(const struct sandboxes *sandboxes, const char *word,
		   const struct sandbox **ret_sandbox, struct error *err)
{
	const struct sandbox *whole = NULL, *begins = NULL;
	size_t wholes = 0, count = 0;

	for (size_t i = 0; i < sandboxes->count && !str_empty(word); i++) {
		const struct sandbox *sandbox = &sandboxes->items[i];
		const char *rest = sandbox->id ? str_after(sandbox->id, word) : NULL;
		if (!rest)
			continue;
		begins = sandbox;
		count++;
		if (!*rest) {
			whole = sandbox;
			wholes++;
		}
	}
	if (count == 0)
		return error_set(err, ENOENT, "there is no sandbox '%s' on this host", word);
	if (wholes > 1)
		return error_set(err, EEXIST,
				 "'%s' is a sandbox of several namespaces of containerd's", word);
	if (!whole && count > 1)
		return error_set(err, EEXIST, "the ids of %zu sandboxes begin with '%s'", count,
				 word);
	*ret_sandbox = whole ? whole : begins;
	return 0;
}
