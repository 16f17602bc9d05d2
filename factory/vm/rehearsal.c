#include "factory/vm/rehearsal.h"

#include <asm/unistd.h>
#include <errno.h>
#include <jansson.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "factory/guest/guest_root.h"
#include "factory/guest/guest_share.h"
#include "proto/pbjson.h"

#define TEXT(...) #__VA_ARGS__

#define ROOT        "/usr/share/kiln/rehearsal" /* in every guest's root image */
#define VOLUME      REHEARSAL_ID "/volume"
#define VOLUME_TEXT "127.0.0.1 localhost\n"

/* An OCI runtime configuration like the one `ctr run` writes. Root and program are filled in. */
/* clang-format off */
static const char spec_json[] = TEXT({
	"ociVersion": "1.0.2",
	"process": {
		"user": { "uid": 0, "gid": 0, "additionalGids": [ 0 ] },
		"args": [ "/program" ],
		"env": [ "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" ],
		"cwd": "/",
		"capabilities": {
			"bounding": [ "CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID" ],
			"effective": [ "CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID" ],
			"permitted": [ "CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID" ]
		},
		"rlimits": [ { "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 } ],
		"noNewPrivileges": true
	},
	"root": { "path": "" },
	"hostname": "kiln-rehearsal",
	"mounts": [
		{ "destination": "/proc", "type": "proc", "source": "proc",
		  "options": [ "nosuid", "noexec", "nodev" ] },
		{ "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
		  "options": [ "nosuid", "strictatime", "mode=755", "size=65536k" ] },
		{ "destination": "/dev/pts", "type": "devpts", "source": "devpts",
		  "options": [ "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620",
			       "gid=5" ] },
		{ "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
		  "options": [ "nosuid", "noexec", "nodev", "mode=1777", "size=65536k" ] },
		{ "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
		  "options": [ "nosuid", "noexec", "nodev" ] },
		{ "destination": "/sys", "type": "sysfs", "source": "sysfs",
		  "options": [ "nosuid", "noexec", "nodev", "ro" ] },
		{ "destination": "/run", "type": "tmpfs", "source": "tmpfs",
		  "options": [ "nosuid", "strictatime", "mode=755", "size=65536k" ] }
	],
	"linux": {
		"cgroupsPath": "/kiln/kiln-rehearsal",
		"resources": { "devices": [ { "allow": false, "access": "rwm" },
					    { "allow": true, "type": "c", "major": 5, "minor": 1,
					      "access": "rwm" } ],
			       "cpu": { "shares": 1024 } },
		"namespaces": [
			{ "type": "pid" }, { "type": "ipc" }, { "type": "uts" },
			{ "type": "mount" }, { "type": "cgroup" }
		],
		"maskedPaths": [ "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware" ],
		"readonlyPaths": [ "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys" ]
	}
});
/* clang-format on */

static int read_spec(Grpc__Spec **ret_spec, struct error *err)
{
	_cleanup_free_ char *root = guest_root_path(REHEARSAL_ID);
	json_error_t jerr;
	json_t *json = json_loads(spec_json, JSON_REJECT_DUPLICATES, &jerr);
	if (!json)
		return error_set(err, EINVAL, "rehearsal specification: %s", jerr.text);
	ProtobufCMessage *message = NULL;
	int r = pbjson_to_message(&grpc__spec__descriptor, json, 0, &message, err);
	json_decref(json);
	if (r < 0)
		return error_wrap(err, "rehearsal specification");
	*ret_spec = (Grpc__Spec *)message;
	replace_string(&(*ret_spec)->root->path, root);
	return 0;
}

/* A read-only bind mount, as /etc/hosts and its like are in a pod. */
static void add_volume(Grpc__Spec *spec)
{
	Grpc__Mount *mount = xnew(Grpc__Mount);

	grpc__mount__init(mount);
	mount->destination = xstrdup("/etc/hosts");
	mount->type = xstrdup("bind");
	mount->source = xstrdup(GUEST_SHARE "/" VOLUME);
	mount->options = xnew_array(char *, 2);
	mount->options[mount->n_options++] = xstrdup("rbind");
	mount->options[mount->n_options++] = xstrdup("ro");
	spec->mounts = xrealloc_array(spec->mounts, spec->n_mounts + 1, sizeof(*spec->mounts));
	spec->mounts[spec->n_mounts++] = mount;
}

#define LOAD(field)   BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IF(op, k, n)  BPF_JUMP(BPF_JMP | BPF_##op | BPF_K, (k), 0, (n)) /* else over n */
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, (value))

/* Allows what the program does. The first filter that its kernel takes costs an emulated guest
 * several times what a later one does, however long they are. It is compiled, as the shim's are. */
static const struct sock_filter filter[] = {
	LOAD(arch),
	IF(JEQ, AUDIT_ARCH_X86_64, 3),
	LOAD(nr),
	IF(JGE, __X32_SYSCALL_BIT, 0),
	RETURN(SECCOMP_RET_ALLOW),
	RETURN(SECCOMP_RET_ERRNO | EPERM),
};

static void add_filter(Grpc__Linux *linux)
{
	Grpc__CompiledSeccomp *compiled = xnew(Grpc__CompiledSeccomp);

	grpc__compiled_seccomp__init(compiled);
	compiled->instructions.data = xmemdup(filter, sizeof(filter));
	compiled->instructions.len = sizeof(filter);
	linux->seccomp = xnew(Grpc__LinuxSeccomp);
	grpc__linux_seccomp__init(linux->seccomp);
	linux->seccomp->compiled = compiled;
	/* To an agent that knows compiled ones not. */
	linux->seccomp->defaultaction = xstrdup("SCMP_ACT_ALLOW");
}

enum rehearsal_image rehearsal_image_of(uint64_t dax_windows, uint64_t block_slots)
{
	if (dax_windows > 0)
		return REHEARSAL_DAX;
	return block_slots > 0 ? REHEARSAL_SLOT : REHEARSAL_NONE;
}

/* Where it is mounted; NULL: nowhere. The caller frees. */
static char *add_image(enum rehearsal_image image, struct storages *list)
{
	switch (image) {
	case REHEARSAL_DAX:
		return guest_root_add_window(list, "/dev/pmem0");
	case REHEARSAL_SLOT:
		return guest_root_add_slot(list, 0);
	case REHEARSAL_NONE:
		break;
	}
	return NULL;
}

int rehearsal_make(enum rehearsal_image image, bool has_volume, Grpc__Spec **ret_spec,
		   struct storages *list, struct error *err)
{
	_cleanup_(strv_done) struct strv lowers = {};
	int r = read_spec(ret_spec, err);

	if (r < 0)
		return r;
	add_filter((*ret_spec)->linux);
	if (has_volume)
		add_volume(*ret_spec);
	_cleanup_free_ char *folder = add_image(image, list);
	strv_addf(&lowers, "%s" ROOT, folder ? folder : "");
	guest_root_add_overlay(list, REHEARSAL_ID, &lowers, NULL);
	return 0;
}

int rehearsal_share_make(const char *share_dir, struct error *err)
{
	_cleanup_free_ char *folder = path_join(share_dir, REHEARSAL_ID);
	_cleanup_free_ char *path = path_join(share_dir, VOLUME);
	int r = dir_make(folder, 0755, err);

	return r < 0 ? r : file_write_volatile(path, VOLUME_TEXT, strlen(VOLUME_TEXT), 0644, err);
}

int rehearsal_share_remove(const char *share_dir, struct error *err)
{
	_cleanup_free_ char *path = path_join(share_dir, REHEARSAL_ID);

	return path_remove(path, err);
}
