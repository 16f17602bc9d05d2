#include "agent/device_control.h"

#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

#include "agent/device_rules.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

enum { CACHE_SIZE = 4 };

/* Programs that were loaded: the kernel takes longest for that, and most containers have the same
 * rules. A template is frozen with that of the rehearsal's. */
static struct entry {
	struct device_program program; /* owned */
	int fd;                        /* owned */
} cache[CACHE_SIZE];
static unsigned next_entry;

static int call_bpf(enum bpf_cmd command, union bpf_attr *attr)
{
	long r = syscall(SYS_bpf, command, attr, sizeof(*attr));

	return r < 0 ? -errno : (int)r;
}

static int load(const struct device_program *program)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr)); /* the kernel looks at the padding, too */
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = (uintptr_t)program->items;
	attr.insn_cnt = (uint32_t)program->count;
	attr.license = (uintptr_t) "";
	return call_bpf(BPF_PROG_LOAD, &attr);
}

static int find(const struct device_program *program)
{
	for (size_t i = 0; i < CACHE_SIZE; i++)
		if (cache[i].program.count == program->count &&
		    memcmp(cache[i].program.items, program->items,
			   program->count * sizeof(*program->items)) == 0)
			return cache[i].fd;
	return -ENOENT;
}

/* The program's descriptor, which stays the cache's. Takes the program. */
static int find_or_load(struct device_program *program)
{
	int fd = find(program);

	if (fd >= 0)
		return fd;
	fd = load(program);
	if (fd < 0)
		return fd;

	struct entry *entry = &cache[next_entry++ % CACHE_SIZE];

	if (entry->program.count > 0)
		close_fd(entry->fd);
	device_program_done(&entry->program);
	*entry = (struct entry){ *program, fd };
	*program = (struct device_program){};
	return fd;
}

int device_control_set(int cgroup, const Grpc__LinuxResources *resources, struct error *err)
{
	_cleanup_(device_program_done) struct device_program program = {};
	union bpf_attr attr;
	int r = device_rules_compile(resources, &program, err);

	if (r < 0)
		return r;

	int fd = find_or_load(&program);

	if (fd < 0)
		return error_set_errno(err, fd, "cannot load the program of its devices");
	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)cgroup;
	attr.attach_bpf_fd = (uint32_t)fd;
	attr.attach_type = BPF_CGROUP_DEVICE;
	attr.attach_flags = BPF_F_ALLOW_MULTI;
	r = call_bpf(BPF_PROG_ATTACH, &attr);
	return r < 0 ? error_set_errno(err, r, "cannot control its devices") : 0;
}
