#include "agent/metrics.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"

enum { PROC_MAX = 1 << 16, RECORD_MAX = 8192, NSEC_PER_SEC = 1000000000 };

static void add_head(struct strbuf *text, const char *name, const char *type, const char *help)
{
	strbuf_addf(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* ---------------------------------------------------------------- the guest */

static void add_memory(struct strbuf *text)
{
	_cleanup_free_ char *info = NULL;
	char *rest = NULL, key[64];
	uint64_t kib;

	if (file_read("/proc/meminfo", PROC_MAX, &info, NULL, NULL) < 0)
		return;
	add_head(text, "kiln_guest_memory_bytes", "gauge", "Memory, as /proc/meminfo names it.");
	for (char *line = strtok_r(info, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		if (strstr(line, " kB") &&
		    sscanf(line, "%63[A-Za-z0-9_()]: %" SCNu64, key, &kib) == 2)
			strbuf_addf(text, "kiln_guest_memory_bytes{item=\"%s\"} %" PRIu64 "\n", key,
				    kib * 1024);
}

static void add_load(struct strbuf *text)
{
	_cleanup_free_ char *info = NULL;
	char one[16], five[16], fifteen[16];

	if (file_read("/proc/loadavg", PROC_MAX, &info, NULL, NULL) < 0 ||
	    sscanf(info, "%15[0-9.] %15[0-9.] %15[0-9.]", one, five, fifteen) != 3)
		return;
	add_head(text, "kiln_guest_load", "gauge", "Processes that run or wait for a disk.");
	strbuf_addf(text,
		    "kiln_guest_load{minutes=\"1\"} %s\nkiln_guest_load{minutes=\"5\"} %s\n"
		    "kiln_guest_load{minutes=\"15\"} %s\n",
		    one, five, fifteen);
}

static void add_cpu(struct strbuf *text)
{
	static const char *const modes[] = { "user",   "nice", "system",  "idle",
					     "iowait", "irq",  "softirq", "stolen" };
	_cleanup_free_ char *info = NULL;
	long ticks = sysconf(_SC_CLK_TCK);
	const char *at;

	if (file_read("/proc/stat", 1 << 20, &info, NULL, NULL) < 0 ||
	    !(at = str_after(info, "cpu ")) || ticks <= 0)
		return;
	add_head(text, "kiln_guest_cpu_seconds_total", "counter", "Time of all vCPUs, by use.");
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		char *end;
		unsigned long long count = strtoull(at, &end, 10);
		at = end;
		strbuf_addf(text, "kiln_guest_cpu_seconds_total{mode=\"%s\"} %.2f\n", modes[i],
			    (double)count / (double)ticks);
	}
}

/* ---------------------------------------------------------------- the agent */

static size_t open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;
	size_t count = 0;

	while (dir && (entry = readdir(dir)))
		count += entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return count > 0 ? count - 1 : 0; /* without that of the folder */
}

static void add_agent(struct strbuf *text)
{
	_cleanup_free_ char *info = NULL;
	uint64_t pages;

	add_head(text, "kiln_agent_open_files", "gauge", "Descriptors that the agent has open.");
	strbuf_addf(text, "kiln_agent_open_files %zu\n", open_files());
	if (file_read("/proc/self/statm", PROC_MAX, &info, NULL, NULL) < 0 ||
	    sscanf(info, "%*u %" SCNu64, &pages) != 1)
		return;
	add_head(text, "kiln_agent_resident_bytes", "gauge", "The agent's memory.");
	strbuf_addf(text, "kiln_agent_resident_bytes %" PRIu64 "\n",
		    pages * (uint64_t)sysconf(_SC_PAGESIZE));
}

/* ---------------------------------------------------------------- containers */

static double cpu_seconds(const Grpc__CgroupStats *stats)
{
	const Grpc__CpuStats *cpu = stats->cpu_stats;

	return cpu && cpu->cpu_usage ? (double)cpu->cpu_usage->total_usage / NSEC_PER_SEC : 0;
}

static double memory_bytes(const Grpc__CgroupStats *stats)
{
	const Grpc__MemoryStats *memory = stats->memory_stats;

	return memory && memory->usage ? (double)memory->usage->usage : 0;
}

static double processes(const Grpc__CgroupStats *stats)
{
	return stats->pids_stats ? (double)stats->pids_stats->current : 0;
}

static const struct {
	const char *name, *type, *help;
	double (*value)(const Grpc__CgroupStats *stats);
} container_metrics[] = {
	{ "kiln_container_cpu_seconds_total", "counter", "CPU time of a container.", cpu_seconds },
	{ "kiln_container_memory_bytes", "gauge", "Memory of a container.", memory_bytes },
	{ "kiln_container_processes", "gauge", "Threads of a container.", processes },
};

static void add_container(struct strbuf *text, size_t metric, const struct container *container)
{
	Grpc__StatsContainerResponse *stats;

	if (container_stats(container, &stats, NULL) < 0)
		return; /* it goes just now, or there are no control groups */
	if (stats->cgroup_stats)
		strbuf_addf(text, "%s{container=\"%s\"} %.15g\n", container_metrics[metric].name,
			    container_id(container),
			    container_metrics[metric].value(stats->cgroup_stats));
	grpc__stats_container_response__free_unpacked(stats, NULL);
}

void metrics_write(struct container *const *containers, size_t count, struct strbuf *text)
{
	add_load(text);
	add_cpu(text);
	add_memory(text);
	add_agent(text);
	for (size_t m = 0; m < ARRAY_SIZE(container_metrics); m++) {
		add_head(text, container_metrics[m].name, container_metrics[m].type,
			 container_metrics[m].help);
		for (size_t i = 0; i < count; i++)
			add_container(text, m, containers[i]);
	}
}

/* ---------------------------------------------------------------- diagnostics */

/* A record is "PRIORITY,NUMBER,MICROSECONDS,FLAGS;TEXT" and lines of more about it. */
static void add_record(struct strbuf *text, char *record)
{
	unsigned long long usec = 0;
	char *body = strchr(record, ';');

	if (!body || sscanf(record, "%*u,%*u,%llu", &usec) != 1)
		return;
	body[strcspn(body, "\n")] = '\0';
	strbuf_addf(text, "[%llu.%06llu] %s\n", usec / 1000000, usec % 1000000, body + 1);
}

int diagnostic_kernel(struct strbuf *text, struct error *err)
{
	_cleanup_close_ int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	_cleanup_(strbuf_done) struct strbuf all = {};
	char record[RECORD_MAX];
	ssize_t n;

	if (fd < 0)
		return error_set_errno(err, errno, "cannot read the kernel's log");
	/* -EPIPE: what was next has been written over meanwhile. */
	while ((n = read(fd, record, sizeof(record) - 1)) > 0 || (n < 0 && errno == EPIPE)) {
		record[n > 0 ? n : 0] = '\0';
		add_record(&all, record);
	}
	const char *from = strbuf_text(&all);
	if (all.len > DIAGNOSTIC_MAX) {
		const char *line = strchr(from + all.len - DIAGNOSTIC_MAX, '\n');
		from = line ? line + 1 : from;
	}
	strbuf_adds(text, from);
	return 0;
}

void diagnostic_container(const struct container *container, struct strbuf *text)
{
	Kiln__Guest__V1__ListProcessesResponse *list;
	Grpc__StatsContainerResponse *stats;

	strbuf_addf(text, "container %s is %s\n", container_id(container),
		    container_state_to_string(container_state(container)));
	if (container_list(container, &list, NULL) == 0) {
		for (size_t i = 0; i < list->n_processes; i++)
			strbuf_addf(text, "process %u %s\n", list->processes[i]->pid,
				    list->processes[i]->exec_id);
		kiln__guest__v1__list_processes_response__free_unpacked(list, NULL);
	}
	if (container_stats(container, &stats, NULL) == 0) {
		if (stats->cgroup_stats)
			strbuf_addf(text, "memory %.15g bytes\ncpu %.3f seconds\n",
				    memory_bytes(stats->cgroup_stats),
				    cpu_seconds(stats->cgroup_stats));
		grpc__stats_container_response__free_unpacked(stats, NULL);
	}
}
