/* What kiln-ctl check looks at: probes, each of which says of one thing whether Kiln can have it on
 * this host. check.c has the table of them; they stand in files by subject, check_*.c.
 *
 * A probe reads what it judges below host->root or asks the kernel, and hands the facts to a judge,
 * which makes a verdict of them: judges are declared here for their tests.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/strings.h"
#include "ctl/check_host.h"

/* The worse, the greater. */
enum check_verdict {
	CHECK_FINE,
	CHECK_UNSEEN,  /* this user cannot see it, or nothing is there to look at yet */
	CHECK_WITHOUT, /* Kiln works, and something is lost */
	CHECK_MEND,    /* Kiln does not work until it is mended */
};
#define CHECK_VERDICTS (CHECK_MEND + 1)
DECLARE_STRING_TABLE(check_verdict, enum check_verdict); /* "fine", "unseen", "without", "mend" */

/* All strings are owned; NULL: nothing to say. */
struct check_result {
	enum check_verdict verdict;
	char *found;
	char *lost;    /* what goes without it */
	char *command; /* what mends it; more than one: && between them, or a line of advice */
};

/* A verdict that is worse than the one that is there takes its place; else nothing changes, so a
 * probe of several things ends with the first of the worst. command may be NULL. */
void check_fine(struct check_result *result, const char *fmt, ...) _printf_(2, 3);
void check_unseen(struct check_result *result, const char *fmt, ...) _printf_(2, 3);
void check_without(struct check_result *result, const char *lost, const char *command,
		   const char *fmt, ...) _printf_(4, 5);
void check_mend(struct check_result *result, const char *command, const char *fmt, ...)
	_printf_(3, 4);
void check_result_done(struct check_result *result);

typedef void (*check_fn)(const struct check_host *host, struct check_result *result);

struct check_probe {
	const char *name;
	const char *about; /* one line */
	check_fn fn;
};

extern const struct check_probe check_probes[];
extern const size_t check_probe_count;

/* check_cpu.c */
void check_processor(const struct check_host *host, struct check_result *result);
void check_kvm(const struct check_host *host, struct check_result *result);

struct kvm_facts {
	bool virtualization;     /* the processor has vmx or svm */
	const char *accelerator; /* as configured: "auto", "tcg", "kvm" */
	int stat_error;          /* errno of stat(2) of /dev/kvm; 0: it is there */
	mode_t mode;
	gid_t group;
	int open_error; /* errno of opening it; 0: it opens */
};
void kvm_judge(const struct kvm_facts *facts, struct check_result *result);

/* check_kernel.c */
void check_kernel(const struct check_host *host, struct check_result *result);
void check_cgroups(const struct check_host *host, struct check_result *result);
void check_tap(const struct check_host *host, struct check_result *result);
void check_vhost(const struct check_host *host, struct check_result *result);
void check_vhost_net(const struct check_host *host, struct check_result *result);
void check_huge_pages(const struct check_host *host, struct check_result *result);
void check_userfaultfd(const struct check_host *host, struct check_result *result);
void check_page_merging(const struct check_host *host, struct check_result *result);
void check_landlock(const struct check_host *host, struct check_result *result);
void check_seccomp(const struct check_host *host, struct check_result *result);

/* channel: as configured. */
void vhost_judge(const char *channel, bool there, struct check_result *result);
void vhost_net_judge(const char *vhost_net, bool there, struct check_result *result); /* ditto */
/* release: as of uname(2); jailed: machines have user ids of their own. */
void kernel_judge(const char *release, bool jailed, struct check_result *result);
void landlock_judge(int version, struct check_result *result); /* of its interface; < 0: none */

/* check_tried.c: what is tried in a process of its own. */
void check_processes(const struct check_host *host, struct check_result *result);
void check_idmapped_mounts(const struct check_host *host, struct check_result *result);
void check_traffic_control(const struct check_host *host, struct check_result *result);

/* seen: what process_start_time() (base/pidfd.h) says to the factory's user of another's; user:
 * for people. */
void processes_judge(int seen, const char *user, struct check_result *result);

/* check_programs.c */
void check_qemu(const struct check_host *host, struct check_result *result);
void check_libvirt(const struct check_host *host, struct check_result *result);
void check_tools(const struct check_host *host, struct check_result *result);
void check_virtiofsd(const struct check_host *host, struct check_result *result);
void check_programs(const struct check_host *host, struct check_result *result);

/* version: the first line of QEMU's --version. */
void qemu_judge(const char *version, struct check_result *result);

/* check_containerd.c */
void check_containerd(const struct check_host *host, struct check_result *result);
void check_containerd_runtime(const struct check_host *host, struct check_result *result);
void check_containerd_annotations(const struct check_host *host, struct check_result *result);

/* check_store.c */
void check_run_dir(const struct check_host *host, struct check_result *result);
void check_store(const struct check_host *host, struct check_result *result);
void check_memory(const struct check_host *host, struct check_result *result);
void check_scratch(const struct check_host *host, struct check_result *result);
void check_image_cache(const struct check_host *host, struct check_result *result);

struct room_facts {
	const char *path;
	bool memory; /* on tmpfs, or another file system without a disk */
	uint64_t free_mib;
	uint64_t wanted_mib;  /* for what is not there yet */
	uint64_t largest_mib; /* of one template, which a rebuild needs once more */
};
void store_judge(const struct room_facts *facts, struct check_result *result);
void scratch_judge(const struct room_facts *facts, struct check_result *result);
/* meminfo: the text of /proc/meminfo. */
void memory_judge(const char *meminfo, uint64_t wanted_mib, uint64_t min_free_mib,
		  struct check_result *result);

/* check_users.c */
void check_descriptors(const struct check_host *host, struct check_result *result);
void check_user_ids(const struct check_host *host, struct check_result *result);
void check_factory_user(const struct check_host *host, struct check_result *result);

void descriptors_judge(uint64_t limit, uint64_t max_vms, struct check_result *result);
/* text: of /etc/passwd or /etc/group (ids are one by one), or of /etc/subuid or /etc/subgid; path
 * is for people. Ids of machines are first to first + UID_RANGES * UID_RANGE_SIZE - 1. */
void user_ids_judge(const char *path, const char *text, bool subordinate, uint64_t first,
		    struct check_result *result);

/* check_clock.c */
void check_clock(const struct check_host *host, struct check_result *result);
/* state: of adjtimex(2); status: its bits; source: of the kernel's clock, or NULL. */
void clock_judge(int state, int status, const char *source, struct check_result *result);

/* check_factory.c */
void check_configuration(const struct check_host *host, struct check_result *result);
void check_definitions(const struct check_host *host, struct check_result *result);
void check_factory(const struct check_host *host, struct check_result *result);
void check_templates(const struct check_host *host, struct check_result *result);
