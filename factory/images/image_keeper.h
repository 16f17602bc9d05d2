/* Who works on the folder of the cache of images, which is root's alone. In kiln-jailer (and where
 * there is none) the functions of factory/images/image_store.h are called; a factory asks
 * kiln-jailer, which has a process of its own do it (factory/jailer/jobs.c). All of it blocks and
 * is for worker threads. */
#pragma once

#include <jansson.h>

#include "factory/images/image_make.h"
#include "factory/images/image_store.h"
#include "factory/jail/jailer.h"

/* All borrowed but for the lock. */
struct image_keeper {
	const char *dir;
	struct jailer *jailer; /* NULL: here */
	bool ours;             /* it has been taken */
	int lock_fd;           /* of here; else -EBADF */
};

/* image_store_take(), and what is beyond the limit goes. A lock of before is given up first. */
_must_check_ int image_keeper_take(struct image_keeper *keeper, uint64_t limit_bytes,
				   struct error *err);
void image_keeper_leave(struct image_keeper *keeper);

_must_check_ int image_keeper_list(const struct image_keeper *keeper, struct stored_images *ret,
				   struct error *err);
/* The key of the layers, and whether their image can be opened. -ESTALE: as image_store_check(). */
_must_check_ int image_keeper_look(const struct image_keeper *keeper, const struct strv *layers,
				   char ret_key[static DIGEST_HEX_SIZE], bool *ret_ready,
				   struct error *err);
_must_check_ int image_keeper_make(const struct image_keeper *keeper,
				   const struct image_making *making, struct error *err);
_must_check_ int image_keeper_remove(const struct image_keeper *keeper, const char *key_or_name,
				     uint64_t *ret_freed, struct error *err);
_must_check_ int image_keeper_prune(const struct image_keeper *keeper, uint64_t *ret_freed,
				    uint32_t *ret_count, struct error *err);

/* In kiln-jailer: does what a factory's keeper asks for. The answer is the caller's; NULL: it
 * failed. Where `socket` becomes readable it is given up. */
json_t *image_keeper_serve(const struct image_keeper *keeper, const struct jailer_request *request,
			   int socket, struct error *err);
