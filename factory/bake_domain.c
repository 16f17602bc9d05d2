#include "factory/bake_domain.h"

#include <jansson.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/bake_libvirt.h"
#include "factory/bake_process.h"
#include "factory/machine.h"
#include "factory/vm/remains.h"

enum {
	POLL_MS = 10,
	DISCONNECT_LIMIT_MS = 5000,
	SAVE_LIMIT_MS = 60 * 1000,
};

struct bake_domain {
	virConnectPtr connection;
	virDomainPtr domain;
	struct bake_process process;
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

static int parse_reply(const char *command, const char *text, json_t **ret_result,
		       struct error *err)
{
	_cleanup_(json_decref_cleanup) json_t *reply = json_loads(text, 0, NULL);
	json_t *result = json_object_get(reply, "return");

	if (!result) {
		const char *why = json_string_value(
			json_object_get(json_object_get(reply, "error"), "desc"));
		return error_set(err, EIO, "QEMU refuses %s: %s", command, why ? why : text);
	}
	if (ret_result)
		*ret_result = json_incref(result);
	return 0;
}

/* Takes arguments. fd -EBADF: none goes along. */
static int monitor(struct bake_domain *domain, const char *command, json_t *arguments, int fd,
		   json_t **ret_result, struct error *err)
{
	_cleanup_(json_decref_cleanup) json_t *request = json_pack("{s:s, s:o*}", "execute",
								   command, "arguments", arguments);
	_cleanup_free_ char *text = json_dumps(request, JSON_COMPACT);
	_cleanup_free_ char *reply = NULL;

	if (virDomainQemuMonitorCommandWithFiles(domain->domain, text, fd >= 0 ? 1 : 0, &fd, NULL,
						 NULL, &reply, 0) < 0)
		return bake_libvirt_error(err, "cannot send %s to QEMU", command);
	return parse_reply(command, reply, ret_result, err);
}

/* ---------------------------------------------------------------- boot */

static int find_process(const struct bake_domain_options *options, struct bake_domain *domain,
			struct error *err)
{
	const char *name = virDomainGetName(domain->domain);
	_cleanup_free_ char *path = options->libvirt_uri
					    ? xasprintf("/run/libvirt/qemu/%s.pid", name)
					    : xasprintf("%s/libvirt/run/qemu/%s.pid",
							options->run_dir, name);

	return bake_process_find(path, name, &domain->process, err);
}

int bake_domain_boot(const struct bake_domain_options *options, const char *xml,
		     struct bake_domain **ret, struct error *err)
{
	struct bake_domain *domain = xnew(struct bake_domain);

	domain->process = (struct bake_process)BAKE_PROCESS_NONE;
	int r = bake_libvirt_open(options, &domain->connection, err);
	if (r == 0) {
		domain->domain = virDomainCreateXML(domain->connection, xml, 0);
		r = domain->domain ? find_process(options, domain, err)
				   : bake_libvirt_error(err, "cannot boot the machine");
	}
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

int bake_domain_stop(struct bake_domain *domain, struct error *err)
{
	int r = wait_disconnected(domain, err);
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
}

/* libvirt may see QEMU's end by itself before it has answered: that domain is gone as well. */
static int domain_destroy(virDomainPtr domain, struct error *err)
{
	if (virDomainDestroy(domain) == 0)
		return 0;
	int code = virGetLastErrorCode();
	if (code == VIR_ERR_NO_DOMAIN || code == VIR_ERR_OPERATION_INVALID)
		return 0;
	return bake_libvirt_error(err, "cannot destroy %s", virDomainGetName(domain));
}

/* libvirt would ask QEMU to end and look every 200 ms whether it has; there is nothing in it
 * that wants to be asked. */
static void domain_end(struct bake_domain *domain)
{
	_cleanup_(error_done) struct error err = {};
	const char *name = virDomainGetName(domain->domain);

	if (domain->process.pidfd >= 0 && remains_kill(domain->process.pidfd, &err) < 0)
		log_error(name, "%s", error_message(&err));
	if (domain_destroy(domain->domain, &err) < 0)
		log_error(name, "%s", error_message(&err));
	virDomainFree(domain->domain);
}

void bake_domain_free(struct bake_domain *domain)
{
	if (!domain)
		return;
	if (domain->domain)
		domain_end(domain);
	if (domain->connection)
		virConnectClose(domain->connection);
	bake_process_done(&domain->process);
	free(domain);
}

/* ---------------------------------------------------------------- after a crash */

static int destroy_ours(virDomainPtr *domains, size_t count, struct error *err)
{
	int result = 0;

	for (size_t i = 0; i < count; i++) {
		const char *name = virDomainGetName(domains[i]);
		if (result == 0 && str_after(name, MACHINE_NAME_PREFIX))
			result = domain_destroy(domains[i], err);
		virDomainFree(domains[i]);
	}
	return result;
}

int bake_domain_clean(const struct bake_domain_options *options, struct error *err)
{
	virConnectPtr connection = NULL;
	virDomainPtr *domains = NULL;

	int r = bake_libvirt_open(options, &connection, err);
	if (r < 0)
		return r;
	int count = virConnectListAllDomains(connection, &domains, 0);
	r = count < 0 ? bake_libvirt_error(err, "cannot list the domains")
		      : destroy_ours(domains, (size_t)count, err);
	free(domains);
	virConnectClose(connection);
	return r;
}
