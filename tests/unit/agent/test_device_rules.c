/* What the program of a container's device rules answers: interpreted here, and by the kernel in
 * test_container.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "agent/device_rules.h"
#include "base/strings.h"

enum { R = BPF_DEVCG_ACC_READ, W = BPF_DEVCG_ACC_WRITE, M = BPF_DEVCG_ACC_MKNOD };
enum { B = BPF_DEVCG_DEV_BLOCK, C = BPF_DEVCG_DEV_CHAR };
enum { RULES = 8 };

/* One instruction; what the program does not use is a failure. */
static const struct bpf_insn *step(const struct bpf_insn *insn, uint64_t *reg,
				   const struct bpf_cgroup_dev_ctx *ctx)
{
	uint64_t imm = (uint64_t)insn->imm, *to = &reg[insn->dst_reg];

	switch (insn->code) {
	case BPF_LDX | BPF_MEM | BPF_W:
		*to = *(const uint32_t *)((const char *)ctx + insn->off);
		return insn + 1;
	case BPF_ALU64 | BPF_MOV | BPF_X:
		*to = reg[insn->src_reg];
		return insn + 1;
	case BPF_ALU64 | BPF_MOV | BPF_K:
		*to = imm;
		return insn + 1;
	case BPF_ALU64 | BPF_RSH | BPF_K:
		*to >>= imm;
		return insn + 1;
	case BPF_ALU64 | BPF_AND | BPF_K:
		*to &= imm;
		return insn + 1;
	case BPF_JMP | BPF_JNE | BPF_K:
		return insn + 1 + (*to != imm ? insn->off : 0);
	case BPF_JMP | BPF_JSET | BPF_K:
		return insn + 1 + (*to & imm ? insn->off : 0);
	case BPF_JMP | BPF_JA:
		return insn + 1 + insn->off;
	default:
		fail_msg("instruction 0x%x", insn->code);
		return NULL;
	}
}

static bool is_allowed(const struct device_program *program, int type, unsigned major,
		       unsigned minor, int access)
{
	const struct bpf_cgroup_dev_ctx ctx = { (uint32_t)(access << 16 | type), major, minor };
	const struct bpf_insn *insn = program->items;
	uint64_t reg[11] = {};

	while (insn->code != (BPF_JMP | BPF_EXIT)) {
		insn = step(insn, reg, &ctx);
		assert_true(insn < program->items + program->count);
	}
	return reg[0] == 1;
}

struct list {
	Grpc__LinuxDeviceCgroup rules[RULES], *pointers[RULES];
	Grpc__LinuxResources resources;
};

static void add(struct list *list, bool allow, const char *type, int64_t major, int64_t minor,
		const char *access)
{
	Grpc__LinuxDeviceCgroup *rule = &list->rules[list->resources.n_devices];

	grpc__linux_device_cgroup__init(rule);
	rule->allow = allow;
	rule->type = (char *)type;
	rule->major = major;
	rule->minor = minor;
	rule->access = (char *)access;
	list->pointers[list->resources.n_devices++] = rule;
	list->resources.devices = list->pointers;
}

static struct device_program compile(const Grpc__LinuxResources *resources)
{
	struct device_program program;

	assert_int_equal(device_rules_compile(resources, &program, NULL), 0);
	return program;
}

#define LIST()                                                                                     \
	{                                                                                          \
		.resources = GRPC__LINUX_RESOURCES__INIT                                           \
	}

static void test_every_container_has_the_usual_ones(void **state _unused_)
{
	_cleanup_(device_program_done) struct device_program program = compile(NULL);

	assert_true(is_allowed(&program, C, 1, 3, R | W));
	assert_true(is_allowed(&program, C, 5, 2, R | W));
	assert_true(is_allowed(&program, C, 136, 77, R | W));
	assert_true(is_allowed(&program, B, 259, 0, M));
	assert_true(is_allowed(&program, B, 259, 0, 0));
	assert_false(is_allowed(&program, B, 259, 0, R));
	assert_false(is_allowed(&program, B, 259, 0, R | M));
	assert_false(is_allowed(&program, C, 1, 1, R));
	assert_false(is_allowed(&program, C, 5, 1, W));
	assert_false(is_allowed(&program, B, 1, 3, R));
}

static void test_the_last_rule_decides_each_kind(void **state _unused_)
{
	struct list list = LIST();

	add(&list, false, "a", -1, -1, "rwm");
	add(&list, true, "b", 8, -1, "rw");
	add(&list, false, "b", 8, 16, "w");
	add(&list, true, "c", 10, 229, "");

	_cleanup_(device_program_done) struct device_program program = compile(&list.resources);

	assert_true(is_allowed(&program, B, 8, 0, R | W));
	assert_true(is_allowed(&program, B, 8, 16, R));
	assert_false(is_allowed(&program, B, 8, 16, W));
	assert_false(is_allowed(&program, B, 8, 16, R | W));
	assert_true(is_allowed(&program, C, 10, 229, R | W | M));
	assert_false(is_allowed(&program, C, 10, 228, R));
}

static void test_all_may_be_allowed(void **state _unused_)
{
	struct list list = LIST();

	add(&list, true, "", 0, 0, "rwm");
	add(&list, false, "c", 4, -1, "r");

	_cleanup_(device_program_done) struct device_program program = compile(&list.resources);

	assert_true(is_allowed(&program, B, 259, 0, R | W | M));
	assert_true(is_allowed(&program, C, 4, 64, W));
	assert_false(is_allowed(&program, C, 4, 64, R | W));
}

static void test_lists_of_one_meaning_are_one_program(void **state _unused_)
{
	struct list list = LIST();

	add(&list, false, "", 0, 0, "rwm");
	add(&list, true, "c", 1, 3, "rwm");
	add(&list, true, "c", 136, -1, "rwm");

	_cleanup_(device_program_done) struct device_program usual = compile(NULL),
							     other = compile(&list.resources);

	assert_int_equal(usual.count, other.count);
	assert_memory_equal(usual.items, other.items, usual.count * sizeof(*usual.items));
}

static void test_wrong_ones_are_named(void **state _unused_)
{
	static const struct {
		const char *type, *access, *sentence;
		int64_t major;
	} cases[] = {
		{ "x", "r", "devices[1]: type \"x\" is unknown", 1 },
		{ "b", "rx", "access \"rx\"", 1 },
		{ "b", "r", "no device has the number -2:0", -2 },
		{ "b", "r", "no device has the number 2147483648:0", INT64_C(1) << 31 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(error_done) struct error err = {};
		struct device_program program;
		struct list list = LIST();

		add(&list, true, "a", 0, 0, "r");
		add(&list, true, cases[i].type, cases[i].major, 0, cases[i].access);
		assert_int_equal(device_rules_compile(&list.resources, &program, &err), -EINVAL);
		if (!strstr(error_message(&err), cases[i].sentence))
			fail_msg("%s", error_message(&err));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_container_has_the_usual_ones),
		cmocka_unit_test(test_the_last_rule_decides_each_kind),
		cmocka_unit_test(test_all_may_be_allowed),
		cmocka_unit_test(test_lists_of_one_meaning_are_one_program),
		cmocka_unit_test(test_wrong_ones_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
