/* Lines of the input as a QEMU argument vector: derived, and what came of it filled in. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/memory.h"
#include "factory/vm/argv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct placeholder files[] = { { "memory", "/m,\"em" },
						    { "image", "/t/image" } };
	const struct argv_values values = {
		.files = files,
		.nfiles = ARRAY_SIZE(files),
		.share_dir = "/s",
		.agent_fd = "3",
		.qmp_fd = "4",
		.shim_fd = "5",
		.guest_cid = "77",
		.first_tap_fd = 30,
		.taps = 1,
		.vhost_fd = "40",
		.first_vhost_net_fd = 41,
		.vcpus = "2",
		.last_vcpu = "1",
		.memory_kib = "262144",
		.max_memory_kib = "300000",
	};
	_cleanup_free_ char *text = xstrndup((const char *)data, size);
	_cleanup_(strv_done) struct strv argv = {}, derived = {}, expanded = {};
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		strv_add(&argv, line);
	const struct argv_template template = { .argv = &argv, .dir = "/t", .copied = size % 3 };
	uint64_t room_kib;
	int r = size % 2 ? argv_derive(&template, &derived, NULL)
			 : argv_derive_boot(&template, &derived, &room_kib, NULL);
	r = argv_expand(r == 0 ? &derived : &argv, &values, &expanded, NULL);
	return r < 0 ? -1 : 0; /* -1: not worth keeping in the corpus */
}
