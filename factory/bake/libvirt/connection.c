#include "factory/bake/libvirt/connection.h"

#include <fcntl.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "factory/bake/libvirt/kvm.h"
#include "factory/bake/libvirt/protocol.h"

/* libvirt is kept from touching what is not its own: no cgroups, namespaces, ownership or
 * labels, no folder in each hugetlbfs of the host. */
static const char qemu_conf[] = "# Written by kiln-factory.\n"
				"user = \"+%u\"\n"
				"group = \"+%u\"\n"
				"security_driver = \"none\"\n"
				"dynamic_ownership = 0\n"
				"remember_owner = 0\n"
				"cgroup_controllers = []\n"
				"namespaces = []\n"
				"stdio_handler = \"file\"\n"
				"hugetlbfs_mount = []\n"
				"seccomp_sandbox = 1\n"
				"memory_backing_dir = \"%s\"\n";

static void error_ignore(void *userdata _unused_, virErrorPtr error _unused_)
{
}

/* libvirt calls for an event loop to be registered. For what is used here (no callbacks, no
 * remote connection) nothing ever waits in it, so none is run: each domain's monitor has a
 * thread of its own. */
static int library_init(const char *root, struct error *err)
{
	_cleanup_free_ char *outputs = xasprintf("3:file:%s/libvirt.log", root);

	/* The only way to its log, which else goes to our stderr. */
	setenv("LIBVIRT_LOG_OUTPUTS", outputs, 0);
	virSetErrorFunc(NULL, error_ignore);
	if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0)
		return connection_error(err, "cannot initialise libvirt");
	return 0;
}

/* libvirt's number in ours, with what to do about it where we know. */
static int error_number(const virError *error, const char **ret_hint)
{
	const char *message = error->message ? error->message : "";

	*ret_hint = "";
	if (error->code == VIR_ERR_NO_CONNECT || strstr(message, "connection-driver") ||
	    strstr(message, "libvirt-qemu")) {
		*ret_hint = " (install Debian's package libvirt-daemon-system, or run `make deps`)";
		return ENOENT;
	}
	if (strstr(message, "Permission denied") || error->code == VIR_ERR_AUTH_FAILED) {
		*ret_hint = " (kiln-factory has to run as root, and the bakes' "
			    "user to get through the folders above run_dir and store)";
		return EACCES;
	}
	if (strstr(message, "QEMU binary") || strstr(message, "emulator")) {
		*ret_hint = " (install Debian's package qemu-system-x86, or run `make deps`)";
		return ENOENT;
	}
	if (error->code == VIR_ERR_XML_ERROR || error->code == VIR_ERR_XML_DETAIL ||
	    error->code == VIR_ERR_CONFIG_UNSUPPORTED)
		return EINVAL;
	return EIO;
}

int connection_error(struct error *err, const char *fmt, ...)
{
	static const virError unknown = { .message = (char *)"it does not say why" };
	const virError *error = virGetLastError();
	const char *hint;
	va_list args;

	if (!error || !error->message)
		error = &unknown;
	va_start(args, fmt);
	_cleanup_free_ char *what = xvasprintf(fmt, args);
	va_end(args);
	int number = error_number(error, &hint);
	_cleanup_free_ char *message = xstrdup(error->message);
	for (char *c = message; (c = strchr(c, '\n'));)
		*c = ' ';
	return error_set(err, number, "%s: libvirt: %s%s", what, message, hint);
}

/* The URI of the embedded driver; characters with a meaning in a query are escaped. */
static char *embedded_uri(const char *root)
{
	_cleanup_(strbuf_done) struct strbuf uri = {};

	strbuf_adds(&uri, "qemu:///embed?root=");
	for (; *root; root++) {
		if (strchr("%&;=#? +", *root))
			strbuf_addf(&uri, "%%%02x", (unsigned char)*root);
		else
			strbuf_add(&uri, root, 1);
	}
	return strbuf_steal(&uri);
}

static int write_configuration(const char *root, const struct connection_options *options,
			       struct error *err)
{
	const char *store = options->store;
	_cleanup_free_ char *dir = path_join(root, "etc");
	_cleanup_free_ char *path = path_join(dir, "qemu.conf");

	if (strpbrk(store, "\"\n"))
		return error_set(err, EINVAL, "the store's path %s cannot be told to libvirt",
				 store);
	int r = dir_make(dir, 0700, err);
	if (r < 0)
		return r;
	_cleanup_free_ char *text = xasprintf(qemu_conf, options->uid, options->gid, store);
	return file_write_atomic(path, text, strlen(text), 0600, err);
}

/* Until this process ends. The helper of a factory that was just killed may still live, and would
 * clear away the files of the next machine, which has the same name. */
static int lock_take(const char *root, struct error *err)
{
	_cleanup_free_ char *path = path_join(root, "helper.lock");
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r = fd;

	while (fd >= 0 && (r = flock(fd, LOCK_EX)) < 0 && errno == EINTR)
		continue;
	return r < 0 ? error_set_errno(err, errno, "cannot lock %s", path) : 0;
}

int connection_open(const struct connection_options *options, virConnectPtr *ret_connection,
		    struct error *err)
{
	_cleanup_free_ char *root = path_join(options->run_dir, "libvirt");
	_cleanup_free_ char *uri = options->uri ? xstrdup(options->uri) : embedded_uri(root);

	if (geteuid() != 0 && !options->uri)
		return error_set(err, EPERM, "booting a template needs root");
	int r = dir_make(root, 0700, err);
	if (r == 0)
		r = lock_take(root, err);
	if (r == 0 && !options->uri)
		r = write_configuration(root, options, err);
	if (r == 0 && !options->uri)
		r = options->kvm ? kvm_check(options->uid, options->gid, err)
				 : kvm_hide(options->run_dir, err);
	if (r == 0)
		r = library_init(root, err);
	if (r < 0)
		return r;
	virConnectPtr connection = virConnectOpen(uri);
	if (!connection)
		return connection_error(err, "cannot open %s", uri);
	*ret_connection = connection;
	return 0;
}
