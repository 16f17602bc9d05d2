/* What the shim leaves in a container's bundle for those who come after it.
 *
 *   BUNDLE/address    the shim's socket; containerd reads it after its own restart
 *   BUNDLE/kiln.json  the machine behind the container and the shim that owns it, written before
 *                     anything is mounted; `delete` cleans up by it where the shim has died, also
 *                     of another version: keys that it does not know are ignored. A version of
 *                     FORMAT_BUNDLE (base/format.h) after the first has the key "version"
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "proto/shim_socket.h"

#define SHIM_PROGRAM "containerd-shim-kiln-v2"

#define BUNDLE_ADDRESS "address"
#define BUNDLE_MACHINE "kiln.json"

struct bundle_machine {
	char *run_dir; /* of the factory; owned */
	char *vm_id;   /* owned */
	pid_t vmm_pid;
	pid_t shim_pid;
	uint64_t shim_start_time; /* clock ticks since boot: with the pid it names one process */
};

/* Removes a socket of SHIM_DIR, and the folder with the last one. */
void shim_socket_remove(const char *path);

_must_check_ int bundle_write_address(const char *bundle, const char *address, struct error *err);

/* What it says, where that is a socket of SHIM_DIR; else NULL. The caller frees. */
char *bundle_read_address(const char *bundle);

/* Removes the shim's socket where nobody listens on it any more; silent about failures. */
void bundle_remove_dead_socket(const char *bundle);

_must_check_ int bundle_write_machine(const char *bundle, const struct bundle_machine *machine,
				      struct error *err);
/* -ENOENT: the container left nothing. */
_must_check_ int bundle_read_machine(const char *bundle, struct bundle_machine *ret_machine,
				     struct error *err);
bool bundle_has_machine(const char *bundle);
void bundle_remove_machine(const char *bundle);
void bundle_machine_done(struct bundle_machine *machine);
