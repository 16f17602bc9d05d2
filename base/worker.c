#include "base/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/list.h"
#include "base/log.h"
#include "base/memory.h"

struct queued_job {
	TAILQ_ENTRY(queued_job) entry;
	struct worker_job job;
};

TAILQ_HEAD(job_list, queued_job);

struct worker_pool {
	struct loop_watch *watch; /* owned; loop's thread only */
	int done_fd;              /* owned eventfd: `done` holds something */
	pthread_t *threads;       /* owned */
	unsigned nthreads;
	unsigned queue_max;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t work;  /* the queue grew or the pool is closing */
	struct job_list queue;
	unsigned queued;
	struct job_list done; /* run, their completions due on the loop */
	bool closing;
};

/* The next job, or NULL where the pool closes and none is left. */
static struct queued_job *take_job(struct worker_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	while (TAILQ_EMPTY(&pool->queue) && !pool->closing)
		pthread_cond_wait(&pool->work, &pool->lock);

	struct queued_job *queued = TAILQ_FIRST(&pool->queue);

	if (queued) {
		TAILQ_REMOVE(&pool->queue, queued, entry);
		pool->queued--;
	}
	pthread_mutex_unlock(&pool->lock);
	return queued;
}

static void hand_back(struct worker_pool *pool, struct queued_job *queued)
{
	pthread_mutex_lock(&pool->lock);
	TAILQ_INSERT_TAIL(&pool->done, queued, entry);
	pthread_mutex_unlock(&pool->lock);
	/* Adding one to a counter that is read before 2^64 of them cannot fail. */
	(void)!write(pool->done_fd, &(uint64_t){ 1 }, sizeof(uint64_t));
}

static void *worker_main(void *userdata)
{
	struct worker_pool *pool = userdata;
	struct queued_job *queued;

	while ((queued = take_job(pool))) {
		queued->job.run(queued->job.data);
		hand_back(pool, queued);
	}
	return NULL;
}

static void run_completions(struct worker_pool *pool)
{
	struct job_list done = TAILQ_HEAD_INITIALIZER(done);
	struct queued_job *queued;

	pthread_mutex_lock(&pool->lock);
	TAILQ_CONCAT(&done, &pool->done, entry);
	pthread_mutex_unlock(&pool->lock);
	while ((queued = TAILQ_FIRST(&done))) {
		TAILQ_REMOVE(&done, queued, entry);
		queued->job.done(queued->job.data, queued->job.owner);
		free(queued);
	}
}

static void on_done(int fd, unsigned events _unused_, void *userdata)
{
	uint64_t count;

	(void)!read(fd, &count, sizeof(count));
	run_completions(userdata);
}

/* Workers take no signals: those are for the loop's thread. */
static void start_threads(struct worker_pool *pool)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (unsigned i = 0; i < pool->nthreads; i++) {
		int r = pthread_create(&pool->threads[i], NULL, worker_main, pool);

		if (r != 0) {
			log_error(NULL, "cannot start a worker thread: %s", strerror(r));
			abort();
		}
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int worker_pool_start(struct loop *loop, unsigned threads, unsigned queue_max,
		      struct worker_pool **ret_pool, struct error *err)
{
	int done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (done_fd < 0)
		return error_set_errno(err, errno, "cannot make an eventfd");

	struct worker_pool *pool = xnew(struct worker_pool);

	TAILQ_INIT(&pool->queue);
	TAILQ_INIT(&pool->done);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	pool->nthreads = threads > 0 ? threads : 1;
	pool->queue_max = queue_max;
	pool->threads = xnew_array(pthread_t, pool->nthreads);
	pool->done_fd = done_fd;
	pool->watch = loop_watch_new(loop, pool->done_fd, LOOP_READ, on_done, pool);
	start_threads(pool);
	*ret_pool = pool;
	return 0;
}

struct worker_pool *worker_pool_new(struct loop *loop, unsigned threads, unsigned queue_max)
{
	_cleanup_(error_done) struct error err = {};
	struct worker_pool *pool = NULL;

	if (worker_pool_start(loop, threads, queue_max, &pool, &err) < 0) {
		log_error(NULL, "%s", error_message(&err));
		abort();
	}
	return pool;
}

void worker_pool_free(struct worker_pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->closing = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->nthreads; i++)
		pthread_join(pool->threads[i], NULL);
	run_completions(pool);

	loop_watch_free(pool->watch);
	close_fd(pool->done_fd);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
	free(pool->threads);
	free(pool);
}

int worker_submit(struct worker_pool *pool, const struct worker_job *job)
{
	int r = -EAGAIN;

	pthread_mutex_lock(&pool->lock);
	if (!pool->closing && pool->queued < pool->queue_max) {
		struct queued_job *queued = xnew(struct queued_job);

		queued->job = *job;
		TAILQ_INSERT_TAIL(&pool->queue, queued, entry);
		pool->queued++;
		pthread_cond_signal(&pool->work);
		r = 0;
	}
	pthread_mutex_unlock(&pool->lock);
	return r;
}
