/* What an operator asks of a pool: pause, drain, resume, warm; and who waits for it. */
#pragma once

#include "base/list.h"
#include "factory/pool/pool.h"

TAILQ_HEAD(pool_waiter_list, pool_waiter);

/* Writes down what was asked since the last time. Does nothing while the pool ends with the
 * factory: that does not take back what was asked. */
void pool_keep_word(struct pool *pool);
/* Answers those who wait for the pool to be warm or drained. */
void waiters_check(struct pool *pool);
void waiters_fail(struct pool *pool, int number, const char *reason);
