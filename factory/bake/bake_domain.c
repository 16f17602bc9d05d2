#include "factory/bake/bake_domain.h"

#include <jansson.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/pidfd.h"
#include "base/strings.h"
#include "factory/bake/bake_process.h"
#include "factory/bake/bake_user.h"
#include "factory/bake/libvirt_link.h"
#include "factory/guest/network_cards.h"
#include "factory/vm/remains.h"

enum {
	POLL_MS = 10,
	DISCONNECT_LIMIT_MS = 5000,
	SAVE_LIMIT_MS = 60 * 1000,
};

struct bake_domain {
	struct libvirt_link *link;
	char *name; /* libvirt's; NULL before it is booted */
	struct bake_process process;
	size_t network_cards;
};

static void sleep_ms(long ms)
{
	struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	nanosleep(&time, NULL);
}

static inline void json_decref_cleanup(json_t **json)
{
	json_decref(*json);
}

/* ---------------------------------------------------------------- monitor commands */

static int judge_reply(const char *command, json_t *reply, json_t **ret_result, struct error *err)
{
	json_t *result = json_object_get(reply, "return");

	if (!result) {
		const char *why = json_string_value(
			json_object_get(json_object_get(reply, "error"), "desc"));
		return error_set(err, EIO, "QEMU refuses %s: %s", command,
				 why ? why : "it does not say why");
	}
	if (ret_result)
		*ret_result = json_incref(result);
	return 0;
}

/* Takes arguments. fd -EBADF: none goes along. */
static int monitor(struct bake_domain *domain, const char *command, json_t *arguments, int fd,
		   json_t **ret_result, struct error *err)
{
	_cleanup_(json_decref_cleanup) json_t *reply = NULL;
	json_t *request = json_pack("{s:s, s:o*}", "execute", command, "arguments", arguments);

	int r = libvirt_link_call(domain->link, "monitor", request, fd, &reply, err);
	return r < 0 ? error_wrap(err, "%s", command)
		     : judge_reply(command, reply, ret_result, err);
}

/* ---------------------------------------------------------------- boot */

static int find_process(const struct bake_domain_options *options, struct bake_domain *domain,
			struct error *err)
{
	_cleanup_free_ char *path = options->libvirt_uri
					    ? xasprintf("/run/libvirt/qemu/%s.pid", domain->name)
					    : xasprintf("%s/libvirt/run/qemu/%s.pid",
							options->run_dir, domain->name);

	int r = bake_process_find(path, domain->name, &domain->process, err);
	if (r == 0 && !remains_runs_qemu(domain->process.pid))
		r = error_set(
			err, EACCES,
			"%s is no VMM that clones can have: Kiln ends what a crash left of them "
			"where their program is a file of root's that nobody else may write to, "
			"and its name begins with \"qemu\"",
			domain->process.argv.items[0]);
	return r;
}

static int open_link(const struct bake_domain_options *options, struct libvirt_link **ret,
		     struct error *err)
{
	struct libvirt_link_options link = {
		.run_dir = options->run_dir,
		.store = options->store,
		.uri = options->libvirt_uri,
		.kvm = options->kvm,
	};
	struct bake_user user;

	if (!options->libvirt_uri) {
		int r = bake_user_find(options, &user, err);
		if (r < 0)
			return r;
		link.uid = user.uid;
		link.gid = user.gid;
	}
	return libvirt_link_open(&link, ret, err);
}

static int boot(struct bake_domain *domain, const char *xml, struct error *err)
{
	_cleanup_(json_decref_cleanup) json_t *result = NULL;

	int r = libvirt_link_call(domain->link, "boot", json_pack("{s:s}", "xml", xml), -EBADF,
				  &result, err);
	const char *name = json_string_value(json_object_get(result, "name"));
	if (r == 0 && !name)
		r = error_set(err, EPROTO, "libvirt does not name the machine");
	if (r == 0)
		domain->name = xstrdup(name);
	return r;
}

int bake_domain_boot(const struct bake_domain_options *options, const char *xml,
		     struct bake_domain **ret, struct error *err)
{
	struct bake_domain *domain = xnew(struct bake_domain);

	domain->process = (struct bake_process)BAKE_PROCESS_NONE;
	domain->network_cards = options->network_cards;
	int r = open_link(options, &domain->link, err);
	if (r == 0)
		r = boot(domain, xml, err);
	if (r == 0)
		r = find_process(options, domain, err);
	if (r < 0) {
		bake_domain_free(domain);
		return r;
	}
	*ret = domain;
	return 0;
}

pid_t bake_domain_pid(const struct bake_domain *domain)
{
	return domain->process.pid;
}

const struct strv *bake_domain_argv(const struct bake_domain *domain)
{
	return &domain->process.argv;
}

/* ---------------------------------------------------------------- stop */

/* The one chardev that listens and has a peer besides libvirt's monitor is the agent's. */
static bool agent_connected(json_t *chardevs)
{
	size_t i;
	json_t *chardev;

	json_array_foreach (chardevs, i, chardev) {
		const char *label = json_string_value(json_object_get(chardev, "label"));
		const char *file = json_string_value(json_object_get(chardev, "filename"));
		if (label && file && !str_after(label, "charmonitor") && str_after(file, "unix:"))
			return true;
	}
	return false;
}

static int wait_disconnected(struct bake_domain *domain, struct error *err)
{
	uint64_t deadline = clock_monotonic_ms() + DISCONNECT_LIMIT_MS;

	for (;;) {
		_cleanup_(json_decref_cleanup) json_t *chardevs = NULL;
		int r = monitor(domain, "query-chardev", NULL, -EBADF, &chardevs, err);
		if (r < 0)
			return r;
		if (!agent_connected(chardevs))
			return 0;
		if (clock_monotonic_ms() > deadline)
			return error_set(err, ETIMEDOUT, "the agent channel stays connected");
		sleep_ms(POLL_MS);
	}
}

/* A part of the saved state: it is down in every clone until somebody takes it up. */
static int take_links_down(struct bake_domain *domain, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < domain->network_cards; i++) {
		_cleanup_free_ char *name = xasprintf(NETWORK_CARD_DEVICE, i);

		r = monitor(domain, "set_link", json_pack("{s:s, s:b}", "name", name, "up", 0),
			    -EBADF, NULL, err);
	}
	return r;
}

int bake_domain_stop(struct bake_domain *domain, struct error *err)
{
	int r = take_links_down(domain, err);
	if (r == 0)
		r = wait_disconnected(domain, err);
	if (r == 0)
		r = bake_process_wait_calm(&domain->process, err);
	if (r == 0)
		r = monitor(domain, "stop", NULL, -EBADF, NULL, err);
	return r;
}

/* ---------------------------------------------------------------- save */

static int wait_saved(struct bake_domain *domain, struct error *err)
{
	uint64_t deadline = clock_monotonic_ms() + SAVE_LIMIT_MS;

	for (;;) {
		_cleanup_(json_decref_cleanup) json_t *result = NULL;
		int r = monitor(domain, "query-migrate", NULL, -EBADF, &result, err);
		if (r < 0)
			return r;
		const char *status = json_string_value(json_object_get(result, "status"));
		const char *why = json_string_value(json_object_get(result, "error-desc"));
		if (str_equal(status, "completed"))
			return 0;
		if (str_equal(status, "failed") || str_equal(status, "cancelled"))
			return error_set(err, EIO, "QEMU cannot save the state: %s",
					 why ? why : status);
		if (clock_monotonic_ms() > deadline)
			return error_set(err, ETIMEDOUT, "QEMU does not finish saving the state");
		sleep_ms(POLL_MS);
	}
}

int bake_domain_save(struct bake_domain *domain, int fd, struct error *err)
{
	json_t *capabilities = json_pack("{s:[{s:s, s:b}]}", "capabilities", "capability",
					 "x-ignore-shared", "state", 1);

	int r = monitor(domain, "migrate-set-capabilities", capabilities, -EBADF, NULL, err);
	if (r == 0)
		r = monitor(domain, "getfd", json_pack("{s:s}", "fdname", "state"), fd, NULL, err);
	if (r == 0)
		r = monitor(domain, "migrate", json_pack("{s:s}", "uri", "fd:state"), -EBADF, NULL,
			    err);
	return r < 0 ? r : wait_saved(domain, err);
}

/* ---------------------------------------------------------------- end */

void bake_domain_kill(struct bake_domain *domain)
{
	if (domain->process.pidfd >= 0)
		(void)syscall(SYS_pidfd_send_signal, domain->process.pidfd, SIGKILL, NULL, 0);
	libvirt_link_kill(domain->link); /* libvirt does not always see QEMU's end */
}

/* libvirt would ask QEMU to end and look every 200 ms whether it has; there is nothing in it
 * that wants to be asked. */
static void domain_end(struct bake_domain *domain)
{
	_cleanup_(error_done) struct error err = {};

	if (domain->process.pidfd >= 0 && pidfd_kill(domain->process.pidfd, &err) < 0)
		log_error(domain->name, "%s", error_message(&err));
	int r = libvirt_link_call(domain->link, "destroy", NULL, -EBADF, NULL, &err);
	if (r < 0 && r != -ECONNRESET && r != -EPIPE) /* those are why the bake failed */
		log_error(domain->name, "%s", error_message(&err));
}

void bake_domain_free(struct bake_domain *domain)
{
	if (!domain)
		return;
	if (domain->name)
		domain_end(domain);
	libvirt_link_free(domain->link);
	bake_process_done(&domain->process);
	free(domain->name);
	free(domain);
}

/* ---------------------------------------------------------------- after a crash */

int bake_domain_clean(const struct bake_domain_options *options, struct error *err)
{
	struct libvirt_link *link = NULL;

	int r = open_link(options, &link, err);
	if (r == 0)
		r = libvirt_link_call(link, "clean", NULL, -EBADF, NULL, err);
	libvirt_link_free(link);
	return r;
}
