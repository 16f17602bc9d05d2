#include "agent/caps.h"

#include <linux/capability.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/log.h"

static uint64_t parse_set(char *const *names, size_t count, const char *object)
{
	uint64_t set = 0;

	for (size_t i = 0; i < count; i++) {
		cap_value_t value;
		if (cap_from_name(names[i], &value) == 0 && value >= 0 && value < 64)
			set |= UINT64_C(1) << value;
		else
			log_warning(object, "capability %s is not known and left out", names[i]);
	}
	return set;
}

void caps_parse(const Grpc__LinuxCapabilities *names, const char *object, struct caps *ret)
{
	*ret = (struct caps){};
	if (!names)
		return;
	ret->bounding = parse_set(names->bounding, names->n_bounding, object);
	ret->effective = parse_set(names->effective, names->n_effective, object);
	ret->inheritable = parse_set(names->inheritable, names->n_inheritable, object);
	ret->permitted = parse_set(names->permitted, names->n_permitted, object);
	ret->ambient = parse_set(names->ambient, names->n_ambient, object);
}

int caps_apply_bounding(const struct caps *caps)
{
	/* The kernel says which is its last: beyond it dropping is invalid. */
	for (unsigned cap = 0; cap < 64; cap++) {
		if (caps->bounding & (UINT64_C(1) << cap))
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return errno == EINVAL && cap > 0 ? 0 : -errno;
	}
	return 0;
}

static int apply_ambient(uint64_t set)
{
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return -errno;
	for (unsigned cap = 0; cap < 64; cap++)
		if (set & (UINT64_C(1) << cap) &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			return -errno;
	return 0;
}

static int set(uint64_t permitted, uint64_t effective, uint64_t inheritable)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	for (unsigned i = 0; i < 2; i++) {
		data[i].permitted = (uint32_t)(permitted >> (32 * i));
		data[i].effective = (uint32_t)(effective >> (32 * i));
		data[i].inheritable = (uint32_t)(inheritable >> (32 * i));
	}
	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int caps_limit(const struct caps *caps, uint64_t more)
{
	uint64_t kept = caps->permitted | caps->effective | caps->inheritable | caps->ambient |
			more;

	return set(kept, kept, 0);
}

int caps_apply(const struct caps *caps, uint64_t more)
{
	int r = set(caps->permitted | more, caps->effective | more, caps->inheritable);

	return r < 0 ? r : apply_ambient(caps->ambient);
}

int caps_finish(const struct caps *caps)
{
	return set(caps->permitted, caps->effective, caps->inheritable);
}
