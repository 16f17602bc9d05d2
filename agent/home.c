#include "agent/home.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

enum { PASSWD_MAX = 256 * 1024, FIELD_UID = 2, FIELD_HOME = 5, FIELDS = 7 };

/* Not a FIFO, whose open or read would wait. */
static char *read_passwd(void)
{
	_cleanup_close_ int fd = open("/etc/passwd", O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > PASSWD_MAX)
		return NULL;

	_cleanup_free_ char *text = xnew_array(char, (size_t)st.st_size + 1);
	ssize_t n = read_full(fd, text, (size_t)st.st_size);
	if (n < 0)
		return NULL;
	text[n] = '\0';
	return steal_ptr(text);
}

/* The home of a line "name:password:uid:gid:gecos:home:shell" that is about uid; cuts the line
 * up. NULL where it is about somebody else or no such line. */
static const char *line_home(char *line, uid_t uid)
{
	char *fields[FIELDS] = {};
	uint64_t number;

	for (size_t i = 0; i < FIELDS; i++)
		fields[i] = strsep(&line, ":");
	if (!fields[FIELD_HOME] || str_to_u64(fields[FIELD_UID], 0, UINT32_MAX, &number) < 0 ||
	    number != uid || *fields[FIELD_HOME] != '/')
		return NULL;
	return fields[FIELD_HOME];
}

char *home_variable(uid_t uid)
{
	_cleanup_free_ char *text = read_passwd();
	char *rest = text, *line;

	while ((line = strsep(&rest, "\n"))) {
		const char *home = line_home(line, uid);
		if (home)
			return xasprintf("HOME=%s", home);
	}
	return xstrdup("HOME=/");
}
