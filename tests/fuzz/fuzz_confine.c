/* Bytes as the part of a container's spec that confines it: what is accepted becomes programs that
 * the kernel could run. The fuzzers are linked without the programs' rooms, so the module comes in
 * whole. */
#include <stdint.h>
#include <stdlib.h>

#include "agent/device_rules.c"
#include "base/log.h"
#include "proto/seccomp_profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Jumps lead forward and stay within, and the last instruction is an end. */
static void check_program(const struct device_program *program)
{
	for (size_t i = 0; i < program->count; i++) {
		const struct bpf_insn *insn = &program->items[i];
		bool jumps = BPF_CLASS(insn->code) == BPF_JMP && BPF_OP(insn->code) != BPF_EXIT;

		if (jumps && (insn->off < 0 || i + 1 + (size_t)insn->off >= program->count))
			abort();
	}
	if (program->items[program->count - 1].code != (BPF_JMP | BPF_EXIT))
		abort();
}

static void try_devices(const Grpc__Linux *linux)
{
	_cleanup_(device_program_done) struct device_program program = {};
	_cleanup_(error_done) struct error err = {};

	if (device_rules_compile(linux->resources, &program, &err) == 0)
		check_program(&program);
	else if (!err.message)
		abort();
}

static void try_seccomp(const Grpc__Linux *linux)
{
	_cleanup_(seccomp_program_done) struct seccomp_program program = {};
	_cleanup_(error_done) struct error err = {};

	if (seccomp_profile_compile(linux->seccomp, &program, &err) < 0) {
		if (!err.message || program.items)
			abort();
	} else if ((program.count == 0) != !linux->seccomp) {
		abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Grpc__Linux *linux = grpc__linux__unpack(NULL, size, data);

	log_set_level(LOG_LEVEL_ERROR);
	if (!linux)
		return 0;
	try_devices(linux);
	try_seccomp(linux);
	grpc__linux__free_unpacked(linux, NULL);
	return 0;
}
