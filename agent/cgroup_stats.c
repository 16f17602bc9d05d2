#include "agent/cgroup_stats.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cgroup.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

enum {
	FILE_MAX = 16 * 1024,
	LINES_MAX = 256,
	NS_PER_US = 1000,
	BYTES_PER_KIB = 1024,
	DISKS_MAX = 64,
	PAGE_SIZES_MAX = 8,
	NAME_SIZE = 32,
};

#define EVENTS_PREFIX "events."

/* The text is terminated; false where there is no such file. */
static bool read_text(int dir, const char *name, char *text)
{
	_cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read_full(fd, text, FILE_MAX - 1) : -1;

	text[n > 0 ? n : 0] = '\0';
	return n >= 0;
}

static uint64_t to_number(const char *text)
{
	return str_after(text, "max") ? UINT64_MAX : strtoull(text, NULL, 10);
}

/* Of a file that holds one number, or "max"; 0 where there is none. */
static uint64_t read_number(int dir, const char *name)
{
	char text[FILE_MAX];

	return read_text(dir, name, text) ? to_number(text) : 0;
}

static void add_line(Grpc__MemoryStats *memory, const char *prefix, const char *name,
		     uint64_t value)
{
	Grpc__MemoryStats__StatsEntry *entry = xnew(Grpc__MemoryStats__StatsEntry);

	grpc__memory_stats__stats_entry__init(entry);
	entry->key = xasprintf("%s%s", prefix, name);
	entry->value = value;
	memory->stats[memory->n_stats++] = entry;
}

/* Lines of "NAME NUMBER". */
static void add_lines(int dir, const char *file, const char *prefix, Grpc__MemoryStats *memory)
{
	char text[FILE_MAX], *rest = NULL;

	if (!read_text(dir, file, text))
		return;
	for (char *line = strtok_r(text, "\n", &rest); line && memory->n_stats < LINES_MAX;
	     line = strtok_r(NULL, "\n", &rest)) {
		char *blank = strchr(line, ' ');
		if (!blank)
			continue;
		*blank = '\0';
		add_line(memory, prefix, line, to_number(blank + 1));
	}
}

static uint64_t find_line(const Grpc__MemoryStats *memory, const char *name)
{
	for (size_t i = 0; i < memory->n_stats; i++)
		if (str_equal(memory->stats[i]->key, name))
			return memory->stats[i]->value;
	return 0;
}

/* In a file of such lines; 0 where there is none. */
static uint64_t read_line(const char *text, const char *name)
{
	const char *at = text;

	while (at) {
		const char *value = str_after(at, name);
		if (value && *value == ' ')
			return to_number(value + 1);
		at = strchr(at, '\n');
		at = at ? at + 1 : NULL;
	}
	return 0;
}

static Grpc__MemoryData *read_data(int dir, const char *usage, const char *peak, const char *limit)
{
	Grpc__MemoryData *data = xnew(Grpc__MemoryData);

	grpc__memory_data__init(data);
	data->usage = read_number(dir, usage);
	data->max_usage = read_number(dir, peak);
	data->limit = read_number(dir, limit);
	return data;
}

static Grpc__MemoryStats *read_memory(int dir)
{
	Grpc__MemoryStats *memory = xnew(Grpc__MemoryStats);

	grpc__memory_stats__init(memory);
	memory->stats = xnew_array(Grpc__MemoryStats__StatsEntry *, LINES_MAX);
	add_lines(dir, "memory.stat", "", memory);
	add_lines(dir, "memory.events", EVENTS_PREFIX, memory);
	memory->cache = find_line(memory, "file");
	memory->use_hierarchy = true;
	memory->usage = read_data(dir, "memory.current", "memory.peak", "memory.max");
	memory->usage->failcnt = find_line(memory, EVENTS_PREFIX "max");
	memory->swap_usage = read_data(dir, "memory.swap.current", "memory.swap.peak",
				       "memory.swap.max");
	memory->kernel_usage = xnew(Grpc__MemoryData);
	grpc__memory_data__init(memory->kernel_usage);
	memory->kernel_usage->usage = find_line(memory, "kernel");
	return memory;
}

static Grpc__CpuStats *read_cpu(int dir)
{
	Grpc__CpuStats *cpu = xnew(Grpc__CpuStats);
	char text[FILE_MAX];

	grpc__cpu_stats__init(cpu);
	cpu->cpu_usage = xnew(Grpc__CpuUsage);
	grpc__cpu_usage__init(cpu->cpu_usage);
	cpu->throttling_data = xnew(Grpc__ThrottlingData);
	grpc__throttling_data__init(cpu->throttling_data);
	if (!read_text(dir, "cpu.stat", text))
		return cpu;
	cpu->cpu_usage->total_usage = read_line(text, "usage_usec") * NS_PER_US;
	cpu->cpu_usage->usage_in_usermode = read_line(text, "user_usec") * NS_PER_US;
	cpu->cpu_usage->usage_in_kernelmode = read_line(text, "system_usec") * NS_PER_US;
	cpu->throttling_data->periods = read_line(text, "nr_periods");
	cpu->throttling_data->throttled_periods = read_line(text, "nr_throttled");
	cpu->throttling_data->throttled_time = read_line(text, "throttled_usec") * NS_PER_US;
	return cpu;
}

/* ---------------------------------------------------------------- block devices */

static void add_operation(Grpc__BlkioStatsEntry ***list, size_t *count, const unsigned numbers[2],
			  const char *operation, const char *words, const char *name)
{
	const char *word = strstr(words, name);
	Grpc__BlkioStatsEntry *entry;

	if (!*list)
		*list = xnew_array(Grpc__BlkioStatsEntry *, (size_t)2 * DISKS_MAX);
	entry = xnew(Grpc__BlkioStatsEntry);
	grpc__blkio_stats_entry__init(entry);
	entry->major = numbers[0];
	entry->minor = numbers[1];
	entry->op = xstrdup(operation);
	entry->value = word ? to_number(word + strlen(name)) : 0;
	(*list)[(*count)++] = entry;
}

/* Lines of "MAJOR:MINOR rbytes=N wbytes=N rios=N wios=N ...". */
static Grpc__BlkioStats *read_block_io(int dir)
{
	Grpc__BlkioStats *io = xnew(Grpc__BlkioStats);
	char text[FILE_MAX], *rest = NULL;
	unsigned numbers[2], disks = 0;

	grpc__blkio_stats__init(io);
	if (!read_text(dir, "io.stat", text))
		return io;
	for (char *line = strtok_r(text, "\n", &rest); line && disks < DISKS_MAX;
	     line = strtok_r(NULL, "\n", &rest)) {
		if (sscanf(line, "%u:%u", &numbers[0], &numbers[1]) != 2)
			continue;
		disks++;
		add_operation(&io->io_service_bytes_recursive, &io->n_io_service_bytes_recursive,
			      numbers, "Read", line, " rbytes=");
		add_operation(&io->io_service_bytes_recursive, &io->n_io_service_bytes_recursive,
			      numbers, "Write", line, " wbytes=");
		add_operation(&io->io_serviced_recursive, &io->n_io_serviced_recursive, numbers,
			      "Read", line, " rios=");
		add_operation(&io->io_serviced_recursive, &io->n_io_serviced_recursive, numbers,
			      "Write", line, " wios=");
	}
	return io;
}

/* ---------------------------------------------------------------- huge pages */

static Grpc__HugetlbStats *read_page_size(int dir, const char *size)
{
	Grpc__HugetlbStats *pages = xnew(Grpc__HugetlbStats);
	char file[3 * NAME_SIZE], text[FILE_MAX];

	grpc__hugetlb_stats__init(pages);
	snprintf(file, sizeof(file), "hugetlb.%s.current", size);
	pages->usage = read_number(dir, file);
	snprintf(file, sizeof(file), "hugetlb.%s.max", size);
	pages->max_usage = read_number(dir, file);
	snprintf(file, sizeof(file), "hugetlb.%s.events", size);
	if (read_text(dir, file, text))
		pages->failcnt = read_line(text, "max");
	return pages;
}

/* What a file of the folder is about, "hugetlb.SIZE.current". */
static bool is_page_size(const char *file, char size[static NAME_SIZE])
{
	char end[NAME_SIZE];

	return sscanf(file, "hugetlb.%31[A-Za-z0-9].%31s", size, end) == 2 &&
	       str_equal(end, "current");
}

static void read_huge_pages(int dir, Grpc__CgroupStats *stats)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *files = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *file;
	char size[NAME_SIZE];

	stats->hugetlb_stats = xnew_array(Grpc__CgroupStats__HugetlbStatsEntry *, PAGE_SIZES_MAX);
	while (files && stats->n_hugetlb_stats < PAGE_SIZES_MAX && (file = readdir(files))) {
		Grpc__CgroupStats__HugetlbStatsEntry *entry;

		if (!is_page_size(file->d_name, size))
			continue;
		entry = xnew(Grpc__CgroupStats__HugetlbStatsEntry);
		grpc__cgroup_stats__hugetlb_stats_entry__init(entry);
		entry->key = xstrdup(size);
		entry->value = read_page_size(dir, size);
		stats->hugetlb_stats[stats->n_hugetlb_stats++] = entry;
	}
	if (files)
		closedir(files);
	else if (fd >= 0)
		close(fd);
}

/* ---------------------------------------------------------------- all of it */

int cgroup_stats_read(int dir, Grpc__StatsContainerResponse **ret, struct error *err)
{
	Grpc__StatsContainerResponse *response;
	Grpc__CgroupStats *stats;

	if (dir < 0)
		return error_set(err, EOPNOTSUPP, "no cgroup v2 is mounted: nothing is counted");
	response = xnew(Grpc__StatsContainerResponse);
	grpc__stats_container_response__init(response);
	stats = response->cgroup_stats = xnew(Grpc__CgroupStats);
	grpc__cgroup_stats__init(stats);
	stats->cpu_stats = read_cpu(dir);
	stats->memory_stats = read_memory(dir);
	stats->pids_stats = xnew(Grpc__PidsStats);
	grpc__pids_stats__init(stats->pids_stats);
	stats->pids_stats->current = read_number(dir, "pids.current");
	stats->pids_stats->limit = read_number(dir, "pids.max");
	stats->blkio_stats = read_block_io(dir);
	read_huge_pages(dir, stats);
	*ret = response;
	return 0;
}

/* A line of /proc/meminfo, in bytes. */
static uint64_t guest_memory(const char *info, const char *name)
{
	const char *line = strstr(info, name);

	return line ? strtoull(line + strlen(name), NULL, 10) * BYTES_PER_KIB : 0;
}

int cgroup_stats_read_guest(Grpc__StatsContainerResponse **ret, struct error *err)
{
	const char *root = cgroup_root();
	_cleanup_close_ int dir = root ? open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -EBADF;
	char info[FILE_MAX], load[FILE_MAX];
	Grpc__MemoryStats *memory;
	int r = cgroup_stats_read(dir, ret, err);

	if (r < 0)
		return r;
	memory = (*ret)->cgroup_stats->memory_stats;
	if (read_text(AT_FDCWD, "/proc/meminfo", info)) {
		memory->usage->limit = guest_memory(info, "MemTotal:");
		memory->usage->usage = memory->usage->limit - guest_memory(info, "MemFree:");
		memory->swap_usage->limit = guest_memory(info, "SwapTotal:");
		memory->swap_usage->usage = memory->swap_usage->limit -
					    guest_memory(info, "SwapFree:");
	}
	(*ret)->cgroup_stats->pids_stats->limit = UINT64_MAX;
	if (read_text(AT_FDCWD, "/proc/loadavg", load))
		(void)sscanf(load, "%*s %*s %*s %*u/%" SCNu64,
			     &(*ret)->cgroup_stats->pids_stats->current);
	return 0;
}
