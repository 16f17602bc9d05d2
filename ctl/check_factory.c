/* kiln-ctl check: the factory, its configuration and its templates. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strbuf.h"
#include "ctl/check.h"
#include "ctl/replaced.h"

/* Of an EROFS, at its superblock; linux/magic.h's EROFS_SUPER_MAGIC_V1. */
enum { EROFS_AT = 1024 };
static const unsigned char erofs_magic[4] = { 0xe2, 0xe1, 0xf5, 0xe0 };

/* What was refused to somebody who is not root is no fault of the host's. */
static void judge_error(const struct check_host *host, const struct error *err, const char *command,
			struct check_result *result)
{
	if (!host->is_root && err->number == EACCES)
		check_unseen(result, "%s", error_message(err));
	else
		check_mend(result, command, "%s", error_message(err));
}

void check_configuration(const struct check_host *host, struct check_result *result)
{
	const char *path = host->options.config ? host->options.config : FACTORY_CONFIG_PATH;

	if (!host->configured)
		judge_error(host, &host->config_error, "kiln-factory --check", result);
	else if (!path_exists(path))
		check_fine(result, "all defaults: there is no %s", path);
	else
		check_fine(result, "%s", path);
}

/* ---------------------------------------------------------------- definitions */

static bool is_erofs(const char *path)
{
	unsigned char magic[sizeof(erofs_magic)] = {};
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd >= 0 && pread(fd, magic, sizeof(magic), EROFS_AT) == (ssize_t)sizeof(magic) &&
	       memcmp(magic, erofs_magic, sizeof(magic)) == 0;
}

static void check_image(const struct check_host *host, const struct template_definition *template,
			struct check_result *result)
{
	_cleanup_(error_done) struct error err = {};
	struct stat st;

	if (access(template->image, R_OK) < 0 || stat(template->image, &st) < 0) {
		(void)error_set_errno(&err, errno, "the guest's image %s", template->image);
		judge_error(host, &err, "make image && make install", result);
	} else if (st.st_size == 0 || st.st_size % (2 * 1024 * 1024) != 0 ||
		   !is_erofs(template->image)) {
		check_mend(result, "make image && make install",
			   "%s, the guest's image of template %s, is no EROFS of whole 2 MiB",
			   template->image, template->name);
	}
}

/* A machine that is booted reads both as a user of its own. */
static void check_kernel_files(const struct template_definition *template,
			       struct check_result *result)
{
	const char *const files[] = { template->kernel, template->initrd };
	struct stat st;

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		_cleanup_free_ char *command = xasprintf("chmod a+r %s", files[i]);
		if (stat(files[i], &st) == 0 && (st.st_mode & 04) == 0)
			check_without(result, "claims that no template fits cannot be booted",
				      command, "not everybody can read %s", files[i]);
	}
}

void check_definitions(const struct check_host *host, struct check_result *result)
{
	_cleanup_(strbuf_done) struct strbuf names = {};

	if (host->definitions.count == 0)
		return judge_error(host, &host->definitions_error, "make image && make install",
				   result);
	for (size_t i = 0; i < host->definitions.count; i++) {
		const struct template_definition *template = host->definitions.items[i];
		check_image(host, template, result);
		check_kernel_files(template, result);
		strbuf_addf(&names, "%s%s: %" PRIu64 " vCPUs, %" PRIu64 " MiB", i > 0 ? "; " : "",
			    template->name, template->vcpus, template->memory_mib);
	}
	check_fine(result, "%s", strbuf_text(&names));
}

/* ---------------------------------------------------------------- what runs */

void check_factory(const struct check_host *host, struct check_result *result)
{
	const Kiln__Factory__V1__StatusResponse *status = host->status;

	if (status && !str_equal(status->version, KILN_VERSION))
		check_without(result, "what is new in the later one",
			      "systemctl restart kiln-factory", "runs, version %s; kiln-ctl is %s",
			      status->version, KILN_VERSION);
	else if (status && program_is_replaced((pid_t)status->pid))
		check_without(result, "what is new in the installed one",
			      "systemctl restart kiln-factory",
			      "runs, and another one was installed since it was started");
	else if (status)
		check_fine(result, "runs at %s, by %s", host->address, status->accelerator);
	else if (check_host_is_off(host))
		check_without(
			result, "claims are cloned from the store, slower, or find no template",
			"systemctl enable --now kiln-factory.socket kiln-jailer.socket kiln-factory",
			"does not run at %s", host->address);
	else
		judge_error(host, &host->status_error, "journalctl -u kiln-factory", result);
}

static void judge_template(const Kiln__Factory__V1__TemplateStatus *template,
			   struct check_result *result)
{
	_cleanup_free_ char *console = xasprintf("kiln-ctl factory console %s", template->name);
	_cleanup_free_ char *init = xasprintf("kiln-ctl factory init %s", template->name);
	_cleanup_free_ char *rebuild = xasprintf("kiln-ctl factory rebuild %s", template->name);

	if (str_equal(template->state, "broken"))
		check_mend(result, console, "%s is broken: %s", template->name, template->error);
	else if (!str_equal(template->state, "ready"))
		check_without(result, "claims wait for it", init, "%s is %s%s%s", template->name,
			      template->state, str_empty(template->phase) ? "" : ": ",
			      template->phase);
	if (!str_empty(template->stale) && !template->rebuilding)
		check_without(result, "machines are of what it was baked from", rebuild,
			      "%s is stale: %s", template->name, template->stale);
	if (template->pool && !str_empty(template->pool->obstacle))
		check_without(result, "its pool is not filled", NULL, "%s: %s", template->name,
			      template->pool->obstacle);
}

void check_templates(const struct check_host *host, struct check_result *result)
{
	const Kiln__Factory__V1__StatusResponse *status = host->status;
	_cleanup_(strbuf_done) struct strbuf names = {};

	if (!status)
		return check_unseen(result, "no factory says");
	for (size_t i = 0; i < status->n_templates; i++) {
		const Kiln__Factory__V1__TemplateStatus *template = status->templates[i];
		judge_template(template, result);
		strbuf_addf(&names, "%s%s is %s, %u parked", i > 0 ? "; " : "", template->name,
			    template->state, template->pool ? template->pool->parked : 0);
	}
	if (status->n_templates == 0)
		check_mend(result, "make image && make install", "the factory has none");
	check_fine(result, "%s", strbuf_text(&names));
}
