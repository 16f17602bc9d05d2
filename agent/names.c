/* Names of hosts, services and interfaces, which libevent can look up and nobody here asks for.
 *
 * The agent is static, and the C library's own functions are 150 KB in it: a resolver, name
 * services, and a loader of libraries for these. With these here, which find nothing, the linker
 * takes none of that. */
#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <stddef.h>

#include "base/cleanup.h"

int getaddrinfo(const char *restrict name _unused_, const char *restrict service _unused_,
		const struct addrinfo *restrict hints _unused_,
		struct addrinfo **restrict ret _unused_)
{
	return EAI_FAIL;
}

void freeaddrinfo(struct addrinfo *list _unused_)
{
}

const char *gai_strerror(int code _unused_)
{
	return "no names are looked up here";
}

struct servent *getservbyname(const char *name _unused_, const char *protocol _unused_)
{
	return NULL;
}

struct protoent *getprotobynumber(int number _unused_)
{
	return NULL;
}

int getifaddrs(struct ifaddrs **ret _unused_)
{
	errno = ENOSYS;
	return -1;
}

void freeifaddrs(struct ifaddrs *list _unused_)
{
}
