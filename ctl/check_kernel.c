/* kiln-ctl check: what the kernel can do. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/landlock.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/strbuf.h"
#include "ctl/check.h"

#define CGROUP "/sys/fs/cgroup"
#define THP    "/sys/kernel/mm/transparent_hugepage/enabled"
#define MIB    (1024 * 1024)

/* ---------------------------------------------------------------- version */

static bool is_at_least(const char *release, unsigned major, unsigned minor)
{
	unsigned is_major = 0, is_minor = 0;

	return sscanf(release, "%u.%u", &is_major, &is_minor) == 2 &&
	       (is_major > major || (is_major == major && is_minor >= minor));
}

void kernel_judge(const char *release, bool jailed, struct check_result *result)
{
	if (jailed && !is_at_least(release, 5, 19))
		check_mend(result, "apt-get install linux-image-amd64 && reboot",
			   "Linux %s; idmapped mounts of overlays came with 5.19", release);
	else if (jailed && !is_at_least(release, 6, 3))
		check_without(result,
			      "root file systems on tmpfs, which it cannot map, and volumes there "
			      "that are no kubelet's or can be written to",
			      NULL, "Linux %s; idmapped mounts of tmpfs came with 6.3", release);
	else
		check_fine(result, "Linux %s", release);
}

void check_kernel(const struct check_host *host, struct check_result *result)
{
	struct utsname name;

	if (uname(&name) < 0)
		check_unseen(result, "uname: %s", strerror(errno));
	else
		kernel_judge(name.release, host->config.uid_first != 0, result);
}

/* ---------------------------------------------------------------- control groups */

static const struct {
	const char *name;
	const char *lost; /* NULL: the factory does not start without it */
	bool v1_only;
} controllers[] = {
	{ .name = "memory" },
	{ .name = "pids" },
	{ .name = "cpu", .lost = "limits of a machine's share of the processors" },
	{ .name = "devices", .lost = "limits of the devices a VMM may open", .v1_only = true },
};

static bool has_word(const char *text, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = text; *at; at += strspn(at, " ")) {
		size_t end = strcspn(at, " ");
		if (end == len && strncmp(at, word, len) == 0)
			return true;
		at += end;
	}
	return false;
}

static bool has_controller(const struct check_host *host, const char *v2, const char *name)
{
	_cleanup_free_ char *folder = xasprintf(CGROUP "/%s", name);

	return v2 ? has_word(v2, name) : check_host_has(host, folder);
}

void check_cgroups(const struct check_host *host, struct check_result *result)
{
	_cleanup_free_ char *v2 = check_host_read(host, CGROUP "/cgroup.controllers");
	_cleanup_(strbuf_done) struct strbuf found = {};

	strbuf_addf(&found, "version %d", v2 ? 2 : 1);
	if (str_equal(host->config.cgroup, ""))
		return check_without(result, "limits of machines' memory, processors and devices",
				     NULL, "none: \"cgroup\" is empty");
	for (size_t i = 0; i < ARRAY_SIZE(controllers); i++) {
		if (v2 && controllers[i].v1_only)
			continue;
		if (has_controller(host, v2, controllers[i].name))
			strbuf_addf(&found, ", %s", controllers[i].name);
		else if (controllers[i].lost)
			check_without(result, controllers[i].lost, NULL,
				      "the controller %s is missing", controllers[i].name);
		else
			check_mend(result,
				   "boot with cgroup_enable=memory, and systemd or a mount of "
				   "cgroup2 at " CGROUP,
				   "the controller %s is missing in " CGROUP, controllers[i].name);
	}
	check_fine(result, "%s", strbuf_text(&found));
}

/* ---------------------------------------------------------------- devices */

void check_tap(const struct check_host *host, struct check_result *result)
{
	if (check_host_has(host, "/dev/net/tun"))
		check_fine(result, "/dev/net/tun is there");
	else
		check_mend(result, "modprobe tun",
			   "there is no /dev/net/tun, and a machine's network card is a tap");
}

void vhost_judge(const char *channel, bool there, struct check_result *result)
{
	if (str_equal(channel, "serial"))
		check_fine(result, "vhost-vsock is not used: \"channel\" is \"serial\"");
	else if (there)
		check_fine(result, "vhost-vsock is there: agents can be reached by vsock");
	else if (str_equal(channel, "vsock"))
		check_mend(result, "modprobe vhost_vsock",
			   "there is no vhost-vsock, and \"channel\" is \"vsock\"");
	else
		check_fine(result, "vhost-vsock is not there (modprobe vhost_vsock): agents are "
				   "reached by their port alone");
}

void check_vhost(const struct check_host *host, struct check_result *result)
{
	vhost_judge(host->config.channel,
		    check_host_has(host, "/dev/vhost-vsock") &&
			    check_host_has(host, "/sys/class/misc/vhost-vsock"),
		    result);
}

void vhost_net_judge(const char *vhost_net, bool there, struct check_result *result)
{
	if (str_equal(vhost_net, "no"))
		check_fine(result, "vhost-net is not used: \"vhost_net\" is \"no\"");
	else if (there)
		check_fine(result, "vhost-net is there: it moves the packets of machines with KVM");
	else if (str_equal(vhost_net, "yes"))
		check_mend(result, "modprobe vhost_net",
			   "there is no vhost-net, and \"vhost_net\" is \"yes\"");
	else
		check_fine(result, "vhost-net is not there (modprobe vhost_net): QEMU moves the "
				   "packets of machines");
}

void check_vhost_net(const struct check_host *host, struct check_result *result)
{
	vhost_net_judge(host->config.vhost_net,
			check_host_has(host, "/dev/vhost-net") &&
				check_host_has(host, "/sys/class/misc/vhost-net"),
			result);
}

void check_userfaultfd(const struct check_host *host _unused_, struct check_result *result)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	bool there = fd >= 0 || errno != ENOSYS;

	if (fd >= 0)
		close(fd);
	check_fine(result, "%s; not used: clones map the template's memory copy-on-write",
		   there ? "is there" : "is not there");
}

/* ---------------------------------------------------------------- memory's pages */

/* The template's memory, and one clone's. */
static void check_memory_dir(const struct template_definition *template,
			     struct check_result *result)
{
	struct statfs fs;

	if (str_empty(template->memory_dir) || statfs(template->memory_dir, &fs) < 0 ||
	    fs.f_type != HUGETLBFS_MAGIC)
		return;
	uint64_t page_mib = (uint64_t)fs.f_bsize / MIB;
	uint64_t free_mib = (uint64_t)fs.f_bfree * page_mib;
	_cleanup_free_ char *command = xasprintf("sysctl vm.nr_hugepages=%" PRIu64,
						 page_mib > 0 ? 2 * template->memory_mib / page_mib
							      : 2 * template->memory_mib);
	if (free_mib < 2 * template->memory_mib)
		check_mend(result, command,
			   "template %s wants %" PRIu64 " MiB of huge pages and as many for each "
			   "clone; %" PRIu64 " MiB are free in %s",
			   template->name, template->memory_mib, free_mib, template->memory_dir);
}

void check_huge_pages(const struct check_host *host, struct check_result *result)
{
	_cleanup_free_ char *transparent = check_host_read(host, THP);

	for (size_t i = 0; i < host->definitions.count; i++)
		if (!check_host_template(host, host->definitions.items[i]->name) ||
		    str_empty(check_host_template(host, host->definitions.items[i]->name)->id))
			check_memory_dir(host->definitions.items[i], result);
	check_fine(result,
		   "transparent ones: %s; VMMs go without, a memory_dir may be on hugetlbfs",
		   transparent ? transparent : "none");
}

void check_page_merging(const struct check_host *host, struct check_result *result)
{
	_cleanup_free_ char *run = check_host_read(host, "/sys/kernel/mm/ksm/run");

	if (!host->config.merge_pages)
		check_fine(result, "not used: \"merge_pages\" is false");
	else if (!str_equal(run, "1"))
		check_without(result, "equal pages of machines are not merged",
			      "echo 1 >/sys/kernel/mm/ksm/run",
			      "KSM %s, and \"merge_pages\" is true",
			      run ? "does not run" : "is not in this kernel");
	else
		check_fine(result, "KSM runs");
}

/* ---------------------------------------------------------------- confinement */

void landlock_judge(int version, struct check_result *result)
{
	if (version < 2)
		check_without(
			result,
			"kiln-factory could write wherever its user may, if it were taken over",
			"boot with lsm=landlock,... of a kernel since 5.19",
			version < 0 ? "none" : "version %d", version);
	else
		check_fine(result, "version %d%s", version,
			   version < 4 ? "; it cannot tell of TCP, which came with Linux 6.7" : "");
}

void check_landlock(const struct check_host *host _unused_, struct check_result *result)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0,
			       LANDLOCK_CREATE_RULESET_VERSION);

	landlock_judge(version < 0 ? -errno : (int)version, result);
}

void check_seccomp(const struct check_host *host, struct check_result *result)
{
	_cleanup_free_ char *actions = check_host_read(host,
						       "/proc/sys/kernel/seccomp/actions_avail");

	if (actions && has_word(actions, "errno"))
		check_fine(result, "filters are there");
	else
		check_mend(result, "boot a kernel with CONFIG_SECCOMP_FILTER",
			   "no filters, which QEMU's sandbox and the factory's are made of");
}
