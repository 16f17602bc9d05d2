/* What an operator asked of a pool (pause, drain, warm), kept in RUN_DIR/pools/NAME.json so that
 * it outlives the factory. A pool of which nothing was asked has no file. Keys that we do not know
 * are ignored; a version of FORMAT_POOL (base/format.h) after the first has the key "version". */
#pragma once

#include "factory/pool/pool.h"

struct pool_word {
	int mode; /* enum pool_mode */
	uint64_t warm;
};

/* path NULL, a file that is not there or one that cannot be used (which is logged): nothing was
 * asked. */
void pool_word_load(const char *path, const char *name, struct pool_word *ret_word);

/* Atomic. Its folder must be there. */
_must_check_ int pool_word_save(const char *path, const struct pool_word *word, struct error *err);
