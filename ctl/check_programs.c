/* kiln-ctl check: the programs that Kiln runs, found as it finds them. */
#include <errno.h>
#include <glob.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/spawn.h"
#include "base/strbuf.h"
#include "ctl/check.h"
#include "ctl/programs.h"
#include "factory/store/template.h"

#define VIRTIOFSD   "/usr/lib/qemu/virtiofsd"
#define BAKE_USER   "libvirt-qemu"
#define DRIVER      "/usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so"
#define DRIVER_LIB  "/usr/lib/libvirt/connection-driver/libvirt_driver_qemu.so"
#define DRIVER_RPM  "/usr/lib64/libvirt/connection-driver/libvirt_driver_qemu.so"
#define LIBVIRT_GET "apt-get install libvirt-daemon-system"

/* ---------------------------------------------------------------- QEMU */

void qemu_judge(const char *version, struct check_result *result)
{
	unsigned major = 0, minor = 0;
	const char *at = strpbrk(version, "0123456789");

	if (!at || sscanf(at, "%u.%u", &major, &minor) != 2)
		check_without(result, "what this one can do nobody knows", NULL,
			      "its version is no number: %s", version);
	else if (major < 7 || (major == 7 && minor < 2))
		check_without(result, "Kiln is tested with 7.2", "apt-get install qemu-system-x86",
			      "%s", version);
	else
		check_fine(result, "%s", version);
}

void check_qemu(const struct check_host *host, struct check_result *result)
{
	const struct template_host_choice choice = { "tcg", "serial", "no" };
	_cleanup_(error_done) struct error err = {};
	struct template_host facts;

	if (template_host_probe(host->config.qemu, &choice, &facts, &err) < 0)
		return check_mend(result, "apt-get install qemu-system-x86", "%s",
				  error_message(&err));
	qemu_judge(facts.qemu_version, result);
	template_host_done(&facts);
}

/* ---------------------------------------------------------------- libvirt */

static bool driver_is_there(void)
{
	glob_t found;
	bool there = glob(DRIVER, 0, NULL, &found) == 0;

	if (there)
		globfree(&found);
	return there || access(DRIVER_LIB, F_OK) == 0 || access(DRIVER_RPM, F_OK) == 0;
}

void check_libvirt(const struct check_host *host, struct check_result *result)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_free_ char *version = NULL;

	if (libvirt_version(&version, &err) < 0)
		return check_mend(result, LIBVIRT_GET " && make install", "%s",
				  error_message(&err));
	if (host->config.libvirt_uri)
		return check_fine(result, "libvirt %s, at %s", version, host->config.libvirt_uri);
	if (!getpwnam(BAKE_USER))
		check_mend(result, LIBVIRT_GET,
			   "libvirt %s, but there is no user " BAKE_USER ", which bakes run as",
			   version);
	if (!driver_is_there())
		check_mend(result, LIBVIRT_GET, "libvirt %s, but its driver for QEMU is not there",
			   version);
	check_fine(result, "libvirt %s, with its driver for QEMU", version);
}

/* ---------------------------------------------------------------- others */

static bool wants_scratch(const struct check_host *host)
{
	for (size_t i = 0; i < host->definitions.count; i++)
		if (host->definitions.items[i]->scratch_mib > 0)
			return true;
	return host->definitions.count == 0;
}

void check_tools(const struct check_host *host, struct check_result *result)
{
	_cleanup_free_ char *erofs = check_program_find("mkfs.erofs");
	_cleanup_free_ char *ext4 = check_program_find("mkfs.ext4");

	if (!ext4 && wants_scratch(host))
		check_mend(result, "apt-get install e2fsprogs",
			   "there is no mkfs.ext4, which makes a template's scratch disk");
	if (!erofs && !str_empty(host->config.image_cache))
		check_without(result, "images of containers' layers: guests read them by the share",
			      "apt-get install erofs-utils", "there is no mkfs.erofs");
	check_fine(result, "%s, %s", ext4 ? ext4 : "no mkfs.ext4", erofs ? erofs : "no mkfs.erofs");
}

void check_virtiofsd(const struct check_host *host, struct check_result *result)
{
	if (check_host_has(host, VIRTIOFSD))
		check_fine(result, VIRTIOFSD);
	else
		check_without(result, "volumes by virtio-fs; virtio-9p, the default, needs nothing",
			      "apt-get install qemu-system-common", "there is no " VIRTIOFSD);
}

void check_programs(const struct check_host *host _unused_, struct check_result *result)
{
	static const char *const names[] = { "kiln-factory", "kiln-jailer",
					     "containerd-shim-kiln-v2" };
	_cleanup_(strbuf_done) struct strbuf found = {};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *path = check_program_find(names[i]);
		if (!path)
			check_mend(result, "make install",
				   "there is no %s beside kiln-ctl or on PATH", names[i]);
		else
			strbuf_addf(&found, "%s%s", i > 0 ? ", " : "", path);
	}
	check_fine(result, "%s", strbuf_text(&found));
}
