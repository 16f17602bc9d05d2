#include "bench/booted.h"

#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/spawn.h"
#include "base/strv.h"
#include "bench/factory_client.h"
#include "factory/guest/disks.h"
#include "factory/guest/guest_share.h"
#include "factory/jail/tap.h"
#include "factory/store/template.h"
#include "factory/vm/argv.h"
#include "factory/vm/clone_files.h"
#include "factory/vm/guest_cid.h"
#include "proto/health.pb-c.h"

#define BOOT_MS         300000
#define RUN_MS          600000
#define SCRATCH         "/dev/shm" /* a scratch disk belongs on tmpfs */
#define SOCKETS         3
#define FIRST_TAP       (3 + SOCKETS) /* its descriptor in QEMU */
#define VHOST_FD        (FIRST_TAP + NETWORK_CARDS_MAX)
#define FIRST_VHOST_NET (VHOST_FD + 1)
#define REAP_TRIES      1000
#define REAP_USLEEP     5000

struct booted {
	struct bench *bench; /* borrowed */
	struct booted *next; /* in bench->booted */
	char *dir;           /* owned: sockets, scratch disk and share; removed at the end */
	size_t cards;        /* of its network */
	bool vhost_net;      /* they have */
	int vhost;           /* has guest_cid reserved, until QEMU runs; -EBADF: none */
	uint32_t guest_cid;
	pid_t pid;
	int pidfd;
	struct ttrpc_client *agent;
};

static const char *const socket_names[SOCKETS] = { "agent.sock", "qmp.sock", "shim.sock" };

/* ---------------------------------------------------------------- arguments */

/* The manifest of the template in this folder, which is STORE/templates/ID. */
static int load_manifest(const char *dir, struct template_manifest **ret, struct error *err)
{
	_cleanup_free_ char *of_id = xstrdup(dir), *of_store = xstrdup(dir);

	return template_manifest_load(dirname(dirname(of_store)), basename(of_id), ret, err);
}

/* Anonymous RAM is a memfd instead, which bench/smaps.h can tell from QEMU's heap. */
static void use_memfd(struct strv *argv)
{
	for (size_t i = 0; i < argv->count; i++) {
		const char *rest = str_after(argv->items[i], "memory-backend-ram,");
		char *other = rest ? xasprintf(ARGV_OWN_MEMORY ",%s", rest) : NULL;

		if (other) {
			free(argv->items[i]);
			argv->items[i] = other;
		}
	}
}

static int reserve_guest_cid(struct booted *booted, const struct template_manifest *manifest,
			     struct error *err)
{
	if (!argv_has_vsock(&manifest->boot_argv))
		return 0;
	return guest_cid_reserve(&booted->vhost, &booted->guest_cid, err);
}

/* The vector of the manifest at the size of its template, with the descriptors 3, 4 and 5. */
static int expand(const struct booted *booted, const struct template_manifest *manifest,
		  struct strv *ret, struct error *err)
{
	_cleanup_(clone_files_done) struct clone_files files = {};
	struct placeholder paths[CLONE_FILES_MAX];
	_cleanup_free_ char *scratch = path_join(booted->dir, DISKS_SCRATCH);
	_cleanup_free_ char *share = path_join(booted->dir, "share");
	uint64_t kib = manifest->memory_bytes / 1024;
	_cleanup_free_ char *guest_cid = xasprintf("%" PRIu32, booted->guest_cid);
	_cleanup_free_ char *vhost_fd = xasprintf("%d", VHOST_FD);
	_cleanup_free_ char *vcpus = xasprintf("%" PRIu64, manifest->vcpus);
	_cleanup_free_ char *last_vcpu = xasprintf("%" PRIu64, manifest->vcpus - 1);
	_cleanup_free_ char *memory_kib = xasprintf("%" PRIu64, kib);
	_cleanup_free_ char *max_kib = xasprintf("%" PRIu64, kib + manifest->boot_room_kib);

	clone_files_init(&files, &(struct clone_files_options){ .manifest = manifest,
								.scratch_dir = booted->dir,
								.booted = true });
	for (size_t i = 0; i < files.count; i++) {
		const char *name = files.items[i].placeholder;
		bool is_scratch = str_equal(name, DISKS_SCRATCH);
		paths[i] = (struct placeholder){ name, is_scratch ? scratch : files.items[i].path };
	}

	return argv_expand(&manifest->boot_argv,
			   &(struct argv_values){ .files = paths,
						  .nfiles = files.count,
						  .share_dir = share,
						  .agent_fd = "3",
						  .qmp_fd = "4",
						  .shim_fd = "5",
						  .first_tap_fd = FIRST_TAP,
						  .taps = NETWORK_CARDS_MAX,
						  .first_vhost_net_fd = FIRST_VHOST_NET,
						  .guest_cid = guest_cid,
						  .vhost_fd = vhost_fd,
						  .vcpus = vcpus,
						  .last_vcpu = last_vcpu,
						  .memory_kib = memory_kib,
						  .max_memory_kib = max_kib },
			   ret, err);
}

/* ---------------------------------------------------------------- the process */

static int booted_spawn(struct booted *booted, const struct strv *argv, struct error *err)
{
	_cleanup_free_ char *share = path_join(booted->dir, "share");
	_cleanup_free_ char *lower = path_join(share, GUEST_LOWER_DIR);
	_cleanup_free_ char *log = path_join(booted->dir, "qemu.log");
	_cleanup_close_ int log_fd = open(log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	_cleanup_(taps_done) struct taps taps = {};
	struct spawn_fd fds[2 + SOCKETS + 2 * NETWORK_CARDS_MAX + 1] = { { log_fd, 1 },
									 { log_fd, 2 } };
	size_t nfds = 2 + SOCKETS;
	int sockets[SOCKETS] = { -EBADF, -EBADF, -EBADF };

	int r = dir_make(share, 0755, err);
	if (r == 0)
		r = dir_make(lower, 0755, err);
	for (int i = 0; r == 0 && i < SOCKETS; i++) {
		_cleanup_free_ char *path = path_join(booted->dir, socket_names[i]);
		r = socket_listen_unix(path, 0600, &sockets[i], err);
		fds[2 + i] = (struct spawn_fd){ sockets[i], 3 + i };
	}
	if (r == 0)
		r = taps_reserve(booted->cards, booted->vhost_net, &taps, err);
	for (size_t i = 0; i < taps.count; i++)
		fds[nfds++] = (struct spawn_fd){ taps.fds[i], FIRST_TAP + (int)i };
	for (size_t i = 0; i < taps.count; i++)
		if (taps.vhost_net[i] >= 0)
			fds[nfds++] = (struct spawn_fd){ taps.vhost_net[i],
							 FIRST_VHOST_NET + (int)i };
	if (booted->vhost >= 0)
		fds[nfds++] = (struct spawn_fd){ booted->vhost, VHOST_FD };
	if (r == 0)
		r = spawn(&(struct spawn_options){ .argv = argv->items,
						   .cwd = booted->dir,
						   .fds = fds,
						   .nfds = nfds,
						   .in_child = taps_enter,
						   .hook_data = &taps,
						   .new_session = true,
						   .no_huge_pages = true },
			  &booted->pid, &booted->pidfd, err);
	for (int i = 0; i < SOCKETS; i++)
		close_fd(sockets[i]);
	booted->vhost = close_fd(booted->vhost);
	return r;
}

static int booted_greet(struct bench *bench, struct booted *booted, struct error *err)
{
	_cleanup_free_ char *path = path_join(booted->dir, socket_names[0]);
	Grpc__CheckRequest request = GRPC__CHECK_REQUEST__INIT;
	struct ttrpc_call_options call = {
		.service = &grpc__health__descriptor,
		.method = "Version",
		.request = &request.base,
		.timeout_ms = BOOT_MS,
	};
	ProtobufCMessage *response = NULL;
	int fd = -EBADF;

	int r = socket_connect(path, &fd, err);
	if (r < 0)
		return r;
	booted->agent = ttrpc_client_new(bench->loop, fd, &(struct ttrpc_client_options){});
	r = ttrpc_client_call_wait(booted->agent, bench->loop, &call, &response, NULL, NULL, err);
	if (r == 0)
		protobuf_c_message_free_unpacked(response, NULL);
	return r < 0 ? error_wrap(err, "the booted guest does not answer") : 0;
}

/* A machine writes to its scratch disk: it gets a copy of the template's, where that has one. */
static int copy_scratch(const struct booted *booted, const struct template_manifest *manifest,
			struct error *err)
{
	_cleanup_free_ char *from = path_join(manifest->dir, DISKS_SCRATCH_NEW);
	_cleanup_free_ char *to = path_join(booted->dir, DISKS_SCRATCH);
	_cleanup_free_ char *output = NULL;

	if (manifest->scratch_bytes == 0)
		return 0;
	return spawn_and_wait(SPAWN_ARGV("cp", "--sparse=always", from, to), &output, err);
}

/* The network cards in its vector. */
static size_t count_cards(const struct strv *argv)
{
	size_t count = 0;

	for (size_t i = 0; i < argv->count; i++)
		count += strstr(argv->items[i], "{{tap_") != NULL;
	return count;
}

/* The machine's folder and its arguments. */
static int booted_prepare(struct booted *booted, const char *factory, struct strv *argv,
			  struct error *err)
{
	_cleanup_(inspect_response_free_cleanup)
		Kiln__Factory__V1__InspectResponse *inspected = NULL;
	_cleanup_(template_manifest_free_cleanup) struct template_manifest *manifest = NULL;
	const char *parent = getenv("TMPDIR");

	int r = factory_inspect(booted->bench->loop, factory, &inspected, err);
	if (r == 0)
		r = load_manifest(inspected->dir, &manifest, err);
	if (r == 0)
		r = bench_make_folder(parent ? parent : SCRATCH, &booted->dir, err);
	if (r == 0)
		r = copy_scratch(booted, manifest, err);
	if (r == 0)
		r = reserve_guest_cid(booted, manifest, err);
	if (r == 0)
		r = expand(booted, manifest, argv, err);
	if (r < 0)
		return r;
	booted->cards = count_cards(&manifest->boot_argv);
	booted->vhost_net = argv_has_vhost_net(&manifest->boot_argv);
	use_memfd(argv);
	return 0;
}

/* One that is among the bench's; booted_free() ends it from any state. */
static struct booted *booted_start(struct bench *bench)
{
	struct booted *booted = xnew(struct booted);

	*booted = (struct booted){
		.bench = bench, .next = bench->booted, .pidfd = -EBADF, .vhost = -EBADF
	};
	bench->booted = booted;
	return booted;
}

static int booted_boot(struct booted *booted, const struct strv *argv, struct error *err)
{
	int r = booted_spawn(booted, argv, err);

	if (r == 0)
		r = booted_greet(booted->bench, booted, err);
	return r < 0 ? error_wrap(err, "cannot boot a machine of the factory's template") : 0;
}

/* ---------------------------------------------------------------- a machine of its own */

static void change_boot(struct strv *argv, const char *initrd, const char *parameters)
{
	for (size_t i = 0; i + 1 < argv->count; i++) {
		char **value = &argv->items[i + 1];

		if (str_equal(argv->items[i], "-initrd")) {
			free(*value);
			*value = xstrdup(initrd);
		} else if (str_equal(argv->items[i], "-append")) {
			char *longer = xasprintf("%s %s", *value, parameters);
			free(*value);
			*value = longer;
		}
	}
}

/* The disk is thrown away: what the guest flushes need not reach the host's disk. */
static void add_disk(struct strv *argv, const char *disk)
{
	strv_add(argv, "-drive");
	strv_addf(argv, "file=%s,format=raw,if=none,id=limit,cache=unsafe", disk);
	strv_add(argv, "-device");
	strv_add(argv, "virtio-blk-pci,drive=limit");
}

static void on_end(int fd _unused_, unsigned events _unused_, void *userdata)
{
	*(bool *)userdata = true;
}

static int wait_for_end(struct booted *booted, struct error *err)
{
	bool ended = false;
	_cleanup_(loop_watch_free_cleanup) struct loop_watch *watch _unused_ = loop_watch_new(
		booted->bench->loop, booted->pidfd, LOOP_READ, on_end, &ended);
	int status;

	if (!loop_run_until(booted->bench->loop, &ended, RUN_MS))
		return error_set(err, ETIMEDOUT, "the machine has not ended itself in %d s",
				 RUN_MS / 1000);
	int r = spawn_reap(booted->pidfd, &status);
	close_fd(booted->pidfd);
	booted->pidfd = -EBADF;
	if (r == 0 && status == 0)
		return 0;
	_cleanup_free_ char *path = path_join(booted->dir, "qemu.log");
	_cleanup_free_ char *log = NULL;
	(void)!file_read(path, 1 << 16, &log, NULL, NULL);
	return error_set(err, EIO, "QEMU has failed: %.400s", log ? log : "it does not say why");
}

int booted_run(struct bench *bench, const char *factory, const char *initrd, const char *parameters,
	       const char *disk, struct error *err)
{
	_cleanup_(booted_free_cleanup) struct booted *booted = booted_start(bench);
	_cleanup_(strv_done) struct strv argv = {};

	int r = booted_prepare(booted, factory, &argv, err);
	if (r < 0)
		return r;
	change_boot(&argv, initrd, parameters);
	add_disk(&argv, disk);
	r = booted_spawn(booted, &argv, err);
	if (r == 0)
		r = wait_for_end(booted, err);
	return r < 0 ? error_wrap(err, "cannot run a machine with disk %s", disk) : 0;
}

/* ---------------------------------------------------------------- a booted machine */

int booted_new(struct bench *bench, const char *factory, struct booted **ret_booted,
	       uint64_t *ret_ns, struct error *err)
{
	_cleanup_(booted_free_cleanup) struct booted *booted = booted_start(bench);
	_cleanup_(strv_done) struct strv argv = {};

	int r = booted_prepare(booted, factory, &argv, err);
	if (r < 0)
		return r;
	uint64_t begun = clock_monotonic_ns();
	r = booted_boot(booted, &argv, err);
	if (r < 0)
		return r;
	*ret_ns = clock_monotonic_ns() - begun;
	*ret_booted = steal_ptr(booted);
	return 0;
}

static void booted_reap(struct booted *booted)
{
	int status;

	(void)syscall(SYS_pidfd_send_signal, booted->pidfd, SIGKILL, NULL, 0);
	for (int i = 0; i < REAP_TRIES && spawn_reap(booted->pidfd, &status) == -EAGAIN; i++)
		usleep(REAP_USLEEP);
	close_fd(booted->pidfd);
}

static void booted_end(struct booted *booted)
{
	_cleanup_(error_done) struct error err = {};

	ttrpc_client_free(booted->agent);
	close_fd(booted->vhost);
	if (booted->pidfd >= 0)
		booted_reap(booted);
	if (booted->dir && path_remove(booted->dir, &err) < 0)
		fprintf(stderr, "kiln-bench: %s\n", error_message(&err));
	free(booted->dir);
	free(booted);
}

void booted_free(struct booted *booted)
{
	struct booted **at = &booted->bench->booted;

	while (*at != booted)
		at = &(*at)->next;
	*at = booted->next;
	booted_end(booted);
}

void booted_free_all(struct bench *bench)
{
	struct booted *next;

	for (struct booted *booted = bench->booted; booted; booted = next) {
		next = booted->next;
		booted_end(booted);
	}
	bench->booted = NULL;
}

struct ttrpc_client *booted_agent(struct booted *booted)
{
	return booted->agent;
}

pid_t booted_pid(const struct booted *booted)
{
	return booted->pid;
}
