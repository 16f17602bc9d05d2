#include "factory/vm/journal.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/format.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/strings.h"
#include "base/strv.h"
#include "factory/base/layout.h"
#include "factory/jail/keeper.h"
#include "factory/vm/guest_cid.h"

#define TMP_SUFFIX ".tmp" /* of an entry that is being written */
#define BAD_SUFFIX ".bad" /* of one that was set aside */

enum {
	JOURNAL_SIZE_MAX = 16 * 1024,
	PID_FIRST = 2, /* 1 is init: an entry that names it is not ours */
};

static inline void json_decref_cleanup(json_t **json)
{
	json_decref(*json);
}

static char *entry_path(const char *run_dir, const char *id, const char *suffix)
{
	return xasprintf("%s/vms/%s.json%s", run_dir, id, suffix);
}

static json_t *entry_to_json(const struct journal_entry *entry)
{
	json_t *json = json_pack(
		"{s:i, s:s, s:s, s:s, s:s*, s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, "
		"s:I, s:s*}",
		"version", (int)format_versions[FORMAT_JOURNAL].version, "id", entry->id,
		"template_id", entry->template_id, "template_name", entry->template_name,
		"sandbox_id", entry->sandbox_id, "state", vm_state_to_string(entry->state),
		"confirmed", (int)entry->confirmed, "booted", (int)entry->booted, "pid",
		(json_int_t)entry->pid, "start_time", (json_int_t)entry->start_time, "spawned_at",
		(json_int_t)entry->spawned_at, "next_stream", (json_int_t)entry->next_stream,
		"claimer_pid", (json_int_t)entry->claimer_pid, "claimer_start",
		(json_int_t)entry->claimer_start, "uid", (json_int_t)entry->uid, "cgroup",
		entry->cgroup);

	/* The first factories refuse a key that they do not know: after a rollback, too. */
	if (json && entry->guest_cid > 0)
		json_object_set_new(json, "guest_cid", json_integer(entry->guest_cid));
	return json;
}

/* No fsync, unlike file_write_atomic(): the journal tells of processes, which do not outlive
 * the machine either, and a claim waits for this write. */
static int replace_file(const struct keeper *keeper, const char *path, const char *tmp,
			const char *text, struct error *err)
{
	_cleanup_close_ int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
				      0600);
	if (fd < 0)
		return error_set_errno(err, errno, "cannot create %s", tmp);
	int r = keeper_give_fd(keeper, fd, tmp, err);
	if (r < 0)
		return r;
	r = write_full(fd, text, strlen(text));
	if (r == 0)
		r = FAULT_ERROR("journal.unfinished", NULL);
	if (r == 0 && rename(tmp, path) < 0)
		r = -errno;
	if (r < 0) {
		unlink(tmp);
		return error_set_errno(err, r, "cannot write the journal entry %s", path);
	}
	return 0;
}

int journal_write(const char *run_dir, const struct journal_entry *entry, struct error *err)
{
	if (!id_is_valid(entry->id))
		return error_set(err, EINVAL, "\"%s\" cannot name a journal entry", entry->id);
	_cleanup_(json_decref_cleanup) json_t *json = entry_to_json(entry);
	_cleanup_free_ char *text = json ? json_dumps(json, JSON_INDENT(1)) : NULL;
	if (!text)
		return error_set(err, EINVAL, "journal entry %s: a field is no UTF-8 text",
				 entry->id);

	_cleanup_free_ char *path = entry_path(run_dir, entry->id, "");
	_cleanup_free_ char *tmp = entry_path(run_dir, entry->id, TMP_SUFFIX);
	_cleanup_(error_done) struct error why = {};
	const struct keeper keeper = keeper_of(run_dir);
	int r = replace_file(&keeper, path, tmp, text, &why);
	if (r != -ENOENT) {
		error_move(err, &why);
		return r;
	}
	_cleanup_free_ char *dir = path_join(run_dir, "vms");
	r = dir_make(dir, 0700, err);
	return r < 0 ? r : replace_file(&keeper, path, tmp, text, err);
}

static int check_range(const char *key, json_int_t value, json_int_t min, json_int_t max,
		       struct error *err)
{
	if (value < min || value > max)
		return error_set(err, EBADMSG, "%s: %lld is out of range", key, (long long)value);
	return 0;
}

struct raw_entry {
	const char *id, *template_id, *template_name, *sandbox_id, *state, *cgroup;
	int confirmed, booted;
	json_int_t pid, start_time, spawned_at, next_stream, claimer_pid, claimer_start, uid;
	json_int_t guest_cid;
};

bool journal_cgroup_is_valid(const char *cgroup, const char *id)
{
	const char *slash = strrchr(cgroup, '/');

	return slash && str_equal(slash + 1, id) && cgroup[0] != '/' && !strstr(cgroup, "..");
}

static int raw_entry_check(const struct raw_entry *raw, struct error *err)
{
	if (!id_is_valid(raw->id) || !id_is_valid(raw->template_id) ||
	    !id_is_valid(raw->template_name))
		return error_set(err, EBADMSG, "id, template_id or template_name is no name");
	if (raw->sandbox_id && !id_is_valid(raw->sandbox_id))
		return error_set(err, EBADMSG, "sandbox_id is no name");
	if (vm_state_from_string(raw->state) < 0)
		return error_set(err, EBADMSG, "state: \"%s\" is unknown", raw->state);
	int r = raw->pid == 0 ? 0 : check_range("pid", raw->pid, PID_FIRST, INT_MAX, err);
	if (r == 0)
		r = check_range("start_time", raw->start_time, 0, INT64_MAX, err);
	if (r == 0)
		r = check_range("spawned_at", raw->spawned_at, 0, INT64_MAX, err);
	if (r == 0)
		r = check_range("next_stream", raw->next_stream, 0, UINT32_MAX, err);
	if (r == 0 && raw->claimer_pid != 0)
		r = check_range("claimer_pid", raw->claimer_pid, PID_FIRST, INT_MAX, err);
	if (r == 0)
		r = check_range("claimer_start", raw->claimer_start, 0, INT64_MAX, err);
	/* Whoever reaps ends all of these users' processes: never those of the host's own users. */
	if (r == 0 && raw->uid != 0)
		r = check_range("uid", raw->uid, UID_RANGE_SIZE, UINT32_MAX, err);
	if (r == 0 && raw->guest_cid != 0)
		r = check_range("guest_cid", raw->guest_cid, GUEST_CID_FIRST, UINT32_MAX - 1, err);
	/* It is removed some day: nothing but a group that is named after the machine. */
	if (r == 0 && raw->cgroup && !journal_cgroup_is_valid(raw->cgroup, raw->id))
		r = error_set(err, EBADMSG, "cgroup: \"%s\" is not this machine's", raw->cgroup);
	return r;
}

int journal_parse(const char *text, size_t len, struct journal_entry *ret_entry, struct error *err)
{
	json_error_t jerr;
	_cleanup_(json_decref_cleanup)
		json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &jerr);
	if (!json)
		return error_set(err, EBADMSG, "line %d: %s", jerr.line, jerr.text);

	struct raw_entry raw = {};
	/* Of another version all else may be other than it is in ours. */
	int r = format_check_object(FORMAT_JOURNAL, json, "version", false, err);
	if (r < 0)
		return r;
	if (json_unpack_ex(
		    json, &jerr, 0,
		    "{s:s, s:s, s:s, s?s, s:s, s:b, s?b, s:I, s:I, s:I, s:I, s?I, s?I, s?I, s?s, s?I}",
		    "id", &raw.id, "template_id", &raw.template_id, "template_name",
		    &raw.template_name, "sandbox_id", &raw.sandbox_id, "state", &raw.state,
		    "confirmed", &raw.confirmed, "booted", &raw.booted, "pid", &raw.pid,
		    "start_time", &raw.start_time, "spawned_at", &raw.spawned_at, "next_stream",
		    &raw.next_stream, "claimer_pid", &raw.claimer_pid, "claimer_start",
		    &raw.claimer_start, "uid", &raw.uid, "cgroup", &raw.cgroup, "guest_cid",
		    &raw.guest_cid) < 0)
		return error_set(err, EBADMSG, "%s", jerr.text);
	r = raw_entry_check(&raw, err);
	if (r < 0)
		return r;

	*ret_entry = (struct journal_entry){
		.id = xstrdup(raw.id),
		.template_id = xstrdup(raw.template_id),
		.template_name = xstrdup(raw.template_name),
		.sandbox_id = xstrdup(raw.sandbox_id),
		.state = (enum vm_state)vm_state_from_string(raw.state),
		.confirmed = raw.confirmed != 0,
		.booted = raw.booted != 0,
		.pid = (pid_t)raw.pid,
		.start_time = (uint64_t)raw.start_time,
		.spawned_at = (uint64_t)raw.spawned_at,
		.next_stream = (uint32_t)raw.next_stream,
		.claimer_pid = (pid_t)raw.claimer_pid,
		.claimer_start = (uint64_t)raw.claimer_start,
		.uid = (uint32_t)raw.uid,
		.cgroup = xstrdup(raw.cgroup),
		.guest_cid = (uint32_t)raw.guest_cid,
	};
	return 0;
}

int journal_read(const char *run_dir, const char *id, struct journal_entry *ret_entry,
		 struct error *err)
{
	if (!id_is_valid(id))
		return error_set(err, EINVAL, "\"%s\" cannot name a journal entry", id);
	_cleanup_free_ char *path = entry_path(run_dir, id, "");
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r = file_read(path, JOURNAL_SIZE_MAX, &text, &len, err);
	if (r < 0)
		return r;

	struct journal_entry entry = {};
	r = journal_parse(text, len, &entry, err);
	if (r < 0)
		return error_wrap(err, "journal entry %s", path);
	if (!str_equal(entry.id, id)) {
		r = error_set(err, EBADMSG, "journal entry %s: it names the machine %s", path,
			      entry.id);
		journal_entry_done(&entry);
		return r;
	}
	*ret_entry = entry;
	return 0;
}

static int remove_file(const char *run_dir, const char *id, const char *suffix, struct error *err)
{
	_cleanup_free_ char *path = entry_path(run_dir, id, suffix);
	if (unlink(path) < 0 && errno != ENOENT)
		return error_set_errno(err, errno, "cannot remove %s", path);
	return 0;
}

int journal_remove(const char *run_dir, const char *id, struct error *err)
{
	if (!id_is_valid(id))
		return error_set(err, EINVAL, "\"%s\" cannot name a journal entry", id);
	/* The unfinished one first: an entry that is gone is not looked for again. */
	int r = remove_file(run_dir, id, TMP_SUFFIX, err);
	return r < 0 ? r : remove_file(run_dir, id, "", err);
}

static void set_aside(const char *run_dir, const char *id, const struct error *why)
{
	_cleanup_free_ char *path = entry_path(run_dir, id, "");
	_cleanup_free_ char *bad = entry_path(run_dir, id, BAD_SUFFIX);
	log_error(id, "%s: set aside as %s", error_message(why), bad);
	if (rename(path, bad) < 0)
		log_error(id, "cannot rename %s: %s", path, strerror(errno));
}

static void scan_entry(const char *run_dir, const char *id,
		       void (*fn)(const struct journal_entry *entry, void *userdata),
		       void *userdata)
{
	_cleanup_(error_done) struct error why = {};
	_cleanup_(journal_entry_done) struct journal_entry entry = {};
	int r = journal_read(run_dir, id, &entry, &why);
	if (r == 0)
		fn(&entry, userdata);
	else if (r == -EPROTONOSUPPORT)
		log_error(
			id,
			"%s: the machine is left alone, for its shim and a factory that reads this",
			error_message(&why));
	else if (r != -ENOENT)
		set_aside(run_dir, id, &why);
}

/* Names first, calls later: fn may remove entries. */
static int list_entries(const char *dir, const char *ending, struct strv *ret_ids,
			struct error *err)
{
	DIR *handle = opendir(dir);
	if (!handle)
		return errno == ENOENT ? 0 : error_set_errno(err, errno, "cannot read %s", dir);
	for (const struct dirent *entry; (entry = readdir(handle));) {
		size_t len = strlen(entry->d_name);
		size_t suffix = strlen(ending);
		if (len <= suffix || !str_equal(entry->d_name + len - suffix, ending))
			continue;
		_cleanup_free_ char *id = xstrndup(entry->d_name, len - suffix);
		if (id_is_valid(id))
			strv_take(ret_ids, steal_ptr(id));
	}
	closedir(handle);
	return 0;
}

/* What somebody who was killed did not finish: an entry of nothing yet, or one whose former text
 * stands. A claimer that writes one at this very moment misses it and writes it again. */
static int remove_unfinished(const char *run_dir, const char *dir, struct error *err)
{
	_cleanup_(strv_done) struct strv ids = {};
	int r = list_entries(dir, ".json" TMP_SUFFIX, &ids, err);
	for (size_t i = 0; r == 0 && i < ids.count; i++)
		r = remove_file(run_dir, ids.items[i], TMP_SUFFIX, err);
	return r;
}

/* Whether text, which was set aside as an entry of id, is one. */
static bool reads_as(const char *text, size_t len, const char *id)
{
	_cleanup_(journal_entry_done) struct journal_entry entry = {};

	return journal_parse(text, len, &entry, NULL) == 0 && str_equal(entry.id, id);
}

static void take_back_entry(const char *run_dir, const char *id)
{
	_cleanup_free_ char *path = entry_path(run_dir, id, "");
	_cleanup_free_ char *bad = entry_path(run_dir, id, BAD_SUFFIX);
	_cleanup_free_ char *text = NULL;
	size_t len = 0;

	if (path_exists(path) || file_read(bad, JOURNAL_SIZE_MAX, &text, &len, NULL) < 0 ||
	    !reads_as(text, len, id))
		return;
	log_info(id, "%s is an entry of the journal that an earlier factory did not read", bad);
	if (rename(bad, path) < 0)
		log_error(id, "cannot rename %s: %s", bad, strerror(errno));
}

/* What a factory of another version has set aside and we can read has a machine, which nobody has
 * looked after since. */
static int take_back(const char *run_dir, const char *dir, struct error *err)
{
	_cleanup_(strv_done) struct strv ids = {};
	int r = list_entries(dir, ".json" BAD_SUFFIX, &ids, err);
	for (size_t i = 0; r == 0 && i < ids.count; i++)
		take_back_entry(run_dir, ids.items[i]);
	return r;
}

int journal_scan(const char *run_dir, void (*fn)(const struct journal_entry *entry, void *userdata),
		 void *userdata, struct error *err)
{
	_cleanup_(strv_done) struct strv ids = {};
	_cleanup_free_ char *dir = path_join(run_dir, "vms");
	int r = remove_unfinished(run_dir, dir, err);
	if (r == 0)
		r = take_back(run_dir, dir, err);
	if (r == 0)
		r = list_entries(dir, ".json", &ids, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ids.count; i++)
		scan_entry(run_dir, ids.items[i], fn, userdata);
	return 0;
}

void journal_entry_done(struct journal_entry *entry)
{
	free(entry->id);
	free(entry->template_id);
	free(entry->template_name);
	free(entry->sandbox_id);
	free(entry->cgroup);
	*entry = (struct journal_entry){};
}
