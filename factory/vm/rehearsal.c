#include "factory/vm/rehearsal.h"

#include <fcntl.h>
#include <jansson.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "factory/vm/guest_share.h"
#include "proto/pbjson.h"

#define TEXT(...) #__VA_ARGS__

#define SHARED_ROOT   REHEARSAL_ID "/rootfs"
#define PROGRAM       "program"
#define PROGRAM_SIZE  (255 * 1024) /* more than one read-ahead; its last page is not full */
#define GUEST_ROOT    "/usr/share/kiln/rehearsal"
#define GUEST_PROGRAM "/kiln-agent"

/* An OCI runtime configuration like the one `ctr run` writes. Root and program are filled in. */
/* clang-format off */
static const char spec_json[] = TEXT({
	"ociVersion": "1.0.2",
	"process": {
		"user": { "uid": 0, "gid": 0, "additionalGids": [ 0 ] },
		"args": [ "", "--version" ],
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
	"root": { "path": "", "readonly": true },
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
		"resources": { "devices": [ { "allow": false, "access": "rwm" } ],
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

static int read_spec(const char *root, const char *program_path, Grpc__Spec **ret_spec,
		     struct error *err)
{
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
	replace_string(&(*ret_spec)->process->args[0], program_path);
	return 0;
}

int rehearsal_spec(Grpc__Spec **ret_spec, struct error *err)
{
	return read_spec(GUEST_ROOT, GUEST_PROGRAM, ret_spec, err);
}

int rehearsal_share_spec(Grpc__Spec **ret_spec, struct error *err)
{
	return read_spec(GUEST_SHARE "/" SHARED_ROOT, "/" PROGRAM, ret_spec, err);
}

/* ---- the root in the share */

/* factory/rehearsal/program.c as it was linked. */
__asm__(".pushsection .rodata\n"
	".balign 8\n"
	"rehearsal_program_len: .quad rehearsal_program_end - rehearsal_program\n"
	"rehearsal_program: .incbin \"" REHEARSAL_PROGRAM "\"\n"
	"rehearsal_program_end:\n"
	".popsection\n");
extern const uint64_t rehearsal_program_len;
extern const uint8_t rehearsal_program[];

/* The rest of its size is a hole. */
static int write_program(const char *path, struct error *err)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	int r = fd < 0 ? -errno : write_full(fd, rehearsal_program, rehearsal_program_len);

	if (r == 0 && ftruncate(fd, PROGRAM_SIZE) < 0)
		r = -errno;
	return r < 0 ? error_set_errno(err, r, "cannot write %s", path) : 0;
}

int rehearsal_share_make(const char *share_dir, struct error *err)
{
	static const char *const folders[] = { "proc", "dev", "sys", "tmp", "run" };
	_cleanup_free_ char *root = path_join(share_dir, SHARED_ROOT);
	_cleanup_free_ char *path = path_join(root, PROGRAM);
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(folders); i++) {
		_cleanup_free_ char *folder = path_join(root, folders[i]);
		r = dir_make(folder, 0755, err);
	}
	return r < 0 ? r : write_program(path, err);
}

int rehearsal_share_remove(const char *share_dir, struct error *err)
{
	_cleanup_free_ char *path = path_join(share_dir, REHEARSAL_ID);

	return path_remove(path, err);
}
