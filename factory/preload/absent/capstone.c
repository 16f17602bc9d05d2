/* Stands for libcapstone, with which QEMU writes guest code into logs, and which it needs for
 * nothing else. A clone's QEMU logs no code, and that library costs each of them 2 MiB, for tables
 * of the instructions of all processors.
 *
 * It is loaded first (LD_PRELOAD) under that library's name, so the true one is not looked for.
 * All functions of version 4 are here, so that no QEMU that asks for that version misses one.
 * None can be done, which QEMU takes for a processor that the library does not know: it writes
 * bytes then instead of instructions. */
#include <stddef.h>

enum { CS_ERR_ARCH = 2 }; /* "unsupported architecture" */

/* Arguments are not looked at, and the caller removes them. */
#define FAILS(name)                                                                                \
	int name(void);                                                                            \
	int name(void)                                                                             \
	{                                                                                          \
		return CS_ERR_ARCH;                                                                \
	}
#define HAS_NOTHING(name)                                                                          \
	void *name(void);                                                                          \
	void *name(void)                                                                           \
	{                                                                                          \
		return NULL;                                                                       \
	}

FAILS(cs_open)
FAILS(cs_close)
FAILS(cs_option)
FAILS(cs_errno)
FAILS(cs_regs_access)
HAS_NOTHING(cs_version)
HAS_NOTHING(cs_support)
HAS_NOTHING(cs_strerror)
HAS_NOTHING(cs_disasm)
HAS_NOTHING(cs_disasm_ex)
HAS_NOTHING(cs_disasm_iter)
HAS_NOTHING(cs_malloc)
HAS_NOTHING(cs_free)
HAS_NOTHING(cs_reg_name)
HAS_NOTHING(cs_insn_name)
HAS_NOTHING(cs_group_name)
HAS_NOTHING(cs_insn_group)
HAS_NOTHING(cs_reg_read)
HAS_NOTHING(cs_reg_write)
HAS_NOTHING(cs_op_count)
HAS_NOTHING(cs_op_index)
