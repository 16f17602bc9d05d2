/* Inside of a container, shared by container.c (the object, its end, its execs) and
 * container_create.c (from the request until the agent has it). */
#pragma once

#include "base/trace.h"
#include "shim/container.h"
#include "shim/container_disks.h"
#include "shim/engine_root.h"
#include "shim/hooks.h"
#include "shim/layer_image.h"
#include "shim/layer_mounts.h"
#include "shim/limits.h"
#include "shim/pid_sharing.h"
#include "shim/rootfs.h"
#include "shim/share_folder.h"
#include "shim/spec.h"
#include "shim/volumes.h"

struct container {
	TAILQ_ENTRY(container) link;
	unsigned refs;
	struct loop *loop;
	struct sandbox *sandbox;
	struct events *events;
	const char *shim_address; /* borrowed */
	const char *ns;           /* borrowed; containerd's namespace */
	char *id;
	char *bundle;
	enum container_state state;
	const Containerd__Task__V2__CreateTaskRequest *request; /* borrowed; CREATING only */
	struct settings settings;
	struct spec *spec;    /* until the agent has it */
	struct limits limits; /* by its spec, and by what it was updated to */
	struct pid_sharing pids;
	Containerd__Types__Mount
		*engine_root; /* owned; NULL: the request names the root's mounts */
	Containerd__Types__Mount *const *root_mounts; /* CREATING only */
	size_t nroot_mounts;
	struct layer_mounts layers; /* of an EROFS snapshotter's mounts; else empty */
	bool makes_upper;           /* the image for what is written is not there yet */
	struct slots *image_slots;  /* with the image of its layers; a reference; NULL: none */
	struct layer_image image;   /* in a window, or on a slot of image_slots */
	bool looked_for_losses;     /* of its layers, while there was no image of them */
	enum rootfs_driver rootfs_driver;
	struct container_disks *disks; /* NULL: it has none */
	struct share_folder folder;
	struct rootfs *rootfs;   /* in the folder; NULL: not mounted */
	struct volumes *volumes; /* in the folder; NULL: not mounted */
	char *root_note;         /* the factory's to read; NULL: none */
	struct hooks *hooks;     /* NULL: its spec has none */
	struct error failure;    /* of its creation; owned */
	struct netns_keeper
		*number; /* what gives it a pid of its own, while it runs; NULL: the VMM's */
	struct process *init;
	bool is_paused;
	bool is_sandbox; /* its pod's: nothing runs for it in the guest */
	bool is_member;  /* of a pod */
	bool is_over;    /* container_end(): nobody is told of it any more */
	TAILQ_HEAD(exec_list, exec) execs;
	size_t nexecs;
	container_done_fn done; /* of create or delete under way; NULL: none */
	void *done_userdata;
	uint64_t used_ms;           /* when it was made, or an exec of it removed */
	struct trace_span creation; /* of its Create */
	struct trace_span span;     /* of what the agent was asked, or of its Delete */
	void (*on_gone)(struct container *container, bool failed, void *userdata);
	void *userdata;
};

/* The only place where the state changes. GONE: execs and files go with it, and on_gone is called.
 */
void container_set_state(struct container *container, enum container_state state);

/* Answers the create or delete under way. */
void container_finish(struct container *container, const struct error *err);

/* In CREATING, whose machine has gone: it fails with -ECONNRESET, and is GONE. */
void container_break_creation(struct container *container);

void container_remove_in_guest(struct container *container, ttrpc_reply_fn fn, void *userdata);
