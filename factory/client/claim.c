#include "factory/client/claim.h"

#include <string.h>
#include <sys/param.h>
#include <sys/stat.h>

#include "base/audit.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strings.h"
#include "base/trace.h"
#include "factory/client/claim_clone.h"
#include "factory/client/factory_rpc.h"
#include "factory/guest/dax_window.h"
#include "factory/guest/disks.h"
#include "factory/guest/guest_clock.h"
#include "factory/guest/network_cards.h"
#include "factory/vm/remains.h"
#include "factory/vm/vm_answer.h"
#include "proto/agent_calls.h"

enum {
	LIFE_MAX_S = 366 * 24 * 3600,
	VERSION_MAX = 64, /* a factory's, as text */
	CLAIM_TIMEOUT_MS = 60 * 1000,
	CONFIRM_TIMEOUT_MS = 30 * 1000,
	/* A claim may wait for a machine; a factory that lives says hello meanwhile. */
	PATIENCE_MS = 2 * 1000,
	HELLO_TIMEOUT_MS = 5 * 1000,
};

/* The connection to the factory. It must stay open until Confirm is answered: its end before
 * that takes the machine back. A claim that is freed sooner leaves it to end by itself. */
struct claim_link {
	struct loop *loop;
	struct ttrpc_client *factory;
	struct claim *claim; /* the one whose link this is; NULL once that is gone */
	char *object;        /* sandbox, then machine, for the log */
	bool confirming;     /* Confirm is sent and not answered */
	claim_fn fn;         /* NULL once called */
	void *userdata;
	struct trace_span span;
	struct trace_context traced; /* its caller's */

	struct claim_options options; /* its strings are owned */
	struct strv images;           /* of options */
	uint64_t deadline_ms;         /* of the whole claim */
	struct loop_timer *patience;  /* until the factory is asked whether it lives */
	char *run_dir;                /* what root says it is; NULL: nobody says */
};

static void link_free(void *userdata)
{
	struct claim_link *link = userdata;
	ttrpc_client_free(link->factory);
	loop_timer_free(link->patience);
	free((char *)link->options.factory_address);
	free((char *)link->options.sandbox_id);
	free((char *)link->options.template_name);
	free((char *)link->options.annotations);
	strv_done(&link->images);
	free(link->run_dir);
	free(link->object);
	free(link);
}

/* From inside a callback of its client's. */
static void link_end(struct claim_link *link)
{
	if (link->claim)
		link->claim->link = NULL;
	loop_defer(link->loop, link_free, link);
}

/* ---- after the answer: Confirm */

static void on_confirmed(const struct ttrpc_reply *reply, void *userdata)
{
	struct claim_link *link = userdata;
	if (reply->code != TTRPC_OK)
		log_warning(link->object, "the factory did not take the confirmation: %s: %s",
			    ttrpc_code_to_string(reply->code), reply->message);
	link_end(link);
}

void claim_confirm(struct claim *claim)
{
	Kiln__Factory__V1__ConfirmRequest request = KILN__FACTORY__V1__CONFIRM_REQUEST__INIT;
	struct claim_link *link = claim->link;
	if (!link || link->confirming)
		return; /* made without a factory: confirmed from the first */
	request.vm_id = claim->vm_id;
	factory_rpc_call(link->factory, "Confirm", &request.base, CONFIRM_TIMEOUT_MS, on_confirmed,
			 link);
	link->confirming = true;
}

/* ---- the answer */

static const char *origin_name(Kiln__Factory__V1__Origin origin)
{
	switch (origin) {
	case KILN__FACTORY__V1__ORIGIN__POOLED:
		return "pooled";
	case KILN__FACTORY__V1__ORIGIN__CLONED:
		return "cloned";
	case KILN__FACTORY__V1__ORIGIN__BOOTED:
		return "booted";
	case KILN__FACTORY__V1__ORIGIN__ORIGIN_UNSPECIFIED:
	case _KILN__FACTORY__V1__ORIGIN_IS_INT_SIZE:
		break;
	}
	return NULL;
}

static int check_answer(const Kiln__Factory__V1__ClaimResponse *answer, size_t nfds,
			struct error *err)
{
	if (!id_is_valid(answer->vm_id) || !id_is_valid(answer->template_id))
		return error_set(err, EPROTO, "the claim's answer names no machine or template");
	if (!origin_name(answer->origin))
		return error_set(err, EPROTO, "the claim's answer has the unknown origin %d",
				 (int)answer->origin);
	if (answer->vm_dir[0] != '/' || answer->share_dir[0] != '/' || str_empty(answer->share_tag))
		return error_set(err, EPROTO, "the claim's answer has no folder or share");
	if (answer->block_slots > DISKS_SLOTS_MAX)
		return error_set(err, EPROTO, "the claim's answer has %u slots",
				 answer->block_slots);
	if (answer->dax_windows > DAX_WINDOWS_MAX)
		return error_set(err, EPROTO, "the claim's answer has %u DAX windows",
				 answer->dax_windows);
	if (answer->network_cards > NETWORK_CARDS_MAX)
		return error_set(err, EPROTO, "the claim's answer has %u network cards",
				 answer->network_cards);
	if (answer->vmm_pid < 2 || answer->vmm_pid > INT32_MAX)
		return error_set(err, EPROTO, "the claim's answer has the pid %u", answer->vmm_pid);
	if (answer->next_stream_id % 2 != 1)
		return error_set(err, EPROTO, "the claim's answer has the stream id %u (not odd)",
				 answer->next_stream_id);
	if (*answer->image_cache && answer->image_cache[0] != '/')
		return error_set(err, EPROTO,
				 "the claim's answer has a cache of images at no absolute path");
	if (answer->scratch_bytes > 0 && answer->scratch_dir[0] != '/')
		return error_set(err, EPROTO,
				 "the claim's answer has a scratch disk at no absolute path");
	if (answer->n_fds != nfds)
		return error_set(err, EPROTO,
				 "the claim's answer promises %zu descriptors and has %zu",
				 answer->n_fds, nfds);
	return 0;
}

static int take_one_fd(int *slot, int *fd, const char *what, struct error *err)
{
	if (*slot >= 0)
		return error_set(err, EPROTO, "the claim's answer has two of the %s", what);
	*slot = steal_fd(fd);
	return 0;
}

static int take_fd(struct claim *claim, int *agent_fd, Kiln__Factory__V1__ClaimFd kind, int *fd,
		   struct error *err)
{
	switch (kind) {
	case KILN__FACTORY__V1__CLAIM_FD__CLAIM_FD_AGENT:
		return take_one_fd(agent_fd, fd, "agent channel", err);
	case KILN__FACTORY__V1__CLAIM_FD__CLAIM_FD_QMP:
		return take_one_fd(&claim->qmp_fd, fd, "monitor", err);
	case KILN__FACTORY__V1__CLAIM_FD__CLAIM_FD_PIDFD:
		return take_one_fd(&claim->vmm_pidfd, fd, "pidfd", err);
	case KILN__FACTORY__V1__CLAIM_FD__CLAIM_FD_UNSPECIFIED:
	case _KILN__FACTORY__V1__CLAIM_FD_IS_INT_SIZE:
		break;
	}
	return 0; /* of a later factory: closed with the reply */
}

static int take_fds(struct claim *claim, const Kiln__Factory__V1__ClaimResponse *answer, int *fds,
		    int *agent_fd, struct error *err)
{
	for (size_t i = 0; i < answer->n_fds; i++) {
		int r = take_fd(claim, agent_fd, answer->fds[i], &fds[i], err);
		if (r < 0)
			return r;
	}
	if (*agent_fd < 0 || claim->qmp_fd < 0 || claim->vmm_pidfd < 0)
		return error_set(err, EPROTO, "the claim's answer lacks the %s",
				 *agent_fd < 0       ? "agent channel"
				 : claim->qmp_fd < 0 ? "monitor"
						     : "pidfd");
	return 0;
}

/* Names and devices end up in mounts. */
static bool image_is_sound(const Kiln__Factory__V1__CarriedImage *image)
{
	return carried_name_is_valid(image->name) && str_after(image->device, "/dev/pmem") &&
	       !strchr(image->device + strlen("/dev/"), '/');
}

static int take_images(struct claim *claim, const Kiln__Factory__V1__ClaimResponse *answer,
		       struct error *err)
{
	if (answer->n_images > CARRIED_MAX)
		return error_set(err, EPROTO, "the claim's answer has %zu images",
				 answer->n_images);
	claim->images = xnew_array(struct claim_image, answer->n_images + 1);
	for (size_t i = 0; i < answer->n_images; i++) {
		if (!image_is_sound(answer->images[i]))
			return error_set(err, EPROTO,
					 "the claim's answer has an image without name or device");
		claim->images[claim->nimages++] = (struct claim_image){
			.name = xstrdup(answer->images[i]->name),
			.device = xstrdup(answer->images[i]->device),
		};
	}
	return 0;
}

const char *claim_image_device(const struct claim *claim, const char *name)
{
	for (size_t i = 0; i < claim->nimages; i++)
		if (str_equal(claim->images[i].name, name))
			return claim->images[i].device;
	return NULL;
}

/* A factory is a user of its own: where root mounts, root says (factory/store/store_note.h). */
static int check_folders(const struct claim_link *link,
			 const Kiln__Factory__V1__ClaimResponse *answer, struct error *err)
{
	if (!link->run_dir)
		return 0;
	_cleanup_free_ char *dir = remains_dir(link->run_dir, answer->vm_id);
	_cleanup_free_ char *share = path_join(dir, "share");
	if (str_equal(answer->vm_dir, dir) && str_equal(answer->share_dir, share))
		return 0;
	return error_set(err, EPROTO,
			 "the claim's answer has folders that are no machine's below %s",
			 link->run_dir);
}

/* While the factory answers. */
static void read_note(struct claim_link *link)
{
	_cleanup_(store_note_done) struct store_note note = {};

	if (store_note_read(link->options.factory_address, &note, NULL) == 0)
		link->run_dir = steal_ptr(note.run_dir);
}

/* Of the fds those that are taken become -1. */
static int claim_fill(struct claim *claim, struct loop *loop,
		      const Kiln__Factory__V1__ClaimResponse *answer, int *fds, size_t nfds,
		      struct error *err)
{
	_cleanup_close_ int agent_fd = -EBADF;
	int r = check_answer(answer, nfds, err);
	if (r == 0)
		r = take_fds(claim, answer, fds, &agent_fd, err);
	if (r == 0)
		r = take_images(claim, answer, err);
	if (r == 0)
		r = fd_set_nonblocking(agent_fd);
	if (r < 0)
		return r;
	claim->vm_id = xstrdup(answer->vm_id);
	claim->vm_dir = xstrdup(answer->vm_dir);
	claim->share_dir = xstrdup(answer->share_dir);
	claim->share_tag = xstrdup(answer->share_tag);
	claim->template_id = xstrdup(answer->template_id);
	claim->reason = xstrdup(answer->reason);
	if (*answer->image_cache)
		claim->image_cache = xstrdup(answer->image_cache);
	claim->scratch_bytes = answer->scratch_bytes;
	if (claim->scratch_bytes > 0)
		claim->scratch_dir = xstrdup(answer->scratch_dir);
	claim->origin = origin_name(answer->origin);
	claim->vmm_pid = (pid_t)answer->vmm_pid;
	claim->claim_us = answer->claim_us;
	claim->vcpus = answer->vcpus;
	claim->memory_mib = answer->memory_mib;
	claim->guest_cid = answer->guest_cid;
	claim->block_slots = answer->block_slots;
	claim->dax_windows = answer->dax_windows;
	claim->network_cards = answer->network_cards;
	claim->vhost_net = answer->vhost_net;
	claim->dax_window_bytes = answer->dax_window_bytes;
	claim->own_memory = answer->own_memory;
	if (*answer->version)
		claim->factory_version = xstrndup(answer->version, VERSION_MAX);
	claim->ttl_s = MIN(answer->ttl_s, LIFE_MAX_S);
	claim->idle_s = MIN(answer->idle_s, LIFE_MAX_S);
	claim->agent = ttrpc_client_new(loop, steal_fd(&agent_fd),
					&(struct ttrpc_client_options){
						.first_stream = answer->next_stream_id,
						.max_calls = AGENT_CALLS_MAX,
					});
	struct trace_context outer = trace_enter(&claim->traced);
	guest_clock_set(claim->agent, claim->vm_id);
	(void)trace_enter(&outer);
	return 0;
}

static struct claim *claim_new(const struct trace_context *traced)
{
	struct claim *claim = xnew(struct claim);
	claim->traced = *traced;
	claim->qmp_fd = claim->vmm_pidfd = -EBADF;
	return claim;
}

static int claim_take(struct claim_link *link, const struct ttrpc_reply *reply,
		      struct claim **ret_claim, struct error *err)
{
	int r = ttrpc_reply_error(reply, err);
	if (r < 0)
		return r;
	_cleanup_(claim_free_cleanup) struct claim *claim = claim_new(&link->traced);
	r = check_folders(link, (const void *)reply->response, err);
	if (r == 0)
		r = claim_fill(claim, link->loop, (const void *)reply->response, reply->fds,
			       reply->nfds, err);
	if (r < 0)
		return r;
	claim->link = link;
	link->claim = claim;
	replace_string(&link->object, claim->vm_id);
	*ret_claim = steal_ptr(claim);
	return 0;
}

/* ---- without a factory */

struct fallback {
	struct loop *loop;
	char *sandbox_id, *reason;
	uint64_t begun_ns;
	claim_fn fn;
	void *userdata;
	struct trace_context traced; /* of who claims */
};

static void fallback_free(struct fallback *fallback)
{
	free(fallback->sandbox_id);
	free(fallback->reason);
	free(fallback);
}

/* As a factory would have answered. */
static int fallback_take(const struct fallback *fallback, const struct vm *vm,
			 const struct vm_handover *handover, const struct store_note *note,
			 struct claim **ret_claim, struct error *err)
{
	Kiln__Factory__V1__ClaimResponse answer = KILN__FACTORY__V1__CLAIM_RESPONSE__INIT;
	_cleanup_(claim_free_cleanup) struct claim *claim = claim_new(&fallback->traced);
	int fds[VM_ANSWER_FDS];

	vm_answer_fill(vm, handover, KILN__FACTORY__V1__ORIGIN__CLONED, &answer, fds);
	answer.reason = fallback->reason;
	answer.claim_us = (clock_monotonic_ns() - fallback->begun_ns) / 1000;
	if (note->image_cache)
		answer.image_cache = note->image_cache;
	int r = claim_fill(claim, fallback->loop, &answer, fds, ARRAY_SIZE(fds), err);
	vm_answer_done(&answer);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close_fd(fds[i]);
	if (r < 0)
		return r;
	audit_clone(fallback->sandbox_id, claim->vm_id, claim->template_id, claim->reason);
	*ret_claim = steal_ptr(claim);
	return 0;
}

static void on_cloned(int number, const struct vm *vm, const struct vm_handover *handover,
		      const struct store_note *note, const struct error *why, void *userdata)
{
	struct fallback *fallback = userdata;
	_cleanup_(error_done) struct error err = {};
	struct claim *claim = NULL;
	int r = number < 0 ? error_set(&err, number, "%s; %s", fallback->reason, error_message(why))
			   : fallback_take(fallback, vm, handover, note, &claim, &err);
	fallback->fn(r, claim, r < 0 ? &err : NULL, fallback->userdata);
	fallback_free(fallback);
}

/* err says why there is no factory. */
static int fallback_start(struct loop *loop, const struct claim_options *options, claim_fn fn,
			  void *userdata, struct error *err)
{
	_cleanup_(error_done) struct error why = {};
	struct fallback *fallback = xnew(struct fallback);
	*fallback = (struct fallback){
		.loop = loop,
		.sandbox_id = xstrdup(options->sandbox_id),
		.reason = xasprintf("the factory could not be reached: %s", error_message(err)),
		.begun_ns = clock_monotonic_ns(),
		.fn = fn,
		.userdata = userdata,
		.traced = trace_now(),
	};
	int r = claim_clone_start(loop, options, on_cloned, fallback, &why);
	if (r == 0) {
		log_warning(options->sandbox_id, "cloning from the store: %s", fallback->reason);
		error_done(err);
		return 0;
	}
	fallback_free(fallback);
	return error_set(err, err->number, "%s (nor is there a template to clone without it: %s)",
			 error_message(err), error_message(&why));
}

/* ---- the beginning */

/* The claim is not the factory's any more: when its connection ends, which is before anything was
 * confirmed, it takes back what it may have for it. */
static void link_fall_back(struct claim_link *link, struct error *err)
{
	claim_fn fn = steal_ptr(link->fn);
	int r = -err->number;

	if (!link->options.no_fallback) {
		struct trace_context outer = trace_enter(&link->traced);
		r = fallback_start(link->loop, &link->options, fn, link->userdata, err);
		(void)trace_enter(&outer);
	}
	if (r < 0) {
		error_wrap(err, "cannot claim a machine for sandbox %s", link->object);
		fn(r, NULL, err, link->userdata);
	}
	link_end(link);
}

/* An UNAVAILABLE of the factory's own is an answer. */
static bool connection_is_lost(const struct claim_link *link, const struct ttrpc_reply *reply)
{
	return reply->code == TTRPC_UNAVAILABLE && !ttrpc_client_connected(link->factory);
}

static void trace_claim(const struct claim_link *link, const struct claim *claim,
			const struct error *err)
{
	trace_end_as(TRACE_CLAIM, link->options.sandbox_id, &link->span,
		     &(struct trace_detail){
			     .error = err->number ? error_message(err) : NULL,
			     .origin = claim ? claim->origin : NULL,
			     .template_id = claim ? claim->template_id : NULL,
			     .machine = claim ? claim->vm_id : NULL,
		     });
}

static void on_claimed(const struct ttrpc_reply *reply, void *userdata)
{
	struct claim_link *link = userdata;
	_cleanup_(error_done) struct error err = {};
	struct claim *claim = NULL;
	if (!link->fn)
		return; /* fallen back */
	loop_timer_stop(link->patience);
	if (connection_is_lost(link, reply)) {
		error_set(&err, ENOTCONN, "the factory went before it answered: %s",
			  reply->message);
		trace_claim(link, NULL, &err);
		link_fall_back(link, &err);
		return;
	}
	claim_fn fn = steal_ptr(link->fn);
	void *fn_data = link->userdata;
	int r = claim_take(link, reply, &claim, &err);
	trace_claim(link, claim, &err);
	if (r < 0) {
		error_wrap(&err, "cannot claim a machine for sandbox %s", link->object);
		link_end(link); /* unconfirmed: the factory takes the machine back */
	}
	fn(r, claim, r < 0 ? &err : NULL, fn_data);
}

static void on_hello(const struct ttrpc_reply *reply, void *userdata)
{
	struct claim_link *link = userdata;
	_cleanup_(error_done) struct error err = {};
	if (!link->fn || reply->code == TTRPC_UNAVAILABLE || reply->code == TTRPC_CANCELLED)
		return; /* answered, or the claim's own answer says so */
	if (reply->code != TTRPC_DEADLINE_EXCEEDED) {
		loop_timer_start(link->patience, PATIENCE_MS);
		return;
	}
	error_set(&err, ETIMEDOUT, "the factory at %s does not answer within %u s",
		  link->options.factory_address, HELLO_TIMEOUT_MS / 1000);
	link_fall_back(link, &err);
}

static void on_patience_over(void *userdata)
{
	Kiln__Factory__V1__HelloRequest request = KILN__FACTORY__V1__HELLO_REQUEST__INIT;
	struct claim_link *link = userdata;

	factory_rpc_call(link->factory, "Hello", &request.base, HELLO_TIMEOUT_MS, on_hello, link);
}

static struct claim_link *link_new(struct loop *loop, const struct claim_options *options,
				   claim_fn fn, void *userdata)
{
	struct claim_link *link = xnew(struct claim_link);
	link->loop = loop;
	link->object = xstrdup(options->sandbox_id);
	link->fn = fn;
	link->userdata = userdata;
	link->span = trace_begin();
	link->traced = trace_now();
	link->options = *options;
	link->deadline_ms = clock_monotonic_ms() +
			    (options->timeout_ms ? options->timeout_ms : CLAIM_TIMEOUT_MS);
	link->options.factory_address = xstrdup(options->factory_address);
	link->options.sandbox_id = xstrdup(options->sandbox_id);
	link->options.template_name = xstrdup(options->template_name);
	link->options.annotations = xstrdup(options->annotations);
	if (options->images)
		strv_add_all(&link->images, options->images);
	link->options.images = &link->images;
	link->patience = loop_timer_new(loop, on_patience_over, link);
	return link;
}

static void claim_send(struct claim_link *link)
{
	const struct claim_options *options = &link->options;
	uint64_t now_ms = clock_monotonic_ms();
	Kiln__Factory__V1__ClaimRequest request = KILN__FACTORY__V1__CLAIM_REQUEST__INIT;
	request.sandbox_id = (char *)options->sandbox_id;
	request.template_ = (char *)(options->template_name ? options->template_name : "");
	request.vcpus = options->vcpus;
	request.memory_mib = options->memory_mib;
	request.annotations = (char *)(options->annotations ? options->annotations : "");
	request.images = options->images->items;
	request.n_images = options->images->count;
	request.priority = (Kiln__Factory__V1__Priority)options->priority;
	struct trace_context outer = trace_enter(&link->span.self);
	factory_rpc_call(link->factory, "Claim", &request.base,
			 link->deadline_ms > now_ms ? link->deadline_ms - now_ms : 1, on_claimed,
			 link);
	(void)trace_enter(&outer);
	loop_timer_start(link->patience, PATIENCE_MS);
	read_note(link);
}

/* A factory that is there and busy is none of these. */
static bool means_no_factory(int number)
{
	return number == -ENOENT || number == -ECONNREFUSED;
}

static void on_dialled(int number, struct ttrpc_client *factory, const struct error *why,
		       void *userdata)
{
	struct claim_link *link = userdata;
	_cleanup_(error_done) struct error err = {};
	if (number == 0) {
		link->factory = factory;
		claim_send(link);
		return;
	}
	error_set(&err, why->number, "%s", error_message(why));
	link->options.no_fallback |= !means_no_factory(number);
	link_fall_back(link, &err);
}

int claim_start(struct loop *loop, const struct claim_options *given, claim_fn fn, void *userdata,
		struct error *err)
{
	struct claim_options options = *given;
	if (!id_is_valid(options.sandbox_id))
		return error_set(err, EINVAL, "\"%s\" cannot name a sandbox", options.sandbox_id);
	if (!options.factory_address)
		options.factory_address = FACTORY_SOCKET;
	struct claim_link *link = link_new(loop, &options, fn, userdata);
	int r = factory_dial(
		loop,
		&(struct factory_dial_options){
			.address = options.factory_address,
			.timeout_ms = options.timeout_ms ? options.timeout_ms : CLAIM_TIMEOUT_MS,
			.fn = on_dialled,
			.userdata = link,
		},
		err);
	if (r == 0)
		return 0;
	link_free(link);
	if (means_no_factory(r) && !options.no_fallback)
		return fallback_start(loop, &options, fn, userdata, err);
	return r;
}

/* ---- the end */

void claim_free(struct claim *claim)
{
	if (!claim)
		return;
	if (claim->link && claim->link->confirming)
		claim->link->claim = NULL;
	else if (claim->link)
		link_end(claim->link);
	ttrpc_client_free(claim->agent);
	close_fd(claim->qmp_fd);
	close_fd(claim->vmm_pidfd);
	free(claim->vm_id);
	free(claim->vm_dir);
	free(claim->share_dir);
	free(claim->share_tag);
	free(claim->template_id);
	free(claim->image_cache);
	free(claim->scratch_dir);
	free(claim->factory_version);
	free(claim->reason);
	for (size_t i = 0; i < claim->nimages; i++) {
		free(claim->images[i].name);
		free(claim->images[i].device);
	}
	free(claim->images);
	free(claim);
}
