#include "bench/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/spawn.h"

static void set_line(json_t *machine, const char *key, const char *text)
{
	size_t len = text ? strcspn(text, "\n") : 0;

	if (len > 0)
		json_object_set_new(machine, key, json_stringn(text, len));
}

static void set_version(json_t *machine, const char *key, const char *program)
{
	_cleanup_free_ char *output = NULL;

	if (spawn_and_wait(SPAWN_ARGV(program, "--version"), &output, NULL) == 0)
		set_line(machine, key, output);
}

static void set_file(json_t *machine, const char *key, const char *path)
{
	_cleanup_free_ char *text = NULL;

	if (file_read(path, 4096, &text, NULL, NULL) == 0)
		set_line(machine, key, text);
}

static void set_cpu(json_t *machine)
{
	_cleanup_free_ char *text = NULL;

	if (file_read("/proc/cpuinfo", 1 << 20, &text, NULL, NULL) < 0)
		return;
	const char *model = strstr(text, "model name");
	model = model ? strchr(model, ':') : NULL;
	set_line(machine, "cpu", model ? model + 2 : NULL);
}

double host_load(void)
{
	double load = 0;

	return getloadavg(&load, 1) == 1 ? load : 0;
}

json_t *host_describe(void)
{
	json_t *machine = json_object();
	struct sysinfo info;
	struct utsname names;

	set_cpu(machine);
	json_object_set_new(machine, "cpus", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
	if (sysinfo(&info) == 0)
		json_object_set_new(
			machine, "memory_mib",
			json_integer((json_int_t)((uint64_t)info.totalram * info.mem_unit >> 20)));
	if (uname(&names) == 0)
		set_line(machine, "kernel", names.release);
	set_version(machine, "qemu", "qemu-system-x86_64");
	set_version(machine, "libvirt", "libvirtd");
	set_version(machine, "containerd", "containerd");
	set_version(machine, "runc", "runc");
	set_line(machine, "kiln", KILN_VERSION);
	set_file(machine, "huge_pages", "/sys/kernel/mm/transparent_hugepage/enabled");
	set_file(machine, "governor", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
	json_object_set_new(machine, "load_before", json_real(host_load()));
	return machine;
}
