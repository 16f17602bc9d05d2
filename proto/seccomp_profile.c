#include "proto/seccomp_profile.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"

enum { RULES_MAX = 8192, ARGUMENTS_MAX = 6, ERRNO_MAX = 4095 };
enum { TREE_OF_SYSCALLS = 2 }; /* of SCMP_FLTATR_CTL_OPTIMIZE: quicker to run and to load */

/* ---------------------------------------------------------------- words */

struct action {
	const char *name;
	uint32_t value;
	bool has_number; /* errnoRet */
	unsigned rank;   /* the higher, the more is allowed */
};

static const struct action actions[] = {
	{ "SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD, false, 0 },
	{ "SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD, false, 0 },
	{ "SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS, false, 0 },
	{ "SCMP_ACT_TRAP", SCMP_ACT_TRAP, false, 0 },
	{ "SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0), true, 0 },
	{ "SCMP_ACT_TRACE", SCMP_ACT_TRACE(0), true, 1 },
	{ "SCMP_ACT_LOG", SCMP_ACT_LOG, false, 2 },
	{ "SCMP_ACT_ALLOW", SCMP_ACT_ALLOW, false, 2 },
};

static const struct {
	const char *name;
	uint32_t token;
} architectures[] = {
	{ "SCMP_ARCH_X86", SCMP_ARCH_X86 },
	{ "SCMP_ARCH_X86_64", SCMP_ARCH_X86_64 },
	{ "SCMP_ARCH_X32", SCMP_ARCH_X32 },
};

static const struct {
	const char *name;
	enum scmp_compare op;
} operators[] = {
	{ "SCMP_CMP_NE", SCMP_CMP_NE },
	{ "SCMP_CMP_LT", SCMP_CMP_LT },
	{ "SCMP_CMP_LE", SCMP_CMP_LE },
	{ "SCMP_CMP_EQ", SCMP_CMP_EQ },
	{ "SCMP_CMP_GE", SCMP_CMP_GE },
	{ "SCMP_CMP_GT", SCMP_CMP_GT },
	{ "SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ },
};

static const struct {
	const char *name;
	unsigned flag;
} flags[] = {
	{ "SECCOMP_FILTER_FLAG_TSYNC", 0 }, /* there is one thread only */
	{ "SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG },
	{ "SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW },
};

/* number: errnoRet, NULL where none is given. */
static int parse_action(const char *name, const uint32_t *number, uint32_t *ret, unsigned *ret_rank,
			struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		const struct action *action = &actions[i];

		if (!str_equal(name, action->name))
			continue;
		if (number && (!action->has_number || *number > ERRNO_MAX))
			return error_set(err, EINVAL, "%s cannot have errnoRet %" PRIu32, name,
					 *number);
		*ret = action->value;
		if (action->has_number)
			*ret |= number ? *number : EPERM;
		*ret_rank = action->rank;
		return 0;
	}
	if (str_equal(name, "SCMP_ACT_NOTIFY"))
		return error_set(err, EOPNOTSUPP,
				 "SCMP_ACT_NOTIFY is not supported: a program of the host cannot "
				 "decide about system calls of the guest");
	return error_set(err, EINVAL, "action \"%.64s\" is unknown", name);
}

static int add_architecture(scmp_filter_ctx ctx, const char *name, struct error *err)
{
	static const char prefix[] = "SCMP_ARCH_";
	char word[32] = "";

	for (size_t i = 0; i < ARRAY_SIZE(architectures); i++) {
		if (!str_equal(name, architectures[i].name))
			continue;
		int r = seccomp_arch_add(ctx, architectures[i].token);
		return r < 0 && r != -EEXIST ? error_set_errno(err, r, "architecture %s", name) : 0;
	}
	const char *other = str_after(name, prefix);

	for (size_t i = 0; other && other[i] && i < sizeof(word) - 1; i++)
		word[i] = (char)tolower((unsigned char)other[i]);
	if (seccomp_arch_resolve_name(word) == 0)
		return error_set(err, EINVAL, "architecture \"%.64s\" is unknown", name);
	return 0;
}

static int parse_flags(const Grpc__LinuxSeccomp *profile, unsigned *ret, struct error *err)
{
	unsigned set = 0;

	for (size_t i = 0; i < profile->n_flags; i++) {
		size_t k = 0;

		while (k < ARRAY_SIZE(flags) && !str_equal(profile->flags[i], flags[k].name))
			k++;
		if (k == ARRAY_SIZE(flags))
			return error_set(err, EOPNOTSUPP, "flag \"%.64s\" is not supported",
					 profile->flags[i]);
		set |= flags[k].flag;
	}
	*ret = set;
	return 0;
}

/* ---------------------------------------------------------------- rules */

struct build {
	scmp_filter_ctx ctx;
	uint32_t default_action;
	unsigned default_rank;
	size_t rules;   /* that were added */
	size_t unknown; /* names that were left out */
};

static int parse_argument(const Grpc__LinuxSeccompArg *argument, struct scmp_arg_cmp *ret,
			  struct error *err)
{
	size_t i = 0;

	while (i < ARRAY_SIZE(operators) && !str_equal(argument->op, operators[i].name))
		i++;
	if (i == ARRAY_SIZE(operators))
		return error_set(err, EINVAL, "operator \"%.64s\" is unknown", argument->op);
	if (argument->index >= ARGUMENTS_MAX)
		return error_set(err, EINVAL, "a system call has no argument %" PRIu64,
				 argument->index);
	*ret = (struct scmp_arg_cmp){
		.arg = (unsigned)argument->index,
		.op = operators[i].op,
		.datum_a = argument->value,
		.datum_b = argument->valuetwo,
	};
	return 0;
}

static bool is_repeated(const struct scmp_arg_cmp *arguments, size_t count)
{
	unsigned seen = 0;

	for (size_t i = 0; i < count; i++) {
		if (seen & 1u << arguments[i].arg)
			return true;
		seen |= 1u << arguments[i].arg;
	}
	return false;
}

static int add_rule(struct build *build, uint32_t action, int number,
		    const struct scmp_arg_cmp *arguments, unsigned count, struct error *err)
{
	if (build->rules++ >= RULES_MAX)
		return error_set(err, E2BIG, "there are more than %d rules", RULES_MAX);

	int r = seccomp_rule_add_array(build->ctx, action, number, count, arguments);

	return r < 0 ? error_set_errno(err, r, "libseccomp takes no such rule") : 0;
}

static int add_name(struct build *build, const char *name, uint32_t action, unsigned rank,
		    const struct scmp_arg_cmp *arguments, unsigned count, struct error *err)
{
	int number = seccomp_syscall_resolve_name(name), r = 0;

	if (number == __NR_SCMP_ERROR && rank < build->default_rank)
		return error_set(err, EOPNOTSUPP,
				 "the system call is unknown here, and what the rule forbids the "
				 "default allows");
	if (number == __NR_SCMP_ERROR) {
		build->unknown++;
		return 0;
	}
	if (!is_repeated(arguments, count))
		return add_rule(build, action, number, arguments, count, err);
	for (unsigned i = 0; r == 0 && i < count; i++)
		r = add_rule(build, action, number, &arguments[i], 1, err);
	return r;
}

static int add_syscall(struct build *build, const Grpc__LinuxSyscall *entry, struct error *err)
{
	bool has_number = entry->errno_ret_case == GRPC__LINUX_SYSCALL__ERRNO_RET_ERRNORET;
	struct scmp_arg_cmp arguments[ARGUMENTS_MAX * 2];
	uint32_t action = 0;
	unsigned rank = 0;
	int r = parse_action(entry->action, has_number ? &entry->errnoret : NULL, &action, &rank,
			     err);

	if (r == 0 && entry->n_names == 0)
		return error_set(err, EINVAL, "no system call is named");
	if (r == 0 && entry->n_args > ARRAY_SIZE(arguments))
		return error_set(err, E2BIG, "%zu conditions are more than %zu", entry->n_args,
				 ARRAY_SIZE(arguments));
	for (size_t i = 0; r == 0 && i < entry->n_args; i++)
		r = parse_argument(entry->args[i], &arguments[i], err);
	/* libseccomp refuses rules that say what the default says. */
	if (r < 0 || action == build->default_action)
		return r;
	for (size_t i = 0; i < entry->n_names; i++) {
		r = add_name(build, entry->names[i], action, rank, arguments,
			     (unsigned)entry->n_args, err);
		if (r < 0)
			return error_wrap(err, "\"%.64s\"", entry->names[i]);
	}
	return 0;
}

/* ---------------------------------------------------------------- calls newer than the profile */

/* From the first number of x32 on, which has the audit architecture of x86-64, all is left to what
 * libseccomp has compiled. */
enum { X32_FIRST = 0x40000000, CHECKS_MAX = 2, CHECK_SIZE = 6 };

/* By any rule, whatever its action is: who wrote it knew of that call. -1: none is named. */
static int highest_number(const Grpc__LinuxSeccomp *profile, uint32_t architecture)
{
	int highest = -1;

	for (size_t i = 0; i < profile->n_syscalls; i++) {
		const Grpc__LinuxSyscall *entry = profile->syscalls[i];

		for (size_t k = 0; k < entry->n_names; k++) {
			int number = seccomp_syscall_resolve_name_arch(architecture,
								       entry->names[k]);
			if (number < X32_FIRST && number > highest)
				highest = number;
		}
	}
	return highest;
}

/* A call of another architecture, or whose number is not above the highest, goes on behind it. */
static void add_check(uint32_t architecture, int highest, struct seccomp_program *program)
{
	const struct sock_filter check[CHECK_SIZE] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, architecture, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_FIRST, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t)highest, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SCMP_ACT_ERRNO(ENOSYS)),
	};

	memcpy(&program->items[program->count], check, sizeof(check));
	program->count += ARRAY_SIZE(check);
}

/* As runc: libc tries what is older only where a call is unknown, not where it is forbidden. A
 * default that lets calls pass, if only for a tracer to decide, lets those pass, too. */
static void add_checks(const struct build *build, const Grpc__LinuxSeccomp *profile,
		       struct seccomp_program *program)
{
	static const uint32_t checked[CHECKS_MAX] = { SCMP_ARCH_X86_64, SCMP_ARCH_X86 };

	if (build->default_rank > 0 || build->default_action == SCMP_ACT_ERRNO(ENOSYS))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(checked); i++) {
		int highest = highest_number(profile, checked[i]);

		if (highest >= 0 && seccomp_arch_exist(build->ctx, checked[i]) == 0)
			add_check(checked[i], highest, program);
	}
}

/* ---------------------------------------------------------------- the filter */

static int fill(struct build *build, const Grpc__LinuxSeccomp *profile, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < profile->n_architectures; i++)
		r = add_architecture(build->ctx, profile->architectures[i], err);
	for (size_t i = 0; r == 0 && i < profile->n_syscalls; i++) {
		r = add_syscall(build, profile->syscalls[i], err);
		if (r < 0)
			(void)error_wrap(err, "syscalls[%zu]", i);
	}
	if (build->unknown > 0)
		log_debug(NULL, "%zu system calls of a seccomp profile are unknown here",
			  build->unknown);
	return r;
}

enum { PROGRAM_MAX = BPF_MAXINSNS - CHECKS_MAX * CHECK_SIZE };

static int export(const struct build *build, const Grpc__LinuxSeccomp *profile,
		  struct seccomp_program *ret, struct error *err)
{
	_cleanup_close_ int fd = memfd_create("seccomp", MFD_CLOEXEC);
	int r = fd < 0 ? -errno : seccomp_export_bpf(build->ctx, fd);
	off_t size = r < 0 ? 0 : lseek(fd, 0, SEEK_END);
	size_t count = (size_t)size / sizeof(struct sock_filter);

	if (r < 0)
		return error_set_errno(err, r, "cannot compile it");
	if (count > PROGRAM_MAX)
		return error_set(err, E2BIG, "it needs more than %d instructions", PROGRAM_MAX);
	ret->items = xnew_array(struct sock_filter, CHECKS_MAX * CHECK_SIZE + count);
	add_checks(build, profile, ret);
	if (pread(fd, &ret->items[ret->count], (size_t)size, 0) != size)
		return error_set_errno(err, errno, "cannot read it back");
	ret->count += (unsigned short)count;
	return 0;
}

static int compile(const Grpc__LinuxSeccomp *profile, struct seccomp_program *ret,
		   struct error *err)
{
	bool has_number = profile->default_errno_ret_case ==
			  GRPC__LINUX_SECCOMP__DEFAULT_ERRNO_RET_DEFAULTERRNORET;
	struct build build = {};
	int r = parse_action(profile->defaultaction, has_number ? &profile->defaulterrnoret : NULL,
			     &build.default_action, &build.default_rank, err);

	if (r == 0 && (!str_empty(profile->listenerpath) || !str_empty(profile->listenermetadata)))
		r = error_set(err, EOPNOTSUPP,
			      "listenerPath and listenerMetadata are not "
			      "supported");
	if (r == 0)
		r = parse_flags(profile, &ret->flags, err);
	if (r < 0)
		return r;
	build.ctx = seccomp_init(build.default_action);
	if (!build.ctx)
		return error_set(err, ENOMEM, "libseccomp has no memory");
	(void)seccomp_attr_set(build.ctx, SCMP_FLTATR_CTL_OPTIMIZE, TREE_OF_SYSCALLS);
	r = fill(&build, profile, err);
	if (r == 0)
		r = export(&build, profile, ret, err);
	seccomp_release(build.ctx);
	return r;
}

/* ---------------------------------------------------------------- what others use */

static int take_compiled(const Grpc__CompiledSeccomp *compiled, struct seccomp_program *ret,
			 struct error *err)
{
	size_t len = compiled->instructions.len;

	if (len == 0 || len % sizeof(struct sock_filter) != 0 ||
	    len / sizeof(struct sock_filter) > BPF_MAXINSNS)
		return error_set(err, EINVAL, "%zu bytes are no compiled filter", len);
	ret->items = xmemdup(compiled->instructions.data, len);
	ret->count = (unsigned short)(len / sizeof(struct sock_filter));
	ret->flags = compiled->flags;
	return 0;
}

int seccomp_profile_compile(const Grpc__LinuxSeccomp *profile, struct seccomp_program *ret,
			    struct error *err)
{
	_cleanup_(seccomp_program_done) struct seccomp_program program = {};
	int r = 0;

	if (profile && profile->compiled)
		r = take_compiled(profile->compiled, &program, err);
	else if (profile)
		r = compile(profile, &program, err);
	if (r < 0)
		return error_wrap(err, "linux.seccomp");
	*ret = program;
	program = (struct seccomp_program){};
	return 0;
}

void seccomp_program_done(struct seccomp_program *program)
{
	free(program->items);
	*program = (struct seccomp_program){};
}

int seccomp_program_load(const struct seccomp_program *program)
{
	const struct sock_fprog fprog = { .len = program->count, .filter = program->items };

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, program->flags, &fprog) < 0 ? -errno
											 : 0;
}
