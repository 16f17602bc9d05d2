/* kiln-ctl check: descriptors, and whose ids are whose. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/memory.h"
#include "base/strv.h"
#include "ctl/check.h"
#include "factory/base/layout.h"
#include "factory/jail/keeper.h"

/* The factory has five open of a machine that is parked, some more while it is made or claimed, and
 * what it has of itself. */
enum { DESCRIPTORS_OF_MACHINE = 8, DESCRIPTORS_OF_FACTORY = 128 };

void descriptors_judge(uint64_t limit, uint64_t max_vms, struct check_result *result)
{
	uint64_t wanted = max_vms * DESCRIPTORS_OF_MACHINE + DESCRIPTORS_OF_FACTORY;

	if (limit < wanted)
		check_without(result, "claims fail before there are max_vms machines",
			      "systemctl edit kiln-factory: LimitNOFILE=65536",
			      "%" PRIu64 "; %" PRIu64 " machines want some %" PRIu64, limit,
			      max_vms, wanted);
	else
		check_fine(result, "%" PRIu64 ", enough for %" PRIu64 " machines", limit, max_vms);
}

/* The hard limit, to which the factory raises its own: that of the factory, where one runs. */
void check_descriptors(const struct check_host *host, struct check_result *result)
{
	struct rlimit limit = {};
	uint64_t number;

	if (host->status) {
		_cleanup_free_ char *path = xasprintf("/proc/%u/limits", host->status->pid);
		_cleanup_free_ char *text = check_host_read(host, path);
		const char *line = text ? strstr(text, "Max open files") : NULL;
		_cleanup_free_ char *hard = line ? xstrndup(line + strlen("Max open files"), 48)
						 : NULL;
		char *rest = hard;
		const char *word = hard ? strtok_r(hard, " ", &rest) : NULL;
		word = word ? strtok_r(NULL, " ", &rest) : NULL;
		if (word && str_to_u64(word, 1, UINT64_MAX, &number) == 0)
			return descriptors_judge(number, host->config.max_vms, result);
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return check_unseen(result, "getrlimit: %s", strerror(errno));
	descriptors_judge(limit.rlim_max, host->config.max_vms, result);
}

/* ---------------------------------------------------------------- ids of machines */

/* The field of a line "a:b:c", copied; NULL: it has fewer. */
static char *field_of(const char *line, size_t field)
{
	size_t len = strcspn(line, "\n");

	for (; field > 0; field--) {
		size_t skip = strcspn(line, ":\n");
		if (skip == len)
			return NULL;
		line += skip + 1;
		len -= skip + 1;
	}
	return xstrndup(line, strcspn(line, ":\n"));
}

static bool field_number(const char *line, size_t field, uint64_t *ret_number)
{
	_cleanup_free_ char *text = field_of(line, field);

	return text && str_to_u64(text, 0, UINT32_MAX, ret_number) == 0;
}

static void judge_line(const char *path, const char *line, bool subordinate, uint64_t first,
		       struct check_result *result)
{
	_cleanup_free_ char *name = field_of(line, 0);
	uint64_t end = first + (uint64_t)UID_RANGES * UID_RANGE_SIZE;
	uint64_t begin, count = 1;

	if (!field_number(line, subordinate ? 1 : 2, &begin))
		return;
	if (subordinate && !field_number(line, 2, &count))
		return;
	if (begin < end && begin + count > first)
		check_mend(result,
			   "set \"uid_first\" to the first of 268435456 ids that nobody has",
			   "%s has %" PRIu64 " of %s, and machines have %" PRIu64 " to %" PRIu64,
			   path, begin, name, first, end - 1);
}

void user_ids_judge(const char *path, const char *text, bool subordinate, uint64_t first,
		    struct check_result *result)
{
	for (const char *line = text; *line;) {
		judge_line(path, line, subordinate, first, result);
		line += strcspn(line, "\n");
		line += *line == '\n';
	}
}

void check_user_ids(const struct check_host *host, struct check_result *result)
{
	static const struct {
		const char *path;
		bool subordinate;
	} files[] = {
		{ "/etc/passwd", false },
		{ "/etc/group", false },
		{ "/etc/subuid", true },
		{ "/etc/subgid", true },
	};
	uint64_t first = host->config.uid_first;

	if (first == 0)
		return check_without(result, "the jail: machines run as root",
				     "remove \"uid_first\" from the configuration",
				     "none: \"uid_first\" is 0");
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		_cleanup_free_ char *text = check_host_read(host, files[i].path);
		if (text)
			user_ids_judge(files[i].path, text, files[i].subordinate, first, result);
	}
	check_fine(result, "%" PRIu64 " to %" PRIu64 " are nobody's", first,
		   first + (uint64_t)UID_RANGES * UID_RANGE_SIZE - 1);
}

/* ---------------------------------------------------------------- the factory's user */

void check_factory_user(const struct check_host *host, struct check_result *result)
{
	_cleanup_(error_done) struct error err = {};
	struct keeper keeper;

	if (keeper_find(host->config.user, &keeper, &err) < 0)
		check_mend(result, "systemd-sysusers", "%s", error_message(&err));
	else if (keeper.uid == 0)
		check_without(result, "the factory is root, without capabilities",
			      "systemd-sysusers", "the host has no user " KEEPER_USER);
	else
		check_fine(result, "%s (%u)", host->config.user ? host->config.user : KEEPER_USER,
			   keeper.uid);
}
