#include "shim/bundle.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/format.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strings.h"

#define SHIM_PARENT "/run/kiln"
#define MACHINE_MAX 4096
#define ADDRESS_MAX 256

int bundle_write_address(const char *bundle, const char *address, struct error *err)
{
	_cleanup_free_ char *path = path_join(bundle, BUNDLE_ADDRESS);

	return file_write_volatile(path, address, strlen(address), 0600, err);
}

char *bundle_read_address(const char *bundle)
{
	_cleanup_free_ char *path = path_join(bundle, BUNDLE_ADDRESS);
	_cleanup_free_ char *address = NULL;

	if (file_read(path, ADDRESS_MAX, &address, NULL, NULL) < 0 ||
	    !str_after(address, "unix://" SHIM_DIR "/") || strstr(address, ".."))
		return NULL;
	return steal_ptr(address);
}

/* A start at the same moment makes the folders again. */
void shim_socket_remove(const char *path)
{
	(void)unlink(path);
	if (rmdir(SHIM_DIR) == 0)
		(void)rmdir(SHIM_PARENT);
}

void bundle_remove_dead_socket(const char *bundle)
{
	_cleanup_free_ char *address = bundle_read_address(bundle);
	_cleanup_close_ int fd = -EBADF;

	if (address && socket_connect(address, &fd, NULL) == -ECONNREFUSED)
		shim_socket_remove(str_after(address, "unix://"));
}

int bundle_write_machine(const char *bundle, const struct bundle_machine *machine,
			 struct error *err)
{
	_cleanup_free_ char *path = path_join(bundle, BUNDLE_MACHINE);
	_cleanup_free_ char *text = NULL;
	json_t *json = json_pack("{ss ss sI sI sI}", "run_dir", machine->run_dir, "vm_id",
				 machine->vm_id, "vmm_pid", (json_int_t)machine->vmm_pid,
				 "shim_pid", (json_int_t)machine->shim_pid, "shim_start_time",
				 (json_int_t)machine->shim_start_time);

	text = json ? json_dumps(json, JSON_INDENT(1)) : NULL;
	json_decref(json);
	if (!text)
		return error_set(err, EINVAL, "%s cannot be written: a path in it is not UTF-8",
				 path);
	return file_write_volatile(path, text, strlen(text), 0600, err);
}

static int machine_from_json(json_t *json, struct bundle_machine *ret_machine, struct error *err)
{
	json_int_t vmm_pid, shim_pid, shim_start_time;
	const char *run_dir, *vm_id;

	if (json_unpack(json, "{ss ss sI sI sI}", "run_dir", &run_dir, "vm_id", &vm_id, "vmm_pid",
			&vmm_pid, "shim_pid", &shim_pid, "shim_start_time", &shim_start_time) < 0 ||
	    run_dir[0] != '/' || !id_is_valid(vm_id) || vmm_pid < 0 || shim_pid <= 0)
		return error_set(err, EINVAL, "it is not what the shim wrote");
	*ret_machine = (struct bundle_machine){
		.run_dir = xstrdup(run_dir),
		.vm_id = xstrdup(vm_id),
		.vmm_pid = (pid_t)vmm_pid,
		.shim_pid = (pid_t)shim_pid,
		.shim_start_time = (uint64_t)shim_start_time,
	};
	return 0;
}

int bundle_read_machine(const char *bundle, struct bundle_machine *ret_machine, struct error *err)
{
	_cleanup_free_ char *path = path_join(bundle, BUNDLE_MACHINE);
	_cleanup_free_ char *text = NULL;
	json_t *json;
	size_t len;
	int r;

	r = file_read(path, MACHINE_MAX, &text, &len, err);
	if (r < 0)
		return r;
	json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	r = format_check_object(FORMAT_BUNDLE, json, "version", true, err);
	if (r == 0)
		r = machine_from_json(json, ret_machine, err);
	json_decref(json);
	return r < 0 ? error_wrap(err, "%s", path) : 0;
}

bool bundle_has_machine(const char *bundle)
{
	_cleanup_free_ char *path = path_join(bundle, BUNDLE_MACHINE);

	return path_exists(path);
}

void bundle_remove_machine(const char *bundle)
{
	_cleanup_free_ char *path = path_join(bundle, BUNDLE_MACHINE);

	(void)unlink(path); /* containerd may have removed the bundle already */
}

void bundle_machine_done(struct bundle_machine *machine)
{
	free(machine->run_dir);
	free(machine->vm_id);
	*machine = (struct bundle_machine){};
}
