#include "agent/caps.h"

#include <ctype.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { NAME_MAX_LEN = 40 }; /* the longest so far: CAP_CHECKPOINT_RESTORE */

/* As in OCI, or without "CAP_", as Kata's clients write it. */
static int parse_name(const char *name, cap_value_t *ret)
{
	char full[NAME_MAX_LEN + sizeof("CAP_")];
	const char *prefix = strncasecmp(name, "CAP_", 4) == 0 ? "" : "CAP_";

	/* libcap takes numbers, too. */
	if (!isalpha((unsigned char)*name) || strlen(name) > NAME_MAX_LEN)
		return -EINVAL;
	snprintf(full, sizeof(full), "%s%s", prefix, name);
	return cap_from_name(full, ret) == 0 && *ret >= 0 && *ret < 64 ? 0 : -EINVAL;
}

static int parse_set(char *const *names, size_t count, uint64_t *ret, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		cap_value_t value;
		if (parse_name(names[i], &value) < 0)
			return error_set(err, EINVAL, "process.capabilities: \"%.*s\" is not known",
					 NAME_MAX_LEN, names[i]);
		*ret |= UINT64_C(1) << value;
	}
	return 0;
}

int caps_parse(const Grpc__LinuxCapabilities *names, struct caps *ret, struct error *err)
{
	struct caps caps = {};
	int r;

	if (!names) {
		*ret = caps;
		return 0;
	}
	r = parse_set(names->bounding, names->n_bounding, &caps.bounding, err);
	if (r == 0)
		r = parse_set(names->effective, names->n_effective, &caps.effective, err);
	if (r == 0)
		r = parse_set(names->inheritable, names->n_inheritable, &caps.inheritable, err);
	if (r == 0)
		r = parse_set(names->permitted, names->n_permitted, &caps.permitted, err);
	if (r == 0)
		r = parse_set(names->ambient, names->n_ambient, &caps.ambient, err);
	if (r < 0)
		return r;
	caps.ambient &= caps.inheritable & caps.permitted; /* the kernel takes no others */
	*ret = caps;
	return 0;
}

int caps_own(struct caps *ret)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {};

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;

	uint64_t own = (uint64_t)data[1].permitted << 32 | data[0].permitted;

	*ret = (struct caps){ .bounding = UINT64_MAX, .effective = own, .permitted = own };
	return 0;
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
