#include "factory/bake_work.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "base/strbuf.h"
#include "factory/bake_domain.h"
#include "factory/bake_memory.h"
#include "factory/machine.h"
#include "factory/vm/argv.h"

enum {
	TAIL_BYTES = 8192,
	TAIL_LINES = 10,
	COPY_CHUNK = 64 << 20,
};

#define PANIC "Kernel panic - "

struct bake_work {
	/* all borrowed */
	const struct template_definition *definition;
	const struct template_host *host;
	struct bake_domain_options where;

	uint64_t started_ms; /* monotonic */
	char id[DIGEST_HEX_SIZE];
	bool owns;   /* the folders below are this bake's, and undo removes them */
	char *dir;   /* STORE/templates/ID */
	char *image; /* below it */
	char *run;   /* RUN_DIR/bake/SHORT_ID */
	char *agent_socket;
	char *share;
	char *console;
	struct bake_domain *domain;         /* from boot to store or undo */
	struct template_manifest *manifest; /* valid, of an existing or a finished template */

	/* measured on the way, for the manifest */
	char *agent_version;
	uint64_t boot_ms;
	uint64_t memory_before, memory_after;
	struct strv argv;  /* of a clone */
	char *memory_path; /* libvirt's, until freeze */

	char *console_tail; /* of a failed bake */
};

struct bake_work *bake_work_new(const struct bake_options *options)
{
	struct bake_work *work = xnew(struct bake_work);

	work->definition = options->definition;
	work->host = options->host;
	work->where = (struct bake_domain_options){
		.run_dir = options->run_dir,
		.store = options->store,
		.libvirt_uri = options->libvirt_uri,
	};
	work->started_ms = clock_monotonic_ms();
	return work;
}

void bake_work_free(struct bake_work *work)
{
	if (!work)
		return;
	bake_domain_free(work->domain);
	template_manifest_free(work->manifest);
	free(work->dir);
	free(work->image);
	free(work->run);
	free(work->agent_socket);
	free(work->share);
	free(work->console);
	free(work->agent_version);
	strv_done(&work->argv);
	free(work->memory_path);
	free(work->console_tail);
	free(work);
}

const char *bake_work_id(const struct bake_work *work)
{
	return work->id;
}

const char *bake_work_agent_socket(const struct bake_work *work)
{
	return work->agent_socket;
}

bool bake_work_has_manifest(const struct bake_work *work)
{
	return work->manifest != NULL;
}

struct template_manifest *bake_work_take_manifest(struct bake_work *work)
{
	return steal_ptr(work->manifest);
}

/* ---------------------------------------------------------------- prepare */

static void name_paths(struct bake_work *work)
{
	work->dir = xasprintf("%s/templates/%s", work->where.store, work->id);
	work->image = path_join(work->dir, "image");
	work->run = xasprintf("%s/bake/%.*s", work->where.run_dir, MACHINE_SHORT_ID, work->id);
	work->agent_socket = path_join(work->run, "agent.sock");
	work->share = path_join(work->run, "share");
	work->console = path_join(work->run, "console.log");
}

/* A valid template of this id stays; anything else in its place goes. */
static int look_for_existing(struct bake_work *work, struct error *err)
{
	_cleanup_(error_done) struct error why = {};

	int r = template_manifest_load(work->where.store, work->id, &work->manifest, &why);
	if (r == 0 || r == -ENOENT)
		return 0;
	if (r != -EBADMSG) {
		error_move(err, &why);
		return r;
	}
	log_warning(work->id, "the template is damaged and is baked anew: %s", error_message(&why));
	return template_remove(work->where.store, work->id, err);
}

static int make_folders(struct bake_work *work, struct error *err)
{
	work->owns = true;
	int r = path_remove(work->dir, err);
	if (r == 0)
		r = path_remove(work->run, err);
	if (r == 0)
		r = dir_make(work->dir, 0700, err);
	if (r == 0)
		r = dir_make(work->share, 0700, err);
	return r;
}

/* A guest whose RAM has no place in the store is killed in the middle of its boot. */
static int check_space(const struct bake_work *work, struct error *err)
{
	uint64_t needed_mib = work->definition->memory_mib;
	struct statvfs st;

	if (statvfs(work->dir, &st) < 0)
		return error_set_errno(err, errno, "cannot read the free space of %s",
				       work->where.store);
	uint64_t free_mib = (uint64_t)st.f_bavail * st.f_frsize >> 20;
	if (free_mib < needed_mib)
		return error_set(err, ENOSPC,
				 "the store %s has %llu MiB free, the guest's memory needs %llu",
				 work->where.store, (unsigned long long)free_mib,
				 (unsigned long long)needed_mib);
	return 0;
}

static int copy_image(const struct bake_work *work, struct error *err)
{
	_cleanup_close_ int from = open(work->definition->image, O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int to = open(work->image, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ssize_t copied;

	if (from < 0 || to < 0)
		return error_set_errno(err, errno, "cannot copy the root image %s to %s",
				       work->definition->image, work->image);
	while ((copied = sendfile(to, from, NULL, COPY_CHUNK)) > 0)
		continue;
	if (copied < 0 || fsync(to) < 0)
		return error_set_errno(err, errno, "cannot copy the root image %s to %s",
				       work->definition->image, work->image);
	return 0;
}

int bake_work_prepare(struct bake_work *work, struct error *err)
{
	int r = template_id(work->definition, work->host, work->id, err);
	if (r < 0)
		return r;
	name_paths(work);
	r = look_for_existing(work, err);
	if (r < 0 || work->manifest)
		return r;
	r = make_folders(work, err);
	if (r == 0)
		r = check_space(work, err);
	if (r == 0)
		r = copy_image(work, err);
	return r;
}

/* ---------------------------------------------------------------- boot */

int bake_work_boot(struct bake_work *work, struct error *err)
{
	struct machine_options options = {
		.definition = work->definition,
		.host = work->host,
		.id = work->id,
		.image = work->image,
		.agent_socket = work->agent_socket,
		.share_dir = work->share,
		.console_log = work->console,
	};
	_cleanup_free_ char *xml = NULL;

	int r = machine_xml(&options, &xml, err);
	if (r == 0)
		r = bake_domain_boot(&work->where, xml, &work->domain, err);
	if (r == 0)
		r = argv_memory_path(bake_domain_argv(work->domain), &work->memory_path, err);
	if (r == 0)
		r = argv_derive(bake_domain_argv(work->domain), &work->argv, err);
	return r;
}

/* Age of a process; its start is known to a clock tick. */
static uint64_t process_age_ms(pid_t pid)
{
	uint64_t ticks, hz = (uint64_t)sysconf(_SC_CLK_TCK);
	struct timespec now;

	if (process_start_time(pid, &ticks) < 0 || clock_gettime(CLOCK_BOOTTIME, &now) < 0)
		return 0;
	uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	uint64_t start_ms = ticks * 1000 / hz;
	return now_ms > start_ms ? now_ms - start_ms : 0;
}

void bake_work_answered(struct bake_work *work, const char *agent_version)
{
	replace_string(&work->agent_version, agent_version);
	work->boot_ms = process_age_ms(bake_domain_pid(work->domain));
}

/* ---------------------------------------------------------------- trim and freeze */

int bake_work_trim(struct bake_work *work, struct error *err)
{
	int r = bake_domain_stop(work->domain, err);
	if (r == 0)
		r = bake_memory_punch(work->memory_path, &work->memory_before, &work->memory_after,
				      err);
	if (r == 0)
		log_info(work->id, "guest memory takes %llu MiB, %llu MiB before zero pages went",
			 (unsigned long long)work->memory_after >> 20,
			 (unsigned long long)work->memory_before >> 20);
	return r;
}

static int save_state(struct bake_work *work, struct error *err)
{
	_cleanup_free_ char *path = path_join(work->dir, "state");
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot create %s", path);
	return bake_domain_save(work->domain, fd, err);
}

/* libvirt removes the file's old folder with the domain, so the file leaves it before. */
static int take_memory(struct bake_work *work, struct error *err)
{
	_cleanup_free_ char *path = path_join(work->dir, "memory");

	if (rename(work->memory_path, path) < 0)
		return error_set_errno(err, errno, "cannot move the guest's memory %s to %s",
				       work->memory_path, path);
	if (chmod(path, 0600) < 0)
		return error_set_errno(err, errno, "cannot protect %s", path);
	return 0;
}

int bake_work_freeze(struct bake_work *work, struct error *err)
{
	int r = save_state(work, err);
	return r < 0 ? r : take_memory(work, err);
}

void bake_work_kill(struct bake_work *work)
{
	if (work->domain)
		bake_domain_kill(work->domain);
}

/* ---------------------------------------------------------------- store */

static int file_sync(const char *path, uint64_t *ret_size, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 || fsync(fd) < 0 || fstat(fd, &st) < 0)
		return error_set_errno(err, errno, "cannot make %s durable", path);
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

static int measure_files(struct bake_work *work, struct template_manifest *manifest,
			 struct error *err)
{
	_cleanup_free_ char *memory = path_join(work->dir, "memory");
	_cleanup_free_ char *state = path_join(work->dir, "state");

	int r = file_sync(memory, &manifest->memory_bytes, err);
	if (r == 0)
		r = file_sync(state, &manifest->state_bytes, err);
	if (r == 0)
		r = digest_file(state, manifest->state_digest, err);
	return r;
}

static int describe(struct bake_work *work, struct template_manifest *manifest, struct error *err)
{
	memcpy(manifest->id, work->id, sizeof(manifest->id));
	manifest->name = xstrdup(work->definition->name);
	manifest->dir = xstrdup(work->dir);
	manifest->agent_version = xstrdup(work->agent_version);
	manifest->qemu_binary = xstrdup(work->host->qemu_binary);
	manifest->accelerator = work->host->accelerator;
	manifest->vcpus = work->definition->vcpus;
	manifest->memory_allocated_bytes = work->memory_after;
	manifest->baked_at = clock_realtime_ns() / 1000000000;
	manifest->boot_ms = work->boot_ms;
	manifest->argv = work->argv;
	work->argv = (struct strv){};
	return measure_files(work, manifest, err);
}

int bake_work_store(struct bake_work *work, struct error *err)
{
	_cleanup_(template_manifest_free_cleanup) struct template_manifest *manifest = xnew(
		struct template_manifest);
	_cleanup_(error_done) struct error left = {};

	int r = describe(work, manifest, err);
	bake_domain_free(steal_ptr(work->domain));
	if (r < 0)
		return r;
	if (path_remove(work->run, &left) < 0)
		log_warning(work->id, "something is left behind: %s", error_message(&left));
	manifest->bake_ms = clock_monotonic_ms() - work->started_ms;
	r = template_manifest_store(manifest, err);
	if (r == 0)
		work->manifest = steal_ptr(manifest);
	return r;
}

/* ---------------------------------------------------------------- undo */

/* Where the last lines begin: at the kernel's panic where there is one (what follows it is a
 * trace), else TAIL_LINES before the end. */
static size_t tail_start(const char *text, size_t len)
{
	const char *panic = memmem(text, len, PANIC, strlen(PANIC));
	size_t start = panic ? (size_t)(panic - text) : len;
	unsigned lines = panic ? TAIL_LINES - 1 : 0;

	for (; start > 0; start--)
		if (text[start - 1] == '\n' && start < len && ++lines == TAIL_LINES)
			break;
	return start;
}

/* The guest's bytes, made harmless for a log line; lines are parted by " | ". */
static char *printable_tail(const char *text, size_t len)
{
	_cleanup_(strbuf_done) struct strbuf out = {};
	unsigned lines = 0;

	for (size_t at = tail_start(text, len); at < len && lines < TAIL_LINES; at++) {
		char c = text[at];
		if (c == '\n' && ++lines < TAIL_LINES && at + 1 < len)
			strbuf_adds(&out, " | ");
		else if (isprint((unsigned char)c))
			strbuf_add(&out, &c, 1);
	}
	return strbuf_steal(&out);
}

static char *read_console_tail(const struct bake_work *work)
{
	_cleanup_close_ int fd = open(work->console, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char text[TAIL_BYTES];
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return xstrdup("");
	off_t from = st.st_size > TAIL_BYTES ? st.st_size - TAIL_BYTES : 0;
	ssize_t len = pread(fd, text, sizeof(text), from);
	return printable_tail(text, len > 0 ? (size_t)len : 0);
}

const char *bake_work_console_tail(const struct bake_work *work)
{
	return work->console_tail ? work->console_tail : "";
}

int bake_work_undo(struct bake_work *work, struct error *err)
{
	bake_domain_free(steal_ptr(work->domain));
	if (!work->owns)
		return 0;
	work->console_tail = read_console_tail(work);
	int r = template_remove(work->where.store, work->id, err);
	return r < 0 ? r : path_remove(work->run, err);
}
