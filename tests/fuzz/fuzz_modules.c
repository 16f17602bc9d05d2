/* Bytes as the name by which a kernel asks for a module, which a container has made it ask for:
 * what is to be loaded is of the table, whole lines of it, and nothing else. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/modules.h"
#include "base/memory.h"
#include "base/strings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char table[] = "sctp udp_tunnel.ko sctp.ko\n"
			    "net_pf_2_proto_132 udp_tunnel.ko sctp.ko\n"
			    "tun tun.ko\n"
			    "char_major_10_200 tun.ko\n"
			    "block_major_7_* loop.ko\n"
			    "ip_set_hash:ip,port ip_set_hash_ipport.ko\n";

static int on_file(const char *file, const char *options, void *userdata)
{
	static const char *const files[] = { "udp_tunnel.ko", "sctp.ko", "tun.ko", "loop.ko",
					     "ip_set_hash_ipport.ko" };
	unsigned *seen = userdata;

	if (*options)
		abort();
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		if (str_equal(file, files[i])) {
			*seen |= 1U << i;
			return 0;
		}
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *alias = xnew_array(char, size + 1);
	unsigned seen = 0;

	if (size > 0)
		memcpy(alias, data, size);

	int count = modules_find(table, alias, on_file, &seen);

	/* A name is on one line at most; sctp's comes after what it needs. */
	if (count != __builtin_popcount(seen) || (seen & 2 && !(seen & 1)) ||
	    (count > 0 && strlen(alias) > MODULE_ALIAS_MAX))
		abort();
	return 0;
}
