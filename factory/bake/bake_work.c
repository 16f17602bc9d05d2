#include "factory/bake/bake_work.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/pidfd.h"
#include "base/strbuf.h"
#include "factory/bake/bake_domain.h"
#include "factory/bake/bake_inputs.h"
#include "factory/bake/bake_memory.h"
#include "factory/bake/bake_user.h"
#include "factory/bake/machine.h"
#include "factory/bake/memory_place.h"
#include "factory/guest/disks.h"
#include "factory/guest/guest_share.h"
#include "factory/store/device_files.h"
#include "factory/vm/argv.h"

enum {
	TAIL_BYTES = 8192,
	TAIL_LINES = 10,
	CONSOLE_MAX = 64 << 10,
	NO_ROOM = 1 << 20, /* bytes: less than this is none */
};

#define PANIC "Kernel panic - "

struct bake_work {
	/* all borrowed */
	const struct template_definition *definition;
	const struct template_host *host;
	struct bake_domain_options where;

	bool anew; /* even if there is a valid template */

	uint64_t started_ms; /* monotonic */
	struct bake_inputs inputs;
	unsigned generation;
	char id[DIGEST_HEX_SIZE];
	bool owns;             /* the folders below are this bake's, and undo removes them */
	char *dir;             /* STORE/templates/ID */
	char *image, *scratch; /* below it */
	char *run;             /* RUN_DIR/bake/SHORT_ID */
	char *kernel, *initrd; /* copies below it, until QEMU has read them */
	char *agent_socket;
	char *share;
	char *console;
	struct bake_domain *domain;         /* from boot to store or undo */
	struct template_manifest *manifest; /* valid, of an existing or a finished template */

	/* measured on the way, for the manifest */
	char *agent_version;
	uint64_t boot_ms;
	uint64_t memory_before, memory_after;
	struct strv argv; /* of a clone */
	struct strv boot_argv;
	uint64_t boot_room_kib;
	char *memory_path; /* libvirt's, until freeze */

	/* of a failed bake */
	char *console_log;
	char *console_tail;
};

struct bake_work *bake_work_new(const struct bake_options *options)
{
	struct bake_work *work = xnew(struct bake_work);

	work->definition = options->definition;
	work->anew = options->anew;
	work->host = options->host;
	work->where = (struct bake_domain_options){
		.run_dir = options->run_dir,
		.store = options->store,
		.libvirt_uri = options->libvirt_uri,
		.kvm = options->host->accelerator == ACCELERATOR_KVM,
		.first_uid = options->libvirt_uri ? 0 : options->first_uid,
		.network_cards = options->definition->network_cards,
	};
	work->inputs = (struct bake_inputs){ .definition = options->definition,
					     .host = options->host,
					     .store = options->store };
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
	free(work->scratch);
	free(work->run);
	free(work->kernel);
	free(work->initrd);
	free(work->agent_socket);
	free(work->share);
	free(work->console);
	free(work->agent_version);
	strv_done(&work->argv);
	strv_done(&work->boot_argv);
	free(work->memory_path);
	free(work->console_log);
	free(work->console_tail);
	bake_inputs_done(&work->inputs);
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
	work->scratch = path_join(work->dir, DISKS_SCRATCH);
	work->run = xasprintf("%s/bake/%.*s", work->where.run_dir, MACHINE_SHORT_ID, work->id);
	work->kernel = path_join(work->run, "kernel");
	work->initrd = path_join(work->run, "initrd");
	work->agent_socket = path_join(work->run, "agent.sock");
	work->share = path_join(work->run, "share");
	work->console = path_join(work->run, "console.log");
}

/* The template of one generation, where it is there and valid; what is damaged, or of another
 * version of Kiln, goes. */
static int load_existing(const struct bake_work *work, unsigned generation,
			 struct template_manifest **ret_manifest, struct error *err)
{
	_cleanup_(error_done) struct error why = {};
	char id[DIGEST_HEX_SIZE];

	template_inputs_id(work->definition->name, &work->inputs.values, generation, id);
	int r = template_manifest_load(work->where.store, id, ret_manifest, &why);
	if (r == 0 || r == -ENOENT)
		return 0;
	if (r != -EBADMSG && r != -EPROTONOSUPPORT) {
		error_move(err, &why);
		return r;
	}
	log_warning(id, "it is baked anew: %s", error_message(&why));
	return template_remove(work->where.store, id, err);
}

/* Takes the newest valid template, or chooses the generation to bake, which must not be that of
 * a template that is being replaced. */
static int look_for_existing(struct bake_work *work, struct error *err)
{
	_cleanup_(template_manifest_free_cleanup) struct template_manifest *found = NULL;

	for (unsigned generation = 0; generation < 2; generation++) {
		struct template_manifest *manifest = NULL;
		int r = load_existing(work, generation, &manifest, err);
		if (r < 0)
			return r;
		if (manifest && (!found || manifest->baked_at >= found->baked_at)) {
			template_manifest_free(found);
			found = steal_ptr(manifest);
		}
		template_manifest_free(manifest);
	}
	if (found)
		work->generation = work->anew ? !found->generation : found->generation;
	template_inputs_id(work->definition->name, &work->inputs.values, work->generation,
			   work->id);
	if (!work->anew)
		work->manifest = steal_ptr(found);
	return 0;
}

/* QEMU finds the files it is named, and may write to its share and its console's log. A libvirt of
 * the host's has its own user and ways. */
static int open_to_user(const struct bake_work *work, struct error *err)
{
	_cleanup_free_ char *templates = path_join(work->where.store, "templates");
	_cleanup_free_ char *bakes = path_join(work->where.run_dir, "bake");
	_cleanup_free_ char *libvirt = path_join(work->where.run_dir, "libvirt");
	_cleanup_free_ char *lower = path_join(work->share, GUEST_LOWER_DIR);
	const char *const folders[] = { work->where.store, templates, work->where.run_dir, bakes,
					work->run,         libvirt };
	struct bake_user user;

	if (work->where.libvirt_uri)
		return 0;
	int r = bake_user_find(&work->where, &user, err);
	if (r == 0)
		r = dir_make(libvirt, 0700, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(folders); i++)
		r = bake_user_let_through(&user, folders[i], err);
	if (r == 0)
		r = bake_user_give(&user, work->share, err);
	if (r == 0)
		r = bake_user_give(&user, lower, err);
	return r < 0 ? r : bake_user_make_file(&user, work->console, err);
}

static int make_folders(struct bake_work *work, struct error *err)
{
	_cleanup_free_ char *bakes = path_join(work->where.run_dir, "bake");

	work->owns = true;
	int r = template_remove(work->where.store, work->id, err);
	/* One bakes at a time: what else is there an earlier one could not remove. */
	if (r == 0)
		r = path_remove(bakes, err);
	if (r == 0)
		r = dir_make(work->dir, 0700, err);
	if (r == 0 && chmod(work->dir, TEMPLATE_DIR_MODE) < 0)
		r = error_set_errno(err, errno, "cannot open %s to clones", work->dir);
	_cleanup_free_ char *lower = path_join(work->share, GUEST_LOWER_DIR);
	if (r == 0)
		r = dir_make(lower, 0700, err);
	return r < 0 ? r : open_to_user(work, err);
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
	return *work->definition->memory_dir
		       ? memory_place_check(work->definition->memory_dir, needed_mib << 20, err)
		       : 0;
}

/* A libvirt of the host's runs QEMU as the same user on Debian. */
static int make_disks(const struct bake_work *work, struct error *err)
{
	_cleanup_free_ char *slot = path_join(work->dir, DISKS_SLOT);
	struct bake_user user;
	int r = 0;

	if (work->definition->block_slots > 0)
		r = device_file_make_slot(slot, work->image, err);
	for (size_t i = 0; r == 0 && i < work->definition->dax_windows; i++)
		r = device_file_make_window(work->dir, i, work->definition->dax_window_mib << 20,
					    err);
	if (r < 0 || work->definition->scratch_mib == 0)
		return r;
	r = device_file_make_scratch(work->dir, work->definition->scratch_mib << 20, err);
	if (r == 0)
		r = bake_user_find(&work->where, &user, err);
	return r < 0 ? r : bake_user_give(&user, work->scratch, err);
}

int bake_work_prepare(struct bake_work *work, struct error *err)
{
	int r = bake_inputs_read(&work->inputs, err);
	if (r == 0)
		r = look_for_existing(work, err);
	if (r < 0 || work->manifest)
		return r;
	name_paths(work);
	r = make_folders(work, err);
	if (r == 0)
		r = check_space(work, err);
	if (r == 0)
		r = bake_inputs_copy_kernel(&work->inputs, work->kernel, work->initrd, err);
	if (r == 0)
		r = bake_inputs_copy_images(&work->inputs, work->dir, err);
	if (r == 0)
		r = make_disks(work, err);
	return r < 0 ? r : FAULT_ERROR("bake.hashing", err);
}

/* ---------------------------------------------------------------- boot */

/* QEMU's own, with the files that the copies it was given are of. */
static void template_argv(const struct bake_work *work, struct strv *ret)
{
	strv_add_all(ret, bake_domain_argv(work->domain));
	for (size_t i = 0; i < ret->count; i++) {
		if (str_equal(ret->items[i], work->kernel))
			replace_string(&ret->items[i], work->definition->kernel);
		else if (str_equal(ret->items[i], work->initrd))
			replace_string(&ret->items[i], work->definition->initrd);
	}
}

static int derive_vectors(struct bake_work *work, struct error *err)
{
	_cleanup_(strv_done) struct strv argv = {};
	const struct argv_template template = {
		.argv = &argv,
		.dir = work->dir,
		.copied = work->definition->share == SHARE_NEVER,
	};

	template_argv(work, &argv);
	int r = argv_derive(&template, &work->argv, err);
	return r < 0 ? r : argv_derive_boot(&template, &work->boot_argv, &work->boot_room_kib, err);
}

/* Nobody else gets into its folder either. */
static int protect_memory(const struct bake_work *work, struct error *err)
{
	_cleanup_close_ int fd = open(work->memory_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 || fchmod(fd, 0600) < 0)
		return error_set_errno(err, errno, "cannot protect the guest's memory %s",
				       work->memory_path);
	return 0;
}

int bake_work_boot(struct bake_work *work, struct error *err)
{
	struct template_definition definition = *work->definition; /* borrows its strings */
	struct machine_options options = {
		.definition = &definition,
		.host = work->host,
		.id = work->id,
		.dir = work->dir,
		.image = work->image,
		.agent_socket = work->agent_socket,
		.share_dir = work->share,
		.console_log = work->console,
	};
	_cleanup_free_ char *xml = NULL;

	definition.kernel = work->kernel;
	definition.initrd = work->initrd;
	int r = machine_xml(&options, &xml, err);
	if (r == 0)
		r = bake_domain_boot(&work->where, xml, &work->domain, err);
	if (r == 0)
		r = path_remove(work->kernel, err);
	if (r == 0)
		r = path_remove(work->initrd, err);
	if (r == 0)
		r = FAULT_ERROR("bake.booting", err);
	if (r == 0)
		r = argv_memory_path(bake_domain_argv(work->domain), &work->memory_path, err);
	if (r == 0)
		r = protect_memory(work, err);
	if (r == 0)
		r = derive_vectors(work, err);
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
	FAULT_POINT("bake.answering");
}

/* ---------------------------------------------------------------- trim and freeze */

void bake_work_trims(struct bake_work *work)
{
	_cleanup_(error_done) struct error err = {};

	if (bake_memory_allocated(work->memory_path, &work->memory_before, &err) < 0)
		log_warning(work->id, "%s", error_message(&err));
}

int bake_work_trim(struct bake_work *work, struct error *err)
{
	int r = FAULT_ERROR("bake.rehearsing", err);
	if (r == 0)
		r = bake_domain_stop(work->domain, err);
	if (r == 0)
		r = FAULT_ERROR("bake.trimming", err);
	if (r == 0)
		r = bake_memory_punch(work->memory_path, err);
	if (r == 0)
		r = bake_memory_allocated(work->memory_path, &work->memory_after, err);
	if (r == 0)
		log_info(work->id, "guest memory takes %llu MiB, %llu MiB before it was trimmed",
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

/* The link is there before the file, so that the file is never without one that leads to it. */
static int put_memory_elsewhere(const struct bake_work *work, const char *path, struct error *err)
{
	_cleanup_free_ char *link = path_join(work->dir, "memory");

	if (symlink(path, link) < 0)
		return error_set_errno(err, errno, "cannot make the link %s", link);
	int r = path_remove(path, err);
	return r < 0 ? r : memory_place_put(work->memory_path, path, err);
}

/* libvirt removes the file's old folder with the domain, so the file leaves it before. */
static int take_memory(struct bake_work *work, struct error *err)
{
	_cleanup_free_ char *path = template_memory_path(work->dir, work->definition->memory_dir,
							 work->id);

	if (*work->definition->memory_dir) {
		int r = put_memory_elsewhere(work, path, err);
		if (r < 0)
			return r;
	} else if (rename(work->memory_path, path) < 0) {
		return error_set_errno(err, errno, "cannot move the guest's memory %s to %s",
				       work->memory_path, path);
	}
	if (chown(path, 0, 0) < 0 || chmod(path, TEMPLATE_FILE_MODE) < 0)
		return error_set_errno(err, errno, "cannot protect %s", path);
	return 0;
}

/* Clones have copies, which the factory makes. */
static int protect_scratch(const struct bake_work *work, struct error *err)
{
	if (work->definition->scratch_mib > 0 &&
	    (chown(work->scratch, 0, 0) < 0 || chmod(work->scratch, 0400) < 0))
		return error_set_errno(err, errno, "cannot protect %s", work->scratch);
	return 0;
}

int bake_work_freeze(struct bake_work *work, struct error *err)
{
	int r = save_state(work, err);
	if (r == 0)
		r = FAULT_ERROR("bake.freezing", err);
	if (r == 0)
		r = protect_scratch(work, err);
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
	const char *memory = manifest->memory;
	_cleanup_free_ char *state = path_join(work->dir, "state");

	struct stat st;

	int r = file_sync(memory, &manifest->memory_bytes, err);
	/* On another file system it may take up more or less than where it was trimmed. */
	if (r == 0 && *work->definition->memory_dir && stat(memory, &st) == 0)
		manifest->memory_allocated_bytes = (uint64_t)st.st_blocks * 512;
	if (manifest->memory_allocated_bytes > manifest->memory_bytes)
		manifest->memory_allocated_bytes = manifest->memory_bytes;
	if (r == 0)
		r = file_sync(state, &manifest->state_bytes, err);
	if (r == 0)
		r = file_sync(work->image, &manifest->image_bytes, err);
	if (r == 0)
		r = digest_file(memory, manifest->memory_digest, err);
	if (r == 0)
		r = digest_file(state, manifest->state_digest, err);
	if (r == 0)
		r = digest_file(work->image, manifest->image_digest, err);
	if (r == 0 && work->definition->scratch_mib > 0)
		r = file_sync(work->scratch, &manifest->scratch_bytes, err);
	if (r == 0 && work->definition->scratch_mib > 0)
		r = digest_sparse_file(work->scratch, manifest->scratch_digest, err);
	return r;
}

static int describe(struct bake_work *work, struct template_manifest *manifest, struct error *err)
{
	memcpy(manifest->id, work->id, sizeof(manifest->id));
	manifest->generation = work->generation;
	template_inputs_copy(&work->inputs.values, &manifest->inputs);
	manifest->name = xstrdup(work->definition->name);
	manifest->dir = xstrdup(work->dir);
	manifest->memory = template_memory_path(work->dir, work->definition->memory_dir, work->id);
	manifest->agent_version = xstrdup(work->agent_version);
	manifest->qemu_binary = xstrdup(work->host->qemu_binary);
	manifest->accelerator = work->host->accelerator;
	manifest->vcpus = work->definition->vcpus;
	manifest->spare_vcpus = work->definition->spare_vcpus;
	manifest->max_memory_mib = work->definition->max_memory_mib;
	manifest->block_slots = work->definition->block_slots;
	manifest->network_cards = work->definition->network_cards;
	manifest->dax_windows = work->definition->dax_windows;
	manifest->dax_window_bytes = work->definition->dax_window_mib << 20;
	manifest->memory_before_trim_bytes = work->memory_before;
	manifest->memory_allocated_bytes = work->memory_after;
	manifest->baked_at = clock_realtime_ns() / 1000000000;
	manifest->boot_ms = work->boot_ms;
	manifest->argv = work->argv;
	work->argv = (struct strv){};
	manifest->boot_argv = work->boot_argv;
	work->boot_argv = (struct strv){};
	manifest->boot_room_kib = work->boot_room_kib;
	int r = measure_files(work, manifest, err);
	return r < 0 ? r : bake_inputs_check(&work->inputs, work->dir, manifest->image_digest, err);
}

/* The guest's bytes: what is not text must not reach a terminal. */
static void make_printable(char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isprint((unsigned char)text[i]) && text[i] != '\n' && text[i] != '\t')
			text[i] = text[i] == '\r' ? ' ' : '?';
}

char *bake_work_read_console(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return xstrdup("");
	char *text = xcalloc(1, CONSOLE_MAX + 1);
	ssize_t len = pread(fd, text, CONSOLE_MAX,
			    st.st_size > CONSOLE_MAX ? st.st_size - CONSOLE_MAX : 0);
	make_printable(text, len > 0 ? (size_t)len : 0);
	return text;
}

/* A template is as good without it. */
static void keep_console(const struct bake_work *work)
{
	_cleanup_free_ char *text = bake_work_read_console(work->console);
	_cleanup_free_ char *path = path_join(work->dir, TEMPLATE_CONSOLE);
	_cleanup_(error_done) struct error err = {};

	if (file_write_atomic(path, text, strlen(text), 0600, &err) < 0)
		log_warning(work->id, "the console's log is not kept: %s", error_message(&err));
}

/* By the group that gets into the store (factory/jailer/begin.c). */
static int open_to_factory(const struct bake_work *work, struct error *err)
{
	_cleanup_free_ char *templates = path_join(work->where.store, "templates");
	struct stat st;

	if (stat(templates, &st) < 0)
		return error_set_errno(err, errno, "cannot look at %s", templates);
	return template_open(work->dir, st.st_gid, err);
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
	keep_console(work);
	if (path_remove(work->run, &left) < 0)
		log_warning(work->id, "something is left behind: %s", error_message(&left));
	manifest->bake_ms = clock_monotonic_ms() - work->started_ms;
	r = FAULT_ERROR("bake.storing", err);
	if (r == 0)
		r = template_manifest_store(manifest, err);
	if (r == 0)
		r = open_to_factory(work, err);
	FAULT_POINT("bake.stored");
	if (r == 0)
		work->manifest = steal_ptr(manifest);
	return r;
}

/* ---------------------------------------------------------------- undo */

void bake_work_explain(const struct bake_work *work, struct error *err)
{
	struct statvfs st;

	if (work->memory_path && statvfs(work->memory_path, &st) == 0 &&
	    (uint64_t)st.f_bavail * st.f_frsize < NO_ROOM)
		error_set(err, ENOSPC, "%s; the guest's memory %s has no room to grow",
			  error_message(err), work->memory_path);
}

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

const char *bake_work_console_path(const struct bake_work *work)
{
	return work->console;
}

const char *bake_work_console_log(const struct bake_work *work)
{
	return work->console_log;
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
	work->console_log = bake_work_read_console(work->console);
	size_t len = strlen(work->console_log);
	const char *tail = work->console_log + (len > TAIL_BYTES ? len - TAIL_BYTES : 0);
	work->console_tail = printable_tail(tail, strlen(tail));
	/* A helper that was killed leaves its machine. */
	int r = work->where.libvirt_uri ? 0 : bake_clean_embedded(&work->where, err);
	int removed = template_remove(work->where.store, work->id, r == 0 ? err : NULL);
	if (r == 0)
		r = removed;
	removed = path_remove(work->run, r == 0 ? err : NULL);
	return r < 0 ? r : removed;
}
