#include "factory/base/access.h"

#include <grp.h>
#include <libgen.h>
#include <pwd.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/audit.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/strings.h"

enum { GROUPS_MAX = 65536, LOG_INTERVAL_MS = 1000 };

struct id_list {
	id_t *items; /* owned */
	size_t count;
};

struct access {
	struct id_list uids, gids;
	uint64_t next_log_ms; /* CLOCK_MONOTONIC */
	unsigned unlogged;    /* refusals since the last line */
};

/* ---------------------------------------------------------------- the lists */

static bool list_has(const struct id_list *list, id_t id)
{
	for (size_t i = 0; i < list->count; i++) {
		if (list->items[i] == id)
			return true;
	}
	return false;
}

static void list_add(struct id_list *list, id_t id)
{
	if (list_has(list, id))
		return;
	list->items = xrealloc_array(list->items, list->count + 1, sizeof(*list->items));
	list->items[list->count++] = id;
}

static int find_user(const char *name, id_t *ret_id)
{
	const struct passwd *entry = getpwnam(name);

	if (!entry)
		return -EINVAL;
	*ret_id = entry->pw_uid;
	return 0;
}

static int find_group(const char *name, id_t *ret_id)
{
	const struct group *entry = getgrnam(name);

	if (!entry)
		return -EINVAL;
	*ret_id = entry->gr_gid;
	return 0;
}

static char *trim(char *text)
{
	text += strspn(text, " \t");
	for (size_t len = strlen(text); len > 0 && strchr(" \t", text[len - 1]); len--)
		text[len - 1] = '\0';
	return text;
}

static int list_read(const char *key, const char *text, int (*find)(const char *, id_t *),
		     struct id_list *list, struct error *err)
{
	_cleanup_free_ char *copy = xstrdup(text ? text : "");
	char *rest = copy, *part;

	while ((part = strsep(&rest, ","))) {
		uint64_t number;
		id_t id;
		part = trim(part);
		if (!*part)
			continue;
		/* (uid_t)-1 is "nobody known" where the kernel has no credentials. */
		if (str_to_u64(part, 0, UINT32_MAX - 1, &number) == 0)
			id = (id_t)number;
		else if (find(part, &id) < 0)
			return error_set(err, EINVAL,
					 "%s names \"%s\", which this host does not know", key,
					 part);
		list_add(list, id);
	}
	return 0;
}

int access_new(const char *uids, const char *groups, struct access **ret_access, struct error *err)
{
	_cleanup_(access_free_cleanup) struct access *access = xnew(struct access);

	int r = list_read("allow_uids", uids, find_user, &access->uids, err);
	if (r == 0)
		r = list_read("allow_groups", groups, find_group, &access->gids, err);
	if (r < 0)
		return r;
	*ret_access = steal_ptr(access);
	return 0;
}

void access_free(struct access *access)
{
	if (!access)
		return;
	free(access->uids.items);
	free(access->gids.items);
	free(access);
}

/* ---------------------------------------------------------------- the socket file */

struct socket_access access_of_socket(const struct access *access)
{
	if (access->uids.count == 0 && access->gids.count == 0)
		return (struct socket_access){ 0600, 0 };
	if (access->uids.count > 0 || access->gids.count > 1)
		return (struct socket_access){ 0666, 0 };
	return (struct socket_access){ 0660, (gid_t)access->gids.items[0] };
}

int access_set(const struct socket_access *access, const char *socket_path, struct error *err)
{
	_cleanup_free_ char *copy = xstrdup(socket_path);
	const char *folder = dirname(copy);
	struct stat st;

	/* Narrow first: at no time may the old group have the new mode. */
	if (chmod(socket_path, 0600) < 0 || chown(socket_path, 0, access->group) < 0 ||
	    chmod(socket_path, access->mode) < 0)
		return error_set_errno(err, errno, "cannot set who may use %s", socket_path);
	if (access->mode == 0600)
		return 0;
	if (stat(folder, &st) < 0 || chmod(folder, (st.st_mode & 07777) | 0011) < 0)
		return error_set_errno(err, errno, "cannot let others into %s", folder);
	return 0;
}

/* ---------------------------------------------------------------- connections */

/* The groups at the time of connect(2), of which getgroups(2) of the peer then told. */
static bool has_group(const struct access *access, int fd)
{
	_cleanup_free_ gid_t *groups = xnew_array(gid_t, GROUPS_MAX);
	socklen_t len = GROUPS_MAX * sizeof(*groups);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
		return false;
	for (size_t i = 0; i < len / sizeof(*groups); i++) {
		if (list_has(&access->gids, groups[i]))
			return true;
	}
	return false;
}

static bool is_allowed(const struct access *access, int fd, const struct peer *peer)
{
	if (peer->uid == (uid_t)-1)
		return false;
	if (peer->uid == 0 || list_has(&access->uids, peer->uid))
		return true;
	if (access->gids.count == 0)
		return false;
	return list_has(&access->gids, peer->gid) || has_group(access, fd);
}

void access_refused(struct access *access, const struct peer *peer, const char *reason)
{
	uint64_t now = clock_monotonic_ms();

	if (now < access->next_log_ms) {
		access->unlogged++;
		return;
	}
	audit_refuse(peer, reason, access->unlogged);
	access->next_log_ms = now + LOG_INTERVAL_MS;
	access->unlogged = 0;
}

int access_check(struct access *access, int fd, const struct peer *peer)
{
	if (is_allowed(access, fd, peer))
		return 0;
	access_refused(access, peer, "neither allow_uids nor allow_groups names it");
	return -EACCES;
}
