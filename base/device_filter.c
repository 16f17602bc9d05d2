#include "base/device_filter.h"

#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LOG_SIZE = 4096 };

static int call_bpf(enum bpf_cmd command, union bpf_attr *attr)
{
	long r = syscall(SYS_bpf, command, attr, sizeof(*attr));

	return r < 0 ? -errno : (int)r;
}

/* log: LOG_SIZE bytes for the verifier; NULL: it need not say anything, which is quicker, and long
 * programs do not fail because their log does not fit. */
static int load(const struct bpf_insn *insns, size_t count, char *log)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr)); /* the kernel looks at the padding, too */
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = (uint32_t)count;
	attr.license = (uintptr_t) "GPL";
	memcpy(attr.prog_name, "kiln_devices", sizeof("kiln_devices"));
	if (log) {
		attr.log_buf = (uintptr_t)log;
		attr.log_size = LOG_SIZE;
		attr.log_level = 1;
	}
	return call_bpf(BPF_PROG_LOAD, &attr);
}

int device_filter_load(const struct bpf_insn *insns, size_t count, int *ret_fd, struct error *err)
{
	char log[LOG_SIZE] = "";
	int fd = load(insns, count, NULL);

	if (fd < 0)
		fd = load(insns, count, log);
	if (fd < 0)
		return error_set_errno(err, fd,
				       "cannot load the BPF program that keeps devices shut%s%s",
				       log[0] ? ": " : "", log);
	*ret_fd = fd;
	return 0;
}

int device_filter_attach(int fd, int cgroup, unsigned flags, struct error *err)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)cgroup;
	attr.attach_bpf_fd = (uint32_t)fd;
	attr.attach_type = BPF_CGROUP_DEVICE;
	attr.attach_flags = flags;

	int r = call_bpf(BPF_PROG_ATTACH, &attr);

	return r < 0 ? error_set_errno(err, r, "cannot attach a BPF program") : 0;
}
