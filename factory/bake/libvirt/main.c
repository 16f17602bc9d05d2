/* kiln-libvirt: the one process that links libvirt. kiln-factory starts it for each bake and talks
 * to it as factory/bake/libvirt/protocol.h says; its end is the helper's end.
 *
 * libvirt and what it pulls in take more memory than the rest of a factory, are needed for the
 * seconds of a bake only, and cannot be unloaded. */
#include <jansson.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/socket.h"
#include "base/strings.h"
#include "factory/bake/libvirt/connection.h"
#include "factory/bake/libvirt/protocol.h"
#include "factory/base/layout.h"

enum { EXIT_USAGE = 2 };

struct helper {
	struct connection_options options;
	virConnectPtr connection;
	virDomainPtr domain; /* from boot to destroy */
};

/* ---------------------------------------------------------------- what can be asked */

static int do_boot(struct helper *helper, json_t *arguments, const int *fds _unused_,
		   size_t nfds _unused_, json_t **ret_result, struct error *err)
{
	const char *xml = json_string_value(json_object_get(arguments, "xml"));

	if (!xml || helper->domain)
		return error_set(err, EINVAL, "one machine can be booted, from its description");
	helper->domain = virDomainCreateXML(helper->connection, xml, 0);
	if (!helper->domain)
		return connection_error(err, "cannot boot the machine");
	*ret_result = json_pack("{s:s}", "name", virDomainGetName(helper->domain));
	return 0;
}

/* A QMP command, with what comes with it; the result is QEMU's whole reply. */
static int do_monitor(struct helper *helper, json_t *arguments, const int *fds, size_t nfds,
		      json_t **ret_result, struct error *err)
{
	_cleanup_free_ char *command = json_dumps(arguments, JSON_COMPACT);
	_cleanup_free_ char *reply = NULL;
	int files[SOCKET_MAX_FDS];

	if (!helper->domain)
		return error_set(err, EINVAL, "there is no machine");
	memcpy(files, fds, nfds * sizeof(int));
	if (virDomainQemuMonitorCommandWithFiles(helper->domain, command, (unsigned)nfds, files,
						 NULL, NULL, &reply, 0) < 0)
		return connection_error(err, "cannot send a command to QEMU");
	*ret_result = json_loads(reply, 0, NULL);
	return *ret_result ? 0 : error_set(err, EPROTO, "QEMU does not answer in JSON");
}

/* libvirt may see QEMU's end by itself before it has answered: that domain is gone as well. */
static int domain_destroy(virDomainPtr domain, struct error *err)
{
	if (virDomainDestroy(domain) == 0)
		return 0;
	int code = virGetLastErrorCode();
	if (code == VIR_ERR_NO_DOMAIN || code == VIR_ERR_OPERATION_INVALID)
		return 0;
	return connection_error(err, "cannot destroy %s", virDomainGetName(domain));
}

static int do_destroy(struct helper *helper, json_t *arguments _unused_, const int *fds _unused_,
		      size_t nfds _unused_, json_t **ret_result _unused_, struct error *err)
{
	if (!helper->domain)
		return 0;
	int r = domain_destroy(helper->domain, err);
	virDomainFree(steal_ptr(helper->domain));
	return r;
}

static int do_clean(struct helper *helper, json_t *arguments _unused_, const int *fds _unused_,
		    size_t nfds _unused_, json_t **ret_result _unused_, struct error *err)
{
	virDomainPtr *domains = NULL;
	int count = virConnectListAllDomains(helper->connection, &domains, 0), r = 0;

	if (count < 0)
		return connection_error(err, "cannot list the domains");
	for (int i = 0; i < count; i++) {
		if (r == 0 && str_after(virDomainGetName(domains[i]), LAYOUT_DOMAIN_PREFIX))
			r = domain_destroy(domains[i], err);
		virDomainFree(domains[i]);
	}
	free(domains);
	return r;
}

static const struct {
	const char *name;
	int (*fn)(struct helper *helper, json_t *arguments, const int *fds, size_t nfds,
		  json_t **ret_result, struct error *err);
} verbs[] = {
	{ "boot", do_boot },
	{ "monitor", do_monitor },
	{ "destroy", do_destroy },
	{ "clean", do_clean },
};

/* ---------------------------------------------------------------- asking and answering */

static int dispatch(struct helper *helper, json_t *request, const int *fds, size_t nfds,
		    json_t **ret_result, struct error *err)
{
	const char *verb = json_string_value(json_object_get(request, "do"));
	int r = helper->connection ? 0
				   : connection_open(&helper->options, &helper->connection, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (str_equal(verb, verbs[i].name))
			return verbs[i].fn(helper, json_object_get(request, "arguments"), fds, nfds,
					   ret_result, err);
	return error_set(err, EINVAL, "unknown request");
}

static int answer(int link, json_t *result, const struct error *err)
{
	json_t *reply = err->number == 0 ? json_pack("{s:o*}", "result", result)
					 : json_pack("{s:{s:i, s:s}}", "error", "number",
						     err->number, "message", error_message(err));
	_cleanup_free_ char *text = json_dumps(reply, JSON_COMPACT);
	ssize_t n = text ? socket_send(link, text, strlen(text), NULL, 0) : -EPROTO;

	json_decref(reply);
	return n < 0 ? (int)n : 0;
}

/* One request; negative at the end of the link. */
static int serve_one(struct helper *helper, int link, char *buffer)
{
	_cleanup_(error_done) struct error err = {};
	int fds[SOCKET_MAX_FDS];
	json_t *result = NULL;
	size_t nfds;
	ssize_t n = socket_receive(link, buffer, LIBVIRT_MESSAGE_MAX, fds, &nfds);

	if (n <= 0)
		return -ENOTCONN;
	json_t *request = json_loadb(buffer, (size_t)n, 0, NULL);
	(void)!dispatch(helper, request, fds, nfds, &result, &err);
	json_decref(request);
	while (nfds > 0)
		close_fd(fds[--nfds]);
	return answer(link, result, &err);
}

/* A factory that dies in the middle of one of libvirt's calls takes the helper along: the next
 * factory needs libvirt's lock, and clears what is left. */
static void *watch_link(void *userdata)
{
	struct pollfd poll_fd = { .fd = *(const int *)userdata };

	while (poll(&poll_fd, 1, -1) < 0 || !(poll_fd.revents & POLLHUP))
		continue;
	_exit(EXIT_SUCCESS);
}

/* "kiln-libvirt 0.1.0, libvirt 9.0.0": for kiln-ctl, for nobody else can ask the library. */
static int print_version(void)
{
	unsigned long version = 0;

	if (virGetVersion(&version, NULL, NULL) < 0)
		return EXIT_FAILURE;
	printf("kiln-libvirt %s, libvirt %lu.%lu.%lu\n", KILN_VERSION, version / 1000000,
	       version / 1000 % 1000, version % 1000);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static int link = LIBVIRT_LINK_FD;
	struct helper helper = {};
	pthread_t watcher;
	uint64_t uid, gid;

	if (argc == 2 && str_equal(argv[1], "--version"))
		return print_version();
	if (argc != 7 || str_to_u64(argv[5], 0, UINT32_MAX, &uid) < 0 ||
	    str_to_u64(argv[6], 0, UINT32_MAX, &gid) < 0) {
		fputs("kiln-libvirt: is started by kiln-factory\n", stderr);
		return EXIT_USAGE;
	}
	helper.options = (struct connection_options){
		.run_dir = argv[1],
		.store = argv[2],
		.uri = str_empty(argv[3]) ? NULL : argv[3],
		.kvm = str_equal(argv[4], "kvm"),
		.uid = (uid_t)uid,
		.gid = (gid_t)gid,
	};
	char *buffer = xcalloc(1, LIBVIRT_MESSAGE_MAX);
	if (pthread_create(&watcher, NULL, watch_link, &link) != 0)
		return EXIT_FAILURE;
	while (serve_one(&helper, link, buffer) == 0)
		continue;
	free(buffer);
	return EXIT_SUCCESS;
}
