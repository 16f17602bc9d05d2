#include "bench/processes.h"

#include <dirent.h>
#include <stdbool.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "bench/factory_client.h"

#define CLAIMED  "claimed"
#define TEXT_MAX (1 << 16)

DEFINE_CLEANUP(DIR *, closedir)

/* The next process of /proc; 0: there is none. */
static pid_t next_pid(DIR *proc)
{
	const struct dirent *entry;
	uint64_t pid = 0;

	while (pid == 0 && (entry = readdir(proc)))
		(void)!str_to_u64(entry->d_name, 1, INT32_MAX, &pid);
	return (pid_t)pid;
}

static int open_proc(DIR **ret_proc, struct error *err)
{
	*ret_proc = opendir("/proc");
	return *ret_proc ? 0 : error_set_errno(err, errno, "cannot open /proc");
}

/* ---------------------------------------------------------------- shims */

static bool is_shim_of(pid_t pid, const char *program, const char *id)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/cmdline", (int)pid);
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	bool named = false;

	if (file_read(path, TEXT_MAX, &text, &len, NULL) < 0 || len == 0)
		return false;
	const char *slash = strrchr(text, '/');
	if (!str_equal(slash ? slash + 1 : text, program))
		return false;
	for (const char *at = text; at < text + len; at += strlen(at) + 1)
		named = named || str_equal(at, id);
	return named;
}

int shim_find(const char *program, const char *id, pid_t *ret_pid, struct error *err)
{
	_cleanup_(closedir_cleanup) DIR *proc = NULL;
	pid_t pid;

	int r = open_proc(&proc, err);
	if (r < 0)
		return r;
	while ((pid = next_pid(proc)) > 0) {
		if (is_shim_of(pid, program, id)) {
			*ret_pid = pid;
			return 0;
		}
	}
	return error_set(err, ESRCH, "there is no process %s of container %s", program, id);
}

/* ---------------------------------------------------------------- trees */

/* 0: it is gone. /proc/PID/stat has it after the name, which is in brackets and may hold anything.
 */
static pid_t parent_of(pid_t pid)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/stat", (int)pid);
	_cleanup_free_ char *text = NULL;
	int parent = 0;

	if (file_read(path, TEXT_MAX, &text, NULL, NULL) < 0)
		return 0;
	const char *name_end = strrchr(text, ')');
	return name_end && sscanf(name_end, ") %*c %d", &parent) == 1 ? (pid_t)parent : 0;
}

static bool descends(pid_t pid, pid_t ancestor)
{
	while (pid > 1 && pid != ancestor)
		pid = parent_of(pid);
	return pid == ancestor;
}

int tree_memory(pid_t root, struct smaps *ret_sum, struct error *err)
{
	_cleanup_(closedir_cleanup) DIR *proc = NULL;
	pid_t pid;

	*ret_sum = (struct smaps){};
	int r = open_proc(&proc, err);
	while (r == 0 && (pid = next_pid(proc)) > 0) {
		struct smaps smaps = {};
		if (!descends(pid, root))
			continue;
		r = smaps_read(pid, NULL, NULL, &smaps, err);
		if (r == 0)
			smaps_add(ret_sum, &smaps);
	}
	return r;
}

/* ---------------------------------------------------------------- machines */

int claimed_memory(struct loop *loop, const char *factory, struct smaps *ret_sum, struct error *err)
{
	_cleanup_(list_response_free_cleanup) Kiln__Factory__V1__ListResponse *list = NULL;
	int r = factory_list(loop, factory, &list, err);

	*ret_sum = (struct smaps){};
	for (size_t i = 0; r == 0 && i < list->n_vms; i++) {
		struct smaps smaps = {};
		if (!str_equal(list->vms[i]->state, CLAIMED))
			continue;
		r = smaps_read((pid_t)list->vms[i]->pid, NULL, NULL, &smaps, err);
		if (r == 0)
			smaps_add(ret_sum, &smaps);
	}
	return r;
}
