#include "factory/store/pool_policy.h"

#include <inttypes.h>

#include "base/config.h"
#include "base/strings.h"

#define TARGET_MAX     1000
#define POLICY(f, ...) CONFIG_UINT(struct pool_policy, f, __VA_ARGS__)

static const struct config_key policy_keys[] = {
	POLICY(min, "min", 1, 0, TARGET_MAX, "Fewest machines, where target is \"auto\""),
	POLICY(max, "max", 32, 1, TARGET_MAX, "Most machines, where target is \"auto\""),
	POLICY(low_water, "low_water", 0, 0, TARGET_MAX,
	       "A refill begins below it and goes on to the target; 0: the target"),
	POLICY(burst, "burst", 0, 0, 64,
	       "Clones being made at the same time for a refill; 0: clones_at_once"),
	POLICY(max_age_s, "max_age_s", 0, 0, 365 * 86400,
	       "Seconds after which a parked machine is replaced; 0: never"),
	POLICY(probe_s, "probe_s", 30, 0, 86400,
	       "Seconds between two probes of the parked machines; 0: none"),
	POLICY(spares, "spares", 0, 0, 16, "Clones that wait half-way: started, and frozen again"),
};

/* A number or "auto": what the table of keys cannot say. */
static int read_target(const json_t *value, const char *where, struct pool_policy *policy,
		       struct error *err)
{
	if (!value)
		return 0;
	if (str_equal(json_string_value(value), "auto")) {
		policy->automatic = true;
		return 0;
	}
	json_int_t number = json_integer_value(value);
	if (!json_is_integer(value) || number < 0 || number > TARGET_MAX)
		return error_set(err, EINVAL,
				 "%s: target must be a number from 0 to %d, or \"auto\"", where,
				 TARGET_MAX);
	policy->target = (uint64_t)number;
	return 0;
}

static int policy_check(const struct pool_policy *policy, const char *where, struct error *err)
{
	uint64_t most = policy->automatic ? policy->max : policy->target;

	if (policy->min > policy->max)
		return error_set(err, EINVAL, "%s: min %" PRIu64 " is more than max %" PRIu64,
				 where, policy->min, policy->max);
	if (policy->low_water > most)
		return error_set(err, EINVAL,
				 "%s: low_water %" PRIu64 " is more than the %s %" PRIu64, where,
				 policy->low_water, policy->automatic ? "max" : "target", most);
	return 0;
}

int pool_policy_read(const json_t *object, uint64_t pool_size, const char *where,
		     struct pool_policy *ret, struct error *err)
{
	struct pool_policy policy = { .target = pool_size };
	int r = 0;

	config_set_defaults(policy_keys, ARRAY_SIZE(policy_keys), &policy);
	if (object && !json_is_object(object))
		return error_set(err, EINVAL, "%s must be an object", where);
	if (object) {
		json_t *rest = json_copy((json_t *)object);
		r = read_target(json_object_get(object, "target"), where, &policy, err);
		(void)json_object_del(rest, "target");
		if (r == 0)
			r = config_read(policy_keys, ARRAY_SIZE(policy_keys), rest, where, &policy,
					err);
		json_decref(rest);
	}
	if (r == 0)
		r = policy_check(&policy, where, err);
	if (r == 0)
		*ret = policy;
	return r;
}

void pool_policy_print(FILE *out)
{
	config_print(policy_keys, ARRAY_SIZE(policy_keys), out);
}

bool pool_policy_equal(const struct pool_policy *a, const struct pool_policy *b)
{
	return a->automatic == b->automatic && a->target == b->target && a->min == b->min &&
	       a->max == b->max && a->low_water == b->low_water && a->burst == b->burst &&
	       a->max_age_s == b->max_age_s && a->probe_s == b->probe_s && a->spares == b->spares;
}
