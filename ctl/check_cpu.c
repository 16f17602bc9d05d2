/* kiln-ctl check: the processor, and KVM. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "ctl/check.h"
#include "factory/store/template.h"

#define KVM_DEVICE "/dev/kvm"

static bool has_virtualization(const struct check_host *host, char **ret_model)
{
	_cleanup_free_ char *cpuinfo = check_host_read(host, "/proc/cpuinfo");
	struct cpu_facts cpu;

	cpu_facts_parse(cpuinfo ? cpuinfo : "", &cpu);
	*ret_model = cpu.model;
	return cpu.virtualization;
}

void check_processor(const struct check_host *host, struct check_result *result)
{
	_cleanup_free_ char *model = NULL;

	if (has_virtualization(host, &model))
		check_fine(result, "%s; it has what KVM needs", model);
	else
		check_without(result, "machines are emulated (TCG), many times slower",
			      "switch on virtualization (VT-x, SVM) in the firmware; in a virtual "
			      "machine, nesting in its host",
			      "%s; it has neither vmx nor svm", model);
}

/* ---------------------------------------------------------------- KVM */

/* "auto" goes without KVM; what was asked for by name does not. */
static void judge_obstacle(const struct kvm_facts *facts, const char *command, const char *found,
			   struct check_result *result)
{
	if (str_equal(facts->accelerator, "kvm"))
		check_mend(result, command, "%s, and \"accelerator\" is \"kvm\"", found);
	else
		check_without(result, "machines are emulated (TCG), many times slower", command,
			      "%s", found);
}

static char *group_name(gid_t gid)
{
	const struct group *group = getgrgid(gid);

	return group ? xstrdup(group->gr_name) : xasprintf("%u", gid);
}

/* As the factory sees it (factory/store/template.h): machines are users of their own, in the
 * device's group. */
void kvm_judge(const struct kvm_facts *facts, struct check_result *result)
{
	_cleanup_free_ char *group = group_name(facts->group);
	bool by_all = (facts->mode & 06) == 06, by_group = (facts->mode & 060) == 060;

	if (str_equal(facts->accelerator, "tcg")) {
		check_fine(result, "not used: \"accelerator\" is \"tcg\"");
	} else if (!facts->virtualization) {
		judge_obstacle(facts, NULL, "the processor has neither vmx nor svm", result);
	} else if (facts->stat_error != 0) {
		judge_obstacle(facts, "modprobe kvm_intel || modprobe kvm_amd",
			       "there is no " KVM_DEVICE, result);
	} else if (!by_all && !by_group) {
		judge_obstacle(facts, "chgrp kvm " KVM_DEVICE " && chmod 660 " KVM_DEVICE,
			       KVM_DEVICE
			       " is open to its owner alone, and machines are other users",
			       result);
	} else if (facts->open_error != 0 && facts->open_error != EACCES) {
		_cleanup_free_ char *found = xasprintf("cannot open " KVM_DEVICE ": %s",
						       strerror(facts->open_error));
		judge_obstacle(facts, "dmesg | grep -i kvm", found, result);
	} else if (by_all) {
		check_fine(result, KVM_DEVICE " is open to everybody");
	} else {
		check_fine(result, KVM_DEVICE " is open to the group %s, in which machines are%s",
			   group, facts->open_error == EACCES ? " (this user is not)" : "");
	}
}

void check_kvm(const struct check_host *host, struct check_result *result)
{
	struct kvm_facts facts = { .accelerator = host->config.accelerator };
	_cleanup_free_ char *model = NULL;
	struct stat st;

	facts.virtualization = has_virtualization(host, &model);
	if (stat(KVM_DEVICE, &st) < 0) {
		facts.stat_error = errno;
	} else {
		facts.mode = st.st_mode;
		facts.group = st.st_gid;
		int fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);
		facts.open_error = fd < 0 ? errno : 0;
		if (fd >= 0)
			close(fd);
	}
	kvm_judge(&facts, result);
}
