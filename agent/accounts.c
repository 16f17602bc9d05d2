#include "agent/accounts.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/rootpath.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

/* name:password:uid:gid:comment:home:shell, and name:password:gid:members */
enum { NAME = 0, PASSWD_UID = 2, PASSWD_GID = 3, PASSWD_HOME = 5, PASSWD_FIELDS = 7 };
enum { GROUP_GID = 2, GROUP_MEMBERS = 3, GROUP_FIELDS = 4 };

enum { DIGITS_MAX = 10 };

/* ---------------------------------------------------------------- the file */

int accounts_read(const char *path, char **ret_text, struct error *err)
{
	_cleanup_close_ int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -EBADF;
	struct stat st;

	if (root < 0)
		return error_set_errno(err, errno, "cannot open the root folder");

	/* Not a FIFO, whose open or read would wait. */
	int r = rootpath_open_file(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, &fd);

	if (r == 0 && fstat(fd, &st) < 0)
		r = -errno;
	if (r < 0)
		return error_set_errno(err, r, "cannot read the container's %s", path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "the container's %s is no plain file", path);
	if (st.st_size > ACCOUNTS_MAX)
		return error_set(err, EFBIG, "the container's %s has more than %d bytes", path,
				 ACCOUNTS_MAX);

	_cleanup_free_ char *text = xnew_array(char, (size_t)st.st_size + 1);
	ssize_t n = read_full(fd, text, (size_t)st.st_size);

	if (n < 0)
		return error_set_errno(err, (int)n, "cannot read the container's %s", path);
	text[n] = '\0';
	*ret_text = steal_ptr(text);
	return 0;
}

/* ---------------------------------------------------------------- lines */

/* A part of the text. */
struct field {
	const char *at;
	size_t len;
};

static bool field_is(const struct field *field, const char *text)
{
	return strlen(text) == field->len && memcmp(field->at, text, field->len) == 0;
}

static bool field_number(const struct field *field, uint32_t *ret)
{
	char digits[DIGITS_MAX + 1] = "";
	uint64_t number;

	if (field->len > DIGITS_MAX)
		return false;
	memcpy(digits, field->at, field->len);
	/* The last number is nobody's: it means "as it is". */
	if (str_to_u64(digits, 0, UINT32_MAX - 1, &number) < 0)
		return false;
	*ret = (uint32_t)number;
	return true;
}

/* The next line of *text, cut at its colons, and *text behind it: how many fields were filled in.
 * The last of max has the rest of the line. False: there are no more lines. */
static bool next_line(const char **text, struct field *fields, size_t max, size_t *ret_count)
{
	const char *at = *text, *end = strchrnul(at, '\n');
	size_t count = 0;

	if (*at == '\0')
		return false;
	do {
		const char *colon = memchr(at, ':', (size_t)(end - at));
		const char *stop = colon && count + 1 < max ? colon : end;
		fields[count++] = (struct field){ at, (size_t)(stop - at) };
		at = stop + 1;
	} while (count < max && at <= end);
	*text = *end ? end + 1 : end;
	*ret_count = count;
	return true;
}

/* ---------------------------------------------------------------- users */

bool accounts_find_user(const char *passwd, const char *name, uid_t uid, struct account *ret)
{
	struct field fields[PASSWD_FIELDS];
	size_t count;

	while (next_line(&passwd, fields, PASSWD_FIELDS, &count)) {
		struct account account = {};
		if (count <= PASSWD_GID || fields[NAME].len == 0 ||
		    !field_number(&fields[PASSWD_UID], &account.uid) ||
		    !field_number(&fields[PASSWD_GID], &account.gid) ||
		    (name ? !field_is(&fields[NAME], name) : account.uid != uid))
			continue;
		account.name = xstrndup(fields[NAME].at, fields[NAME].len);
		account.home = count > PASSWD_HOME
				       ? xstrndup(fields[PASSWD_HOME].at, fields[PASSWD_HOME].len)
				       : xstrdup("");
		*ret = account;
		return true;
	}
	return false;
}

void account_done(struct account *account)
{
	free(account->name);
	free(account->home);
	*account = (struct account){};
}

/* ---------------------------------------------------------------- groups */

/* The next line about a group: its name, number and members. */
static bool next_group(const char **text, struct field *fields, gid_t *ret_gid)
{
	size_t count;

	while (next_line(text, fields, GROUP_FIELDS, &count)) {
		if (count <= GROUP_GID || fields[NAME].len == 0 ||
		    !field_number(&fields[GROUP_GID], ret_gid))
			continue;
		if (count <= GROUP_MEMBERS)
			fields[GROUP_MEMBERS] = (struct field){ "", 0 };
		return true;
	}
	return false;
}

bool accounts_find_group(const char *group, const char *name, gid_t *ret_gid)
{
	struct field fields[GROUP_FIELDS];
	gid_t gid;

	while (next_group(&group, fields, &gid)) {
		if (!field_is(&fields[NAME], name))
			continue;
		*ret_gid = gid;
		return true;
	}
	return false;
}

static bool has_member(const struct field *members, const char *user)
{
	const char *at = members->at, *end = at + members->len;

	while (at < end) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		const struct field member = { at, (size_t)((comma ? comma : end) - at) };
		if (member.len > 0 && field_is(&member, user))
			return true;
		at += member.len + 1;
	}
	return false;
}

void accounts_add_groups(const char *group, const char *user, gid_t **groups, size_t *count)
{
	struct field fields[GROUP_FIELDS];
	gid_t gid;

	while (next_group(&group, fields, &gid)) {
		if (!has_member(&fields[GROUP_MEMBERS], user))
			continue;
		*groups = xrealloc_array(*groups, *count + 1, sizeof(**groups));
		(*groups)[(*count)++] = gid;
	}
}
