#include "ctl/factory_init.h"

#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/strings.h"

#define POLL_MS           250
#define STATUS_TIMEOUT_MS 5000

struct init {
	struct factory_link *link;
	const char *template_name; /* NULL: all */
	struct loop_timer *timer;
	uint64_t begun_ms;
	bool tty;      /* one line that changes, else a line a change */
	char *shown;   /* what was said last; owned */
	bool answered; /* Init is */
	bool asking;   /* a Status is under way */
	bool done;     /* answered and not asking: nothing refers to this object any more */
	int result;
	struct error *err;
};

/* What the first template that is not at rest is doing; NULL: nothing is. The caller frees. */
static char *describe(const struct init *init, const Kiln__Factory__V1__StatusResponse *status)
{
	for (size_t i = 0; i < status->n_templates; i++) {
		const Kiln__Factory__V1__TemplateStatus *template = status->templates[i];
		const Kiln__Factory__V1__PoolStatus *pool = template->pool;
		if (init->template_name && !str_equal(template->name, init->template_name))
			continue;
		if (str_equal(template->state, "baking"))
			return xasprintf("template %s: %s", template->name,
					 str_empty(template->phase) ? "baking" : template->phase);
		if (str_equal(template->state, "ready") && pool && pool->parked < pool->target)
			return xasprintf("template %s: filling the pool, %u of %u", template->name,
					 pool->parked, pool->target);
	}
	return NULL;
}

static void show(struct init *init, const char *text)
{
	uint64_t seconds = (clock_monotonic_ms() - init->begun_ms) / 1000;

	if (init->tty)
		fprintf(stderr, "\r\033[K%s (%lu s)", text, (unsigned long)seconds);
	else if (!str_equal(text, init->shown))
		fprintf(stderr, "%s (%lu s)\n", text, (unsigned long)seconds);
	replace_string(&init->shown, text);
}

static void on_status(const struct ttrpc_reply *reply, void *userdata)
{
	struct init *init = userdata;

	init->asking = false;
	init->done = init->answered;
	if (init->answered)
		return;
	/* A failed Status is no news: Init itself will tell. */
	if (reply->code == TTRPC_OK) {
		_cleanup_free_ char *text = describe(init, (const void *)reply->response);
		if (text)
			show(init, text);
	}
	loop_timer_start(init->timer, POLL_MS);
}

static void on_timer(void *userdata)
{
	struct init *init = userdata;
	Kiln__Factory__V1__StatusRequest request = KILN__FACTORY__V1__STATUS_REQUEST__INIT;

	init->asking = !init->answered &&
		       factory_rpc_call(init->link->client, "Status", &request.base,
					STATUS_TIMEOUT_MS, on_status, init) == 0;
}

static void on_init(const struct ttrpc_reply *reply, void *userdata)
{
	struct init *init = userdata;

	init->result = ttrpc_reply_error(reply, init->err);
	init->answered = true;
	init->done = !init->asking;
}

static int init_run(struct init *init, unsigned timeout_s)
{
	Kiln__Factory__V1__InitRequest request = KILN__FACTORY__V1__INIT_REQUEST__INIT;

	if (init->template_name)
		request.template_ = (char *)(uintptr_t)init->template_name;
	int r = factory_rpc_call(init->link->client, "Init", &request.base, timeout_s * 1000ull,
				 on_init, init);
	if (r < 0)
		return error_set_errno(init->err, r, "cannot ask the factory");
	on_timer(init);
	/* Both calls have deadlines of their own and end for certain. */
	while (!init->done)
		(void)loop_run_until(init->link->loop, &init->done, 1000);
	return init->result;
}

int factory_init(struct factory_link *link, const char *template_name, unsigned timeout_s,
		 struct error *err)
{
	struct init init = {
		.link = link,
		.template_name = template_name,
		.begun_ms = clock_monotonic_ms(),
		.tty = isatty(STDERR_FILENO),
		.err = err,
	};

	init.timer = loop_timer_new(link->loop, on_timer, &init);
	int r = init_run(&init, timeout_s);
	if (init.tty && init.shown)
		fputs("\r\033[K", stderr);
	loop_timer_free(init.timer);
	free(init.shown);
	return r;
}
