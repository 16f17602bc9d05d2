/* What a factory finds made when it starts: its folders and whose they are, its locks and sockets,
 * the machines' control group; and what a killed factory's bake left is gone.
 *
 * An older factory was root, and so is all that it left: what the factory has to write is given to
 * its user here. One after it took user ids for its machines itself: what it noted of them is made
 * root's. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/instance.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/socket.h"
#include "factory/bake/bake.h"
#include "factory/bake/bake_domain.h"
#include "factory/bake/bake_user.h"
#include "factory/base/layout.h"
#include "factory/jail/cgroup.h"
#include "factory/jailer/jailer_server.h"
#include "factory/store/store_note.h"
#include "factory/store/template.h"
#include "factory/vm/journal.h"
#include "factory/vm/remains.h"

DEFINE_CLEANUP(DIR *, closedir)

/* ---------------------------------------------------------------- locks */

/* The factory's, which end with it: this process hands them over and keeps none. */
static int take_locks(const struct server *server, struct jailer_reply *reply, struct error *err)
{
	const struct factory_config *config = &server->config;
	int r = instance_lock(config->run_dir, "factory.lock", "run_dir", server->factory,
			      &reply->fds[0], err);

	if (r < 0)
		return r;
	reply->nfds = 1;
	r = instance_lock(config->store, "lock", "store", server->factory, &reply->fds[1], err);
	if (r == 0)
		reply->nfds = 2;
	return r;
}

/* What the kiln-jailer of a factory that was just killed still does comes to its end first. */
static int wait_for_former(struct server *server, struct error *err)
{
	_cleanup_free_ char *path = path_join(server->config.run_dir, "jailer.lock");
	int r;

	server->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (server->lock_fd < 0)
		return error_set_errno(err, errno, "cannot open %s", path);
	do
		r = flock(server->lock_fd, LOCK_EX);
	while (r < 0 && errno == EINTR);
	return r < 0 ? error_set_errno(err, errno, "cannot lock %s", path) : 0;
}

/* ---------------------------------------------------------------- folders */

/* Root's, whatever it was: nothing that root believes is in a folder of the factory's. */
static int make_folder(const char *dir, const char *name, const struct keeper *owner, mode_t mode,
		       struct error *err)
{
	_cleanup_free_ char *path = path_join(dir, name);
	struct stat st;
	int r = dir_make(path, 0700, err);

	if (r < 0)
		return r;
	if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return error_set(err, ENOTDIR, "%s is no folder", path);
	if (chown(path, owner->uid, owner->gid) < 0 || chmod(path, mode) < 0)
		return error_set_errno(err, errno, "cannot set whose %s is", path);
	return 0;
}

/* What somebody else may have put where a bake's folder will be, before the run folder was root's.
 */
static int remove_foreign(const char *run, const char *name, struct error *err)
{
	_cleanup_free_ char *path = path_join(run, name);
	struct stat st;

	if (lstat(path, &st) < 0 || (S_ISDIR(st.st_mode) && st.st_uid == 0))
		return 0;
	return path_remove(path, err);
}

/* The run folder first: in one of root's nobody else makes anything. Whoever may pass through it
 * may do so still. */
static int make_run_folders(const struct server *server, struct error *err)
{
	const struct keeper shared = { 0, server->keeper.gid }, root = {};
	const char *run = server->config.run_dir;
	bool parted = server->keeper.uid != 0;
	struct stat st;

	if (stat(run, &st) < 0 || chown(run, 0, (gid_t)-1) < 0 ||
	    chmod(run, (st.st_mode & 0755) | (parted ? 0011 : 0)) < 0)
		return error_set_errno(err, errno, "cannot set whose %s is", run);
	int r = remove_foreign(run, "bake", err);
	if (r == 0)
		r = remove_foreign(run, "libvirt", err);
	if (r == 0)
		r = make_folder(run, "vms", &shared, parted ? 01770 : 0700, err);
	if (r == 0)
		r = make_folder(run, "uids", &root, 0700, err);
	if (r == 0)
		r = make_folder(run, "pools", &server->keeper, 0700, err);
	if (r == 0 && server->config.trace_collector)
		r = make_folder(run, LAYOUT_TRACE_DIR, &server->keeper, 0700, err);
	return r;
}

/* The bakes' user passes by the folder's group; the factory has that group as well, and may list
 * what is in it. */
static int open_store(const struct server *server, struct error *err)
{
	_cleanup_free_ char *templates = path_join(server->config.store, "templates");
	const struct bake_domain_options bakes = { .run_dir = server->config.run_dir,
						   .first_uid = server->jail.first_uid };
	struct bake_user user = { .gid = server->keeper.gid };
	struct stat st;

	if (server->keeper.uid == 0)
		return 0;
	/* Without it nothing can be baked, and the bake says so. */
	if (!server->config.libvirt_uri && bake_user_find(&bakes, &user, NULL) < 0)
		log_debug(NULL, "there is no user of bakes");
	if (chown(server->config.store, 0, (gid_t)-1) < 0)
		return error_set_errno(err, errno, "cannot set whose %s is", server->config.store);
	int r = bake_user_let_through(&user, server->config.store, err);
	if (r == 0 && (stat(templates, &st) < 0 || chown(templates, 0, user.gid) < 0 ||
		       chmod(templates, (st.st_mode & 0701) | 0750) < 0))
		r = error_set_errno(err, errno, "cannot open %s to the factory's user", templates);
	return r;
}

/* A machine's own file is made there each time; better told at the start than by each of them. One
 * that is merely full may have room by then. */
static int check_scratch(const char *dir, struct error *err)
{
	_cleanup_close_ int fd = open(dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);

	if (fd >= 0 || errno == ENOSPC || errno == EDQUOT)
		return 0;
	return error_set_errno(err, errno,
			       "cannot make a file without a name (O_TMPFILE) in scratch_dir %s, "
			       "which scratch disks need: name a folder on a local disk",
			       dir);
}

static int make_folders(const struct server *server, struct error *err)
{
	const struct factory_config *config = &server->config;
	_cleanup_free_ char *templates = path_join(config->store, "templates");
	int r = make_run_folders(server, err);

	if (r == 0)
		r = dir_make(templates, 0700, err);
	if (r == 0)
		r = open_store(server, err);
	if (r == 0)
		r = dir_make(config->scratch_dir, 0700, err);
	return r < 0 ? r : check_scratch(config->scratch_dir, err);
}

/* ---------------------------------------------------------------- what an older factory has left
 */

/* Calls fn for each entry of the folder; a missing one is empty. */
static int for_each(const char *dir,
		    int (*fn)(const struct server *server, const char *path, const struct stat *st,
			      struct error *err),
		    const struct server *server, struct error *err)
{
	_cleanup_(closedir_cleanup) DIR *folder = opendir(dir);
	const struct dirent *entry;
	struct stat st;
	int r = 0;

	if (!folder)
		return errno == ENOENT ? 0 : error_set_errno(err, errno, "cannot read %s", dir);
	while (r == 0 && (entry = readdir(folder))) {
		_cleanup_free_ char *path = path_join(dir, entry->d_name);
		if (entry->d_name[0] != '.' && lstat(path, &st) == 0)
			r = fn(server, path, &st, err);
	}
	return r;
}

/* Sockets, the log and its pipe; what a shim has left there stays root's. */
static int hand_over_of_machine(const struct server *server, const char *path,
				const struct stat *st, struct error *err)
{
	const char *name = strrchr(path, '/') + 1;

	return S_ISSOCK(st->st_mode) || str_after(name, VM_LOG)
		       ? keeper_give(&server->keeper, path, err)
		       : 0;
}

/* The journal's entries, and the folders. */
static int hand_over_machine(const struct server *server, const char *path, const struct stat *st,
			     struct error *err)
{
	if (S_ISREG(st->st_mode))
		return keeper_give(&server->keeper, path, err);
	if (!S_ISDIR(st->st_mode) || st->st_uid != 0)
		return 0;
	int r = keeper_let_through(&server->keeper, path, err);
	return r < 0 ? r : for_each(path, hand_over_of_machine, server, err);
}

/* Whether the machine that an earlier factory's link names has these ids: they are of the
 * configured ranges, or the kernel says so. */
static bool is_believed(const struct server *server, const char *path, uint32_t uid)
{
	char id[ID_HEX_SIZE + 1];
	ssize_t len = readlink(path, id, ID_HEX_SIZE);
	const struct journal_entry entry = { .id = id, .uid = uid };
	_cleanup_close_ int pidfd = -EBADF;

	id[len < 0 ? 0 : len] = '\0';
	return id_is_valid(id) &&
	       (server_has_range(server, uid) ||
		remains_find_process(server->config.run_dir, &entry, &pidfd) == 0);
}

/* Root's now, where an earlier factory made the links itself: nobody else can change them any more,
 * in a folder that is root's. */
static int take_over_range(const struct server *server, const char *path, const struct stat *st,
			   struct error *err)
{
	uint64_t uid;

	if (!S_ISLNK(st->st_mode) || st->st_uid == 0 ||
	    str_to_u64(strrchr(path, '/') + 1, UID_RANGE_SIZE, UINT32_MAX, &uid) < 0 ||
	    !is_believed(server, path, (uint32_t)uid))
		return 0;
	return lchown(path, 0, 0) < 0
		       ? error_set_errno(err, errno, "cannot take over the user ids %s", path)
		       : 0;
}

static int hand_over_file(const struct server *server, const char *path,
			  const struct stat *st _unused_, struct error *err)
{
	return keeper_give(&server->keeper, path, err);
}

static int open_template(const struct server *server, const char *path, const struct stat *st,
			 struct error *err)
{
	_cleanup_free_ char *templates = path_join(server->config.store, "templates");
	struct stat of;

	if (!S_ISDIR(st->st_mode))
		return 0;
	if (stat(templates, &of) < 0)
		return error_set_errno(err, errno, "cannot look at %s", templates);
	return template_open(path, of.st_gid, err);
}

static int hand_over(const struct server *server, struct error *err)
{
	_cleanup_free_ char *vms = path_join(server->config.run_dir, "vms");
	_cleanup_free_ char *pools = path_join(server->config.run_dir, "pools");
	_cleanup_free_ char *templates = path_join(server->config.store, "templates");
	_cleanup_free_ char *uids = path_join(server->config.run_dir, "uids");
	int r = for_each(vms, hand_over_machine, server, err);

	if (r == 0)
		r = for_each(uids, take_over_range, server, err);
	if (r == 0)
		r = for_each(pools, hand_over_file, server, err);
	return r < 0 ? r : for_each(templates, open_template, server, err);
}

/* ---------------------------------------------------------------- machines, bakes, sockets */

/* A host without control groups is told of once, and goes without. */
static void choose_jail(struct server *server)
{
	const struct factory_config *config = &server->config;
	_cleanup_(error_done) struct error err = {};

	server->jail.first_uid = (uint32_t)config->uid_first;
	if (config->uid_first == 0)
		log_warning(NULL, "uid_first is 0: machines run as root, in the host's namespaces");
	else if (config->cgroup[0] == '\0')
		log_info(NULL, "cgroup is empty: machines have no limits");
	else if (cgroup_make_parent(config->cgroup, &err) < 0)
		log_warning(NULL, "machines have no limits: %s", error_message(&err));
	else
		server->jail.cgroup = config->cgroup;
}

static int clean_bakes(const struct server *server, struct error *err)
{
	const struct bake_domain_options bakes = {
		.run_dir = server->config.run_dir,
		.store = server->config.store,
		.libvirt_uri = server->config.libvirt_uri,
		.first_uid = server->jail.first_uid,
	};
	int r = bake_clean(&bakes, err);

	return r < 0 ? error_wrap(err, "cannot clean up after an earlier bake") : 0;
}

static int make_socket(struct server *server, size_t which, const char *path,
		       struct jailer_reply *reply, struct error *err)
{
	int r = socket_listen_unix(path, 0600, &reply->fds[reply->nfds], err);

	if (r < 0)
		return r;
	reply->nfds++;
	server->made[which] = xstrdup(path);
	return 0;
}

static int make_sockets(struct server *server, bool activated, struct jailer_reply *reply,
			struct error *err)
{
	int r = make_socket(server, 1, server->config.http_socket, reply, err);

	if (r < 0)
		return error_wrap(err, "cannot serve http_socket");
	return activated ? 0 : make_socket(server, 0, server->config.socket, reply, err);
}

static int leave_note(const struct server *server, struct error *err)
{
	const struct factory_config *config = &server->config;
	const struct store_note note = {
		.run_dir = config->run_dir,
		.store = config->store,
		.uid_first = server->jail.first_uid,
		.cgroup = (char *)server->jail.cgroup,
		.scratch_dir = config->scratch_dir,
		.image_cache = str_empty(config->image_cache) ? NULL : config->image_cache,
	};

	return store_note_write(config->socket, &note, err);
}

int server_begin(struct server *server, const struct jailer_request *request,
		 struct jailer_reply *reply, struct error *err)
{
	int r = keeper_find(server->config.user, &server->keeper, err);

	if (r == 0)
		r = dir_make(server->config.run_dir, 0700, err);
	if (r == 0)
		r = dir_make(server->config.store, 0700, err);
	if (r == 0)
		r = take_locks(server, reply, err);
	if (r == 0)
		r = wait_for_former(server, err);
	if (r < 0)
		return r;
	choose_jail(server);
	r = make_folders(server, err);
	if (r == 0)
		r = clean_bakes(server, err);
	if (r == 0)
		r = hand_over(server, err);
	if (r == 0)
		r = make_sockets(server, request->flags & JAILER_ACTIVATED, reply, err);
	if (r == 0)
		r = leave_note(server, err);
	if (r < 0)
		return r;
	reply->flags = server->jail.cgroup ? JAILER_CGROUPS : 0;
	server->begun = true;
	return 0;
}
