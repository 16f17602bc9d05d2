#include "shim/seccomp.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "proto/seccomp_profile.h"

#define CACHE "/run/kiln/seccomp"

enum { FILE_MAX = BPF_MAXINSNS * sizeof(struct sock_filter) + 64 };

/* Where what comes out of this profile is kept; the caller frees. */
static char *file_of(const Grpc__LinuxSeccomp *profile)
{
	size_t len = grpc__linux_seccomp__get_packed_size(profile);
	_cleanup_free_ uint8_t *bytes = xnew_array(uint8_t, len + 1);
	struct digest *digest = digest_new();
	char name[DIGEST_HEX_SIZE];

	grpc__linux_seccomp__pack(profile, bytes);
	digest_add_string(digest, KILN_VERSION);
	digest_add_string(digest, SECCOMP_COMPILER);
	digest_add(digest, bytes, len);
	digest_finish(digest, name);
	return path_join(CACHE, name);
}

/* NULL: there is none. */
static Grpc__CompiledSeccomp *read_kept(const char *path)
{
	_cleanup_free_ char *text = NULL;
	size_t len;

	if (!path_exists(path) || file_read(path, FILE_MAX, &text, &len, NULL) < 0)
		return NULL;
	return grpc__compiled_seccomp__unpack(NULL, len, (const uint8_t *)text);
}

static void keep(const char *path, const Grpc__CompiledSeccomp *compiled)
{
	size_t len = grpc__compiled_seccomp__get_packed_size(compiled);
	_cleanup_free_ uint8_t *bytes = xnew_array(uint8_t, len + 1);
	_cleanup_(error_done) struct error err = {};

	grpc__compiled_seccomp__pack(compiled, bytes);
	if (dir_make(CACHE, 0700, &err) < 0 ||
	    file_write_volatile(path, bytes, len, 0600, &err) < 0)
		log_info(NULL, "the compiled seccomp profile is not kept: %s", error_message(&err));
}

static int compile(const Grpc__LinuxSeccomp *profile, Grpc__CompiledSeccomp **ret,
		   struct error *err)
{
	_cleanup_(seccomp_program_done) struct seccomp_program program = {};
	Grpc__CompiledSeccomp *compiled;
	int r = seccomp_profile_compile(profile, &program, err);

	if (r < 0)
		return r;
	compiled = xnew(Grpc__CompiledSeccomp);
	grpc__compiled_seccomp__init(compiled);
	compiled->instructions.len = program.count * sizeof(*program.items);
	compiled->instructions.data = xmemdup(program.items, compiled->instructions.len);
	compiled->flags = program.flags;
	*ret = compiled;
	return 0;
}

int seccomp_precompile(Grpc__Linux *linux, struct error *err)
{
	Grpc__LinuxSeccomp *profile = linux ? linux->seccomp : NULL;

	if (!profile)
		return 0;

	_cleanup_free_ char *path = file_of(profile);
	Grpc__CompiledSeccomp *compiled = read_kept(path);

	if (!compiled) {
		int r = compile(profile, &compiled, err);
		if (r < 0)
			return r;
		keep(path, compiled);
	}
	grpc__linux_seccomp__free_unpacked(profile, NULL);
	linux->seccomp = xnew(Grpc__LinuxSeccomp);
	grpc__linux_seccomp__init(linux->seccomp);
	linux->seccomp->compiled = compiled;
	return 0;
}
