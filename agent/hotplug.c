#include "agent/hotplug.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"

#define CPU_FOLDER    "/sys/devices/system/cpu"
#define MEMORY_FOLDER "/sys/devices/system/memory"
#define VCPUS_PARAM   "kiln.vcpus="

enum { CPUS_MAX = 1024, FILE_MAX = 4096 };

static int write_word(const char *path, const char *word)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write_full(fd, word, strlen(word));
}

/* ---------------------------------------------------------------- vCPUs */

static char *cpu_path(unsigned cpu)
{
	return xasprintf(CPU_FOLDER "/cpu%u/online", cpu);
}

/* 1, 0, or -ENOENT where there is no such vCPU (or the first one, which is always online). */
static int cpu_is_online(unsigned cpu)
{
	_cleanup_free_ char *path = cpu_path(cpu);
	_cleanup_free_ char *text = NULL;
	int r = file_read(path, FILE_MAX, &text, NULL, NULL);

	return r < 0 ? r : text[0] == '1';
}

static void take_offline(unsigned cpu)
{
	_cleanup_free_ char *path = cpu_path(cpu);
	int r = write_word(path, "0");

	if (r < 0)
		log_error(NULL, "cannot take vCPU %u offline: %s", cpu, strerror(-r));
}

int hotplug_online_cpus(uint32_t count, struct error *err)
{
	uint32_t done = 0;

	for (unsigned cpu = 1; cpu < CPUS_MAX && done < count; cpu++) {
		_cleanup_free_ char *path = cpu_path(cpu);
		if (cpu_is_online(cpu) != 0)
			continue;
		int r = write_word(path, "1");
		if (r < 0)
			return error_set_errno(err, r, "cannot bring vCPU %u online", cpu);
		done++;
	}
	if (done < count)
		return error_set(err, ENOENT, "%u vCPUs are to come online, and %u were offline",
				 count, done);
	return 0;
}

/* How many are to be online; 0: all. */
static unsigned wanted_cpus(void)
{
	_cleanup_free_ char *line = NULL;
	char *rest = NULL;
	uint64_t count = 0;

	if (file_read("/proc/cmdline", FILE_MAX, &line, NULL, NULL) < 0)
		return 0;
	for (char *word = strtok_r(line, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest)) {
		const char *value = str_after(word, VCPUS_PARAM);
		if (value && str_to_u64(value, 1, CPUS_MAX, &count) < 0)
			log_error(NULL, "%s on the kernel command line is no number of vCPUs",
				  word);
	}
	return (unsigned)count;
}

/* ---------------------------------------------------------------- memory */

static int online_block(const char *name, struct error *err)
{
	_cleanup_free_ char *path = xasprintf(MEMORY_FOLDER "/%s/state", name);
	_cleanup_free_ char *state = NULL;

	/* A block may go away while the folder is read. */
	if (file_read(path, FILE_MAX, &state, NULL, NULL) < 0 || !str_after(state, "offline"))
		return 0;
	int r = write_word(path, "online");
	return r < 0 ? error_set_errno(err, r, "cannot bring %s online", name) : 0;
}

int hotplug_online_memory(struct error *err)
{
	DIR *dir;
	int r = 0;

	/* Setting what is set already waits for the lock. */
	(void)write_word(MEMORY_FOLDER "/memory0/state", "online");
	dir = opendir(MEMORY_FOLDER);
	if (!dir)
		return error_set_errno(err, errno, "the kernel has no memory hotplug");
	for (const struct dirent *entry; r == 0 && (entry = readdir(dir));) {
		const char *number = str_after(entry->d_name, "memory");
		if (number && *number >= '0' && *number <= '9')
			r = online_block(entry->d_name, err);
	}
	closedir(dir);
	return r;
}

int hotplug_probe_memory(uint64_t address, struct error *err)
{
	char text[32];

	snprintf(text, sizeof(text), "0x%" PRIx64, address);
	int r = write_word(MEMORY_FOLDER "/probe", text);
	return r < 0 ? error_set_errno(err, r, "cannot add memory at %s", text) : 0;
}

void hotplug_prepare(void)
{
	unsigned wanted = wanted_cpus();

	for (unsigned cpu = wanted; wanted > 0 && cpu < CPUS_MAX && cpu_is_online(cpu) >= 0; cpu++)
		take_offline(cpu);
	/* A kernel without memory hotplug has no such file, and needs none. */
	int r = write_word(MEMORY_FOLDER "/auto_online_blocks", "online");
	if (r < 0 && r != -ENOENT)
		log_error(NULL, "memory does not come online by itself: %s", strerror(-r));
}
