#include "proto/shim_socket.h"

#include "base/digest.h"
#include "base/memory.h"

char *shim_socket_path(const char *containerd_address, const char *ns, const char *sandbox_id)
{
	char hex[DIGEST_HEX_SIZE];
	struct digest *digest = digest_new();

	digest_add_string(digest, containerd_address);
	digest_add_string(digest, ns);
	digest_add_string(digest, sandbox_id);
	digest_finish(digest, hex);
	digest_free(digest);
	return xasprintf(SHIM_DIR "/%s", hex);
}
