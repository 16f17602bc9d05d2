#include "factory/guest/carried_device.h"

#include <string.h>

#include "base/memory.h"
#include "base/strings.h"

#define FIRST "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#define CHARS FIRST "._/:@+-"

bool carried_name_is_valid(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len <= CARRIED_NAME_MAX && strchr(FIRST, name[0]) &&
	       strspn(name, CHARS) == len;
}

char *carried_device(size_t index)
{
	return xasprintf("/dev/pmem%zu", index + 1);
}
