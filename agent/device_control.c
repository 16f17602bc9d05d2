#include "agent/device_control.h"

#include <string.h>

#include "agent/device_rules.h"
#include "base/device_filter.h"
#include "base/file.h"

enum { CACHE_SIZE = 4 };

/* Programs that were loaded: the kernel takes longest for that, and most containers have the same
 * rules. A template is frozen with that of the rehearsal's. */
static struct entry {
	struct device_program program; /* owned */
	int fd;                        /* owned */
} cache[CACHE_SIZE];
static unsigned next_entry;

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
static int find_or_load(struct device_program *program, int *ret_fd, struct error *err)
{
	*ret_fd = find(program);
	if (*ret_fd >= 0)
		return 0;

	int r = device_filter_load(program->items, program->count, ret_fd, err);

	if (r < 0)
		return r;

	struct entry *entry = &cache[next_entry++ % CACHE_SIZE];

	if (entry->program.count > 0)
		close_fd(entry->fd);
	device_program_done(&entry->program);
	*entry = (struct entry){ *program, *ret_fd };
	*program = (struct device_program){};
	return 0;
}

int device_control_set(int cgroup, const Grpc__LinuxResources *resources, struct error *err)
{
	_cleanup_(device_program_done) struct device_program program = {};
	int fd = -EBADF;
	int r = device_rules_compile(resources, &program, err);

	if (r == 0)
		r = find_or_load(&program, &fd, err);
	return r < 0 ? r : device_filter_attach(fd, cgroup, BPF_F_ALLOW_MULTI, err);
}
