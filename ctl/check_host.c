#include "ctl/check_host.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "ctl/factory_link.h"

#define FOLDERS "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum { TEXT_MAX = 16 * 1024 * 1024 }; /* /proc/cpuinfo of some thousand processors */

static void read_config(struct check_host *host)
{
	size_t count;
	const struct config_key *keys = factory_config_keys(&count);

	host->configured = factory_config_load(host->options.config, &host->config,
					       &host->config_error) == 0;
	if (!host->configured)
		config_set_defaults(keys, count, &host->config);
}

/* The factory's address is a claimer's, too, which does not read its configuration. */
static char *choose_address(const struct check_host *host)
{
	if (host->options.socket)
		return xstrdup(host->options.socket);
	if (!str_empty(getenv("KILN_FACTORY")) || !host->config.socket)
		return xstrdup(factory_default_address());
	return xstrdup(host->config.socket);
}

static void ask_status(struct check_host *host)
{
	_cleanup_(factory_link_done) struct factory_link link = {};

	if (factory_link_open(host->address, &link, &host->status_error) == 0)
		(void)factory_link_status(&link, &host->status, &host->status_error);
}

void check_host_open(const struct check_options *options, struct check_host *ret_host)
{
	struct check_host host = { .options = *options, .is_root = geteuid() == 0 };

	read_config(&host);
	(void)definitions_load(host.config.templates, &host.definitions, &host.definitions_error);
	host.address = choose_address(&host);
	ask_status(&host);
	*ret_host = host;
}

void check_host_done(struct check_host *host)
{
	factory_config_done(&host->config);
	error_done(&host->config_error);
	definitions_done(&host->definitions);
	error_done(&host->definitions_error);
	free(host->address);
	if (host->status)
		protobuf_c_message_free_unpacked(&host->status->base, NULL);
	error_done(&host->status_error);
}

static char *below_root(const struct check_host *host, const char *path)
{
	return xasprintf("%s%s", host->options.root, path);
}

char *check_host_read(const struct check_host *host, const char *path)
{
	_cleanup_free_ char *full = below_root(host, path);
	char *text = NULL;
	size_t len;

	if (file_read(full, TEXT_MAX, &text, &len, NULL) < 0)
		return NULL;
	if (len > 0 && text[len - 1] == '\n')
		text[len - 1] = '\0';
	return text;
}

bool check_host_has(const struct check_host *host, const char *path)
{
	_cleanup_free_ char *full = below_root(host, path);

	return path_exists(full);
}

bool check_host_is_off(const struct check_host *host)
{
	return !host->status &&
	       (host->status_error.number == ENOENT || host->status_error.number == ECONNREFUSED);
}

const Kiln__Factory__V1__TemplateStatus *check_host_template(const struct check_host *host,
							     const char *name)
{
	for (size_t i = 0; host->status && i < host->status->n_templates; i++)
		if (str_equal(host->status->templates[i]->name, name))
			return host->status->templates[i];
	return NULL;
}

/* ---------------------------------------------------------------- programs */

static char *in_folders(const char *folders, const char *name)
{
	_cleanup_free_ char *copy = xstrdup(folders);
	char *rest = copy;

	for (const char *folder; (folder = strsep(&rest, ":"));) {
		_cleanup_free_ char *path = path_join(folder, name);
		if (*folder == '/' && access(path, X_OK) == 0)
			return steal_ptr(path);
	}
	return NULL;
}

static char *our_folders(void)
{
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[len > 0 ? len : 0] = '\0';
	char *slash = strrchr(self, '/');
	if (!slash)
		return xstrdup("");
	*slash = '\0';
	return xasprintf("%s:%s/../sbin", self, self);
}

char *check_program_find(const char *name)
{
	_cleanup_free_ char *ours = our_folders();
	const char *search = getenv("PATH");
	char *found = in_folders(ours, name);

	if (!found && !str_empty(search))
		found = in_folders(search, name);
	return found ? found : in_folders(FOLDERS, name);
}
