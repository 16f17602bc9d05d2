#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/worker.h"

#define DEADLINE_MS 10000
#define JOBS        200

struct fixture {
	struct loop *loop;
	struct worker_pool *pool;
	pthread_mutex_t gate; /* jobs that wait for it */
	pthread_t loop_thread;
	int ran, completed; /* ran: guarded by gate */
	int want;
	int resubmitted;
	bool done;
};

struct job {
	struct fixture *f;
	bool ran;
};

static int setup(void **state)
{
	struct fixture *f = xnew(struct fixture);

	f->loop = loop_new();
	f->loop_thread = pthread_self();
	pthread_mutex_init(&f->gate, NULL);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	worker_pool_free(f->pool);
	loop_free(f->loop);
	pthread_mutex_destroy(&f->gate);
	free(f);
	return 0;
}

static void run_job(void *data)
{
	struct job *job = data;

	pthread_mutex_lock(&job->f->gate);
	if (!pthread_equal(pthread_self(), job->f->loop_thread))
		job->f->ran++;
	pthread_mutex_unlock(&job->f->gate);
	job->ran = true;
}

static void complete_job(void *data, void *owner)
{
	struct fixture *f = owner;
	struct job *job = data;

	assert_true(pthread_equal(pthread_self(), f->loop_thread));
	assert_true(job->ran);
	free(job);
	f->completed++;
	f->done = f->completed == f->want;
}

static int submit(struct fixture *f, void (*done)(void *, void *))
{
	struct job *data = xnew(struct job);
	const struct worker_job job = { run_job, done, data, f };

	data->f = f;

	int r = worker_submit(f->pool, &job);

	if (r < 0)
		free(data);
	return r;
}

static void test_all_complete_on_the_loop(void **state)
{
	struct fixture *f = *state;

	f->pool = worker_pool_new(f->loop, 4, JOBS);
	f->want = JOBS;
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(submit(f, complete_job), 0);
	assert_true(loop_run_until(f->loop, &f->done, DEADLINE_MS));
	assert_int_equal(f->ran, JOBS);
}

static void test_queue_is_bounded(void **state)
{
	struct fixture *f = *state;
	int accepted = 0;

	f->pool = worker_pool_new(f->loop, 2, 5);
	pthread_mutex_lock(&f->gate);
	for (int i = 0; i < 50; i++)
		accepted += submit(f, complete_job) == 0;
	/* Up to two may have left the queue for their threads. */
	assert_true(accepted >= 5 && accepted <= 7);
	assert_int_equal(submit(f, complete_job) == 0 ? ++accepted > 7 : 0, 0);
	f->want = accepted;
	pthread_mutex_unlock(&f->gate);
	assert_true(loop_run_until(f->loop, &f->done, DEADLINE_MS));
	assert_int_equal(f->ran, accepted);
	f->done = false;
	f->want++;
	assert_int_equal(submit(f, complete_job), 0);
	assert_true(loop_run_until(f->loop, &f->done, DEADLINE_MS));
}

static void test_free_drains(void **state)
{
	struct fixture *f = *state;

	f->pool = worker_pool_new(f->loop, 1, JOBS);
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(submit(f, complete_job), 0);
	worker_pool_free(steal_ptr(f->pool));
	assert_int_equal(f->ran, JOBS);
	assert_int_equal(f->completed, JOBS);
}

static void resubmit(void *data, void *owner)
{
	struct fixture *f = owner;

	free(data);
	f->resubmitted = submit(f, complete_job);
}

static void test_completion_may_submit(void **state)
{
	struct fixture *f = *state;

	f->pool = worker_pool_new(f->loop, 1, 1);
	f->want = 1;
	assert_int_equal(submit(f, resubmit), 0);
	assert_true(loop_run_until(f->loop, &f->done, DEADLINE_MS));
	assert_int_equal(f->resubmitted, 0);
}

static void test_closing_pool_takes_no_more(void **state)
{
	struct fixture *f = *state;

	f->pool = worker_pool_new(f->loop, 1, 1);
	assert_int_equal(submit(f, resubmit), 0);

	struct worker_pool *pool = f->pool;

	worker_pool_free(pool);
	f->pool = NULL;
	assert_int_equal(f->resubmitted, -EAGAIN);
}

static void test_unused_pool(void **state)
{
	struct fixture *f = *state;

	worker_pool_free(worker_pool_new(f->loop, 3, 0));
	f->pool = worker_pool_new(f->loop, 0, 0);
	assert_int_equal(submit(f, complete_job), -EAGAIN);
	worker_pool_free(NULL);
}

#define WORKER_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORKER_TEST(test_all_complete_on_the_loop),
		WORKER_TEST(test_queue_is_bounded),
		WORKER_TEST(test_free_drains),
		WORKER_TEST(test_completion_may_submit),
		WORKER_TEST(test_closing_pool_takes_no_more),
		WORKER_TEST(test_unused_pool),
	};

	return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
