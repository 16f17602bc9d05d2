#include "factory/jail/cgroup_devices.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/device_filter.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

enum { LIST_MAX = 64 * 1024 };

/* Character devices, by numbers that are Linux' own (Documentation/admin-guide/devices.txt). */
static const struct device {
	int major, minor;
} allowed[] = {
	{ 1, 3 },    /* null */
	{ 1, 5 },    /* zero */
	{ 1, 9 },    /* urandom */
	{ 10, 232 }, /* kvm */
};

/* ---------------------------------------------------------------- v1 */

static int write_file(const char *folder, const char *file, const char *text, struct error *err)
{
	_cleanup_free_ char *path = path_join(folder, file);

	return file_write_value(path, text, err);
}

/* A new group may open what its parent may, most often everything ("a *:* rwm"). That cannot be
 * taken from one that has groups of its own, and need not: it was taken when it was made. */
static int deny_all(const char *folder, struct error *err)
{
	_cleanup_free_ char *path = path_join(folder, "devices.list");
	_cleanup_free_ char *list = NULL;
	int r = file_read(path, LIST_MAX, &list, NULL, err);

	return r < 0 || list[0] != 'a' ? r : write_file(folder, "devices.deny", "a", err);
}

int cgroup_devices_limit_v1(const char *folder, struct error *err)
{
	int r = deny_all(folder, err);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(allowed); i++) {
		_cleanup_free_ char *line = xasprintf("c %d:%d rw", allowed[i].major,
						      allowed[i].minor);
		r = write_file(folder, "devices.allow", line, err);
	}
	return r;
}

/* ---------------------------------------------------------------- v2 */

/* The few instructions it takes (linux/bpf.h). R1 is the struct bpf_cgroup_dev_ctx, R0 the answer:
 * 1 allows. */
#define LOAD(dst, field)                                                                           \
	{                                                                                          \
		.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = (dst), .src_reg = BPF_REG_1,         \
		.off = offsetof(struct bpf_cgroup_dev_ctx, field)                                  \
	}
#define AND(dst, bits)                                                                             \
	{                                                                                          \
		.code = BPF_ALU | BPF_AND | BPF_K, .dst_reg = (dst), .imm = (bits)                 \
	}
#define MOVE(dst, value)                                                                           \
	{                                                                                          \
		.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = (dst), .imm = (value)              \
	}
/* Over so many of the next instructions. */
#define SKIP_IF(dst, op, value, count)                                                             \
	{                                                                                          \
		.code = BPF_JMP | (op) | BPF_K, .dst_reg = (dst), .off = (count), .imm = (value)   \
	}
#define EXIT                                                                                       \
	{                                                                                          \
		.code = BPF_JMP | BPF_EXIT                                                         \
	}

enum { DEVICE_INSNS = 4, HEAD_INSNS = 5, TAIL_INSNS = 2 };
enum { PROGRAM_INSNS = HEAD_INSNS + (int)ARRAY_SIZE(allowed) * DEVICE_INSNS + TAIL_INSNS };

/* access_type is how (the upper half) and what kind of device (the lower). Anything but reading and
 * writing a character device is no. */
static void write_program(struct bpf_insn program[static PROGRAM_INSNS])
{
	const int looked_at = 0xffff | BPF_DEVCG_ACC_MKNOD << 16;
	const struct bpf_insn head[HEAD_INSNS] = {
		LOAD(BPF_REG_2, access_type),
		AND(BPF_REG_2, looked_at),
		SKIP_IF(BPF_REG_2, BPF_JNE, BPF_DEVCG_DEV_CHAR,
			HEAD_INSNS - 3 + (int)ARRAY_SIZE(allowed) * DEVICE_INSNS),
		LOAD(BPF_REG_3, major),
		LOAD(BPF_REG_4, minor),
	};
	const struct bpf_insn tail[TAIL_INSNS] = { MOVE(BPF_REG_0, 0), EXIT };

	memcpy(program, head, sizeof(head));
	for (size_t i = 0; i < ARRAY_SIZE(allowed); i++) {
		const struct bpf_insn device[DEVICE_INSNS] = {
			SKIP_IF(BPF_REG_3, BPF_JNE, allowed[i].major, 3),
			SKIP_IF(BPF_REG_4, BPF_JNE, allowed[i].minor, 2),
			MOVE(BPF_REG_0, 1),
			EXIT,
		};
		memcpy(program + HEAD_INSNS + i * DEVICE_INSNS, device, sizeof(device));
	}
	memcpy(program + PROGRAM_INSNS - TAIL_INSNS, tail, sizeof(tail));
}

int cgroup_devices_limit_v2(const char *folder, struct error *err)
{
	_cleanup_close_ int group = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int filter = -EBADF;
	struct bpf_insn program[PROGRAM_INSNS];

	if (group < 0)
		return error_set_errno(err, errno, "cannot open %s", folder);
	write_program(program);

	int r = device_filter_load(program, PROGRAM_INSNS, &filter, err);

	if (r == 0)
		r = device_filter_attach(filter, group, 0, err);
	return r < 0 ? error_wrap(err, "%s", folder) : 0;
}
