#include "agent/device_rules.h"

#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/memory.h"
#include "base/strings.h"

enum { ANY = -1, ALL_ACCESS = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE };
enum { USE = BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE | BPF_DEVCG_ACC_MKNOD };
enum { INSTRUCTIONS_FRAME = 10, INSTRUCTIONS_RULE = 7 };

struct rule {
	bool allow;
	int type; /* BPF_DEVCG_DEV_*, or ANY */
	int64_t major, minor;
	int access; /* BPF_DEVCG_ACC_* */
};

static const struct rule default_rules[] = {
	{ true, BPF_DEVCG_DEV_CHAR, ANY, ANY, BPF_DEVCG_ACC_MKNOD },
	{ true, BPF_DEVCG_DEV_BLOCK, ANY, ANY, BPF_DEVCG_ACC_MKNOD },
	{ true, BPF_DEVCG_DEV_CHAR, 1, 3, USE },     /* null */
	{ true, BPF_DEVCG_DEV_CHAR, 1, 5, USE },     /* zero */
	{ true, BPF_DEVCG_DEV_CHAR, 1, 7, USE },     /* full */
	{ true, BPF_DEVCG_DEV_CHAR, 1, 8, USE },     /* random */
	{ true, BPF_DEVCG_DEV_CHAR, 1, 9, USE },     /* urandom */
	{ true, BPF_DEVCG_DEV_CHAR, 5, 0, USE },     /* tty */
	{ true, BPF_DEVCG_DEV_CHAR, 5, 2, USE },     /* ptmx */
	{ true, BPF_DEVCG_DEV_CHAR, 136, ANY, USE }, /* what is in a devpts */
};

/* ---------------------------------------------------------------- reading */

static int parse_type(const char *type, int *ret)
{
	if (str_empty(type) || str_equal(type, "a"))
		*ret = ANY;
	else if (str_equal(type, "c") || str_equal(type, "u"))
		*ret = BPF_DEVCG_DEV_CHAR;
	else if (str_equal(type, "b"))
		*ret = BPF_DEVCG_DEV_BLOCK;
	else
		return -EINVAL;
	return 0;
}

/* None named: all. */
static int parse_access(const char *access, int *ret)
{
	int set = str_empty(access) ? ALL_ACCESS : 0;

	for (; *access; access++) {
		if (*access == 'r')
			set |= BPF_DEVCG_ACC_READ;
		else if (*access == 'w')
			set |= BPF_DEVCG_ACC_WRITE;
		else if (*access == 'm')
			set |= BPF_DEVCG_ACC_MKNOD;
		else
			return -EINVAL;
	}
	*ret = set;
	return 0;
}

static bool is_number(int64_t number)
{
	return number >= ANY && number <= INT_MAX;
}

static int parse_rule(const Grpc__LinuxDeviceCgroup *message, struct rule *ret, struct error *err)
{
	struct rule rule = { .allow = message->allow };

	if (parse_type(message->type, &rule.type) < 0)
		return error_set(err, EINVAL, "type \"%.32s\" is unknown", message->type);
	if (parse_access(message->access, &rule.access) < 0)
		return error_set(err, EINVAL, "access \"%.32s\" is not of r, w and m",
				 message->access);
	/* "All devices" has no numbers, whatever a sender puts there. */
	rule.major = rule.type == ANY ? ANY : message->major;
	rule.minor = rule.type == ANY ? ANY : message->minor;
	if (!is_number(rule.major) || !is_number(rule.minor))
		return error_set(err, EINVAL, "no device has the number %" PRId64 ":%" PRId64,
				 rule.major, rule.minor);
	*ret = rule;
	return 0;
}

static bool covers(const struct rule *rule, const struct rule *other)
{
	return (rule->type == ANY || rule->type == other->type) &&
	       (rule->major == ANY || rule->major == other->major) &&
	       (rule->minor == ANY || rule->minor == other->minor) &&
	       (other->access & ~rule->access) == 0;
}

/* Whether a later rule decides all that this one would. */
static bool is_overruled(const struct rule *rules, size_t count, size_t index)
{
	for (size_t i = index + 1; i < count; i++)
		if (covers(&rules[i], &rules[index]))
			return true;
	return false;
}

/* ---------------------------------------------------------------- writing */

/* In the program: 2 is the type, 3 the kinds of access that are not decided yet, 4 and 5 the
 * numbers, 0 the answer (1: allowed). */
static void add(struct device_program *program, int code, int to, int from, int offset, int value)
{
	program->items[program->count++] = (struct bpf_insn){
		.code = (uint8_t)code,
		.dst_reg = (uint8_t)(to & 0xf),
		.src_reg = (uint8_t)(from & 0xf),
		.off = (int16_t)offset,
		.imm = value,
	};
}

static void add_answer(struct device_program *program, int answer)
{
	add(program, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, answer);
	add(program, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static void add_begin(struct device_program *program)
{
	add(program, BPF_LDX | BPF_MEM | BPF_W, 2, 1,
	    offsetof(struct bpf_cgroup_dev_ctx, access_type), 0);
	add(program, BPF_ALU64 | BPF_MOV | BPF_X, 3, 2, 0, 0);
	add(program, BPF_ALU64 | BPF_RSH | BPF_K, 3, 0, 0, 16);
	add(program, BPF_ALU64 | BPF_AND | BPF_K, 2, 0, 0, 0xffff);
	add(program, BPF_LDX | BPF_MEM | BPF_W, 4, 1, offsetof(struct bpf_cgroup_dev_ctx, major),
	    0);
	add(program, BPF_LDX | BPF_MEM | BPF_W, 5, 1, offsetof(struct bpf_cgroup_dev_ctx, minor),
	    0);
}

/* Jumps of a rule's tests lead behind it. */
static void add_rule(struct device_program *program, const struct rule *rule)
{
	const struct {
		int reg;
		int64_t value;
	} tests[] = { { 2, rule->type }, { 4, rule->major }, { 5, rule->minor } };
	int left = 4; /* instructions behind the tests */

	for (size_t i = 0; i < ARRAY_SIZE(tests); i++)
		left += tests[i].value != ANY;
	for (size_t i = 0; i < ARRAY_SIZE(tests); i++)
		if (tests[i].value != ANY)
			add(program, BPF_JMP | BPF_JNE | BPF_K, tests[i].reg, 0, --left,
			    (int)tests[i].value);
	if (rule->allow) {
		add(program, BPF_ALU64 | BPF_AND | BPF_K, 3, 0, 0, ALL_ACCESS & ~rule->access);
		add(program, BPF_JMP | BPF_JNE | BPF_K, 3, 0, 2, 0);
		add_answer(program, 1);
	} else {
		add(program, BPF_JMP | BPF_JSET | BPF_K, 3, 0, 1, rule->access);
		add(program, BPF_JMP | BPF_JA, 0, 0, 2, 0);
		add_answer(program, 0);
	}
}

/* What nobody has allowed is forbidden; nothing was asked for where a path is only looked up. */
static void add_end(struct device_program *program)
{
	add(program, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0);
	add(program, BPF_JMP | BPF_JNE | BPF_K, 3, 0, 1, 0);
	add(program, BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1);
	add(program, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* The last one first. First denials change nothing. */
static void write_program(struct rule *rules, size_t count, struct device_program *ret)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++)
		if (!is_overruled(rules, count, i) && (kept > 0 || rules[i].allow))
			rules[kept++] = rules[i];
	ret->items = xnew_array(struct bpf_insn, INSTRUCTIONS_FRAME + kept * INSTRUCTIONS_RULE);
	add_begin(ret);
	for (size_t i = kept; i > 0; i--)
		add_rule(ret, &rules[i - 1]);
	add_end(ret);
}

int device_rules_compile(const Grpc__LinuxResources *resources, struct device_program *ret,
			 struct error *err)
{
	size_t count = resources ? resources->n_devices : 0;

	if (count > DEVICE_RULES_MAX)
		return error_set(err, E2BIG, "%zu device rules are more than %d", count,
				 DEVICE_RULES_MAX);

	_cleanup_free_ struct rule *rules = xnew_array(struct rule,
						       count + ARRAY_SIZE(default_rules));

	for (size_t i = 0; i < count; i++) {
		int r = parse_rule(resources->devices[i], &rules[i], err);
		if (r < 0)
			return error_wrap(err, "linux.resources.devices[%zu]", i);
	}
	memcpy(&rules[count], default_rules, sizeof(default_rules));
	*ret = (struct device_program){};
	write_program(rules, count + ARRAY_SIZE(default_rules), ret);
	return 0;
}

void device_program_done(struct device_program *program)
{
	free(program->items);
	*program = (struct device_program){};
}
