#include "ctl/process_usage.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

enum { PROC_MAX = 1 << 16, KIB = 1024 };

/* "RssAnon:\t     164 kB" */
static uint64_t find_kib(const char *status, const char *name)
{
	const char *line = strstr(status, name);
	uint64_t kib;

	return line && sscanf(line + strlen(name), " %" SCNu64 " kB", &kib) == 1 ? kib * KIB : 0;
}

int process_usage_parse(const char *stat, const char *status, struct process_usage *ret)
{
	const char *name_end = strrchr(stat, ')'); /* a program's name may have any characters */
	unsigned long long user, system;
	long ticks = sysconf(_SC_CLK_TCK);

	/* Fields 14 and 15 of proc_pid_stat(5); the state after the name is field 3. */
	if (!name_end || ticks <= 0 ||
	    sscanf(name_end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
		   &system) != 2)
		return -EINVAL;
	*ret = (struct process_usage){
		.cpu_s = (double)(user + system) / (double)ticks,
		.anonymous = find_kib(status, "\nRssAnon:"),
		.file = find_kib(status, "\nRssFile:"),
		.shared = find_kib(status, "\nRssShmem:"),
	};
	return 0;
}

static uint64_t count_files(pid_t pid)
{
	_cleanup_free_ char *path = xasprintf("/proc/%d/fd", pid);
	const struct dirent *entry;
	DIR *dir = opendir(path);
	uint64_t count = 0;

	while (dir && (entry = readdir(dir)))
		count += entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return count;
}

int process_usage_read(pid_t pid, struct process_usage *ret)
{
	_cleanup_free_ char *stat_path = xasprintf("/proc/%d/stat", pid);
	_cleanup_free_ char *status_path = xasprintf("/proc/%d/status", pid);
	_cleanup_free_ char *stat = NULL, *status = NULL;
	struct process_usage usage;
	int r = file_read(stat_path, PROC_MAX, &stat, NULL, NULL);

	if (r == 0)
		r = file_read(status_path, PROC_MAX, &status, NULL, NULL);
	if (r == 0)
		r = process_usage_parse(stat, status, &usage);
	if (r < 0)
		return r;
	usage.open_files = count_files(pid);
	*ret = usage;
	return 0;
}
