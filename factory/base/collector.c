#include "factory/base/collector.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/strings.h"

enum { OTLP_PORT = 4318, PORT_MAX = 65535 };

static bool path_is_plain(const char *path)
{
	for (; *path; path++)
		if (*path <= ' ' || *path > '~')
			return false;
	return true;
}

int collector_parse(const char *url, struct collector *ret_collector, struct error *err)
{
	const char *rest = str_after(url, "http://");
	size_t host_len = rest ? strcspn(rest, ":/") : 0;
	const char *slash = rest ? strchr(rest, '/') : NULL;
	_cleanup_free_ char *host = xstrndup(rest ? rest : "", host_len);
	uint64_t port = OTLP_PORT;
	struct in_addr address;

	if (rest && rest[host_len] == ':') {
		const char *digits = rest + host_len + 1;
		_cleanup_free_ char *text = xstrndup(digits, strcspn(digits, "/"));
		if (str_to_u64(text, 1, PORT_MAX, &port) < 0)
			rest = NULL;
	}
	if (str_equal(host, "localhost"))
		replace_string(&host, "127.0.0.1");
	if (!rest || inet_pton(AF_INET, host, &address) != 1 || (slash && !path_is_plain(slash)))
		return error_set(err, EINVAL,
				 "\"%.128s\" is no collector: must be http://ADDRESS[:PORT][/PATH] "
				 "with an IPv4 address in numbers",
				 url);
	ret_collector->address = steal_ptr(host);
	ret_collector->path = xstrdup(slash ? slash : "/v1/traces");
	ret_collector->port = (uint16_t)port;
	return 0;
}

void collector_done(struct collector *collector)
{
	free(collector->address);
	free(collector->path);
}
