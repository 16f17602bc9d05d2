#include "factory/vm/rehearsal.h"

#include <jansson.h>

#include "proto/pbjson.h"

#define TEXT(...) #__VA_ARGS__

/* An OCI runtime configuration like the one `ctr run` writes, less what a read-only root has
 * no place for (/run). */
/* clang-format off */
static const char spec_json[] = TEXT({
	"ociVersion": "1.0.2",
	"process": {
		"user": { "uid": 0, "gid": 0 },
		"args": [ "/kiln-agent", "--version" ],
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
	"root": { "path": "/usr/share/kiln/rehearsal", "readonly": true },
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
		{ "destination": "/sys", "type": "sysfs", "source": "sysfs",
		  "options": [ "nosuid", "noexec", "nodev", "ro" ] }
	],
	"linux": {
		"cgroupsPath": "/kiln/kiln-rehearsal",
		"resources": { "devices": [ { "allow": false, "access": "rwm" } ] },
		"namespaces": [
			{ "type": "pid" }, { "type": "ipc" }, { "type": "uts" },
			{ "type": "mount" }, { "type": "cgroup" }
		],
		"maskedPaths": [ "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware" ],
		"readonlyPaths": [ "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys" ]
	}
});
/* clang-format on */

int rehearsal_spec(Grpc__Spec **ret_spec, struct error *err)
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
	return 0;
}
