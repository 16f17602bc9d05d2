#include "ctl/factory_progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/strings.h"
#include "ctl/ctl.h"
#include "ctl/message.h"

#define POLL_MS           250
#define STATUS_TIMEOUT_MS 5000

struct progress {
	struct factory_link *link;
	const struct progress_options *options;
	struct loop_timer *timer;
	uint64_t begun_ms;
	bool tty;      /* one line that changes, else a line a change */
	char *shown;   /* what was said last; owned */
	bool answered; /* the call is */
	bool asking;   /* a Status is under way */
	bool done;     /* answered and not asking: nothing refers to this object any more */
	int result;
	ProtobufCMessage *response; /* owned */
	struct error *err;
};

static void show(struct progress *progress, const char *text)
{
	uint64_t seconds = (clock_monotonic_ms() - progress->begun_ms) / 1000;

	if (progress->tty)
		fputs("\r\033[K", stderr);
	if (progress->tty || !str_equal(text, progress->shown))
		ctl_print(stderr, "%s (%lu s)%s", text, (unsigned long)seconds,
			  progress->tty ? "" : "\n");
	replace_string(&progress->shown, text);
}

static void on_status(const struct ttrpc_reply *reply, void *userdata)
{
	struct progress *progress = userdata;
	const struct progress_options *options = progress->options;

	progress->asking = false;
	progress->done = progress->answered;
	if (progress->answered)
		return;
	/* A failed Status is no news: the call itself will tell. */
	if (reply->code == TTRPC_OK) {
		_cleanup_free_ char *text = options->describe((const void *)reply->response,
							      options->userdata);
		if (text)
			show(progress, text);
	}
	loop_timer_start(progress->timer, POLL_MS);
}

static void on_timer(void *userdata)
{
	struct progress *progress = userdata;
	Kiln__Factory__V1__StatusRequest request = KILN__FACTORY__V1__STATUS_REQUEST__INIT;

	progress->asking = !progress->answered;
	if (progress->asking)
		factory_rpc_call(progress->link->client, "Status", &request.base, STATUS_TIMEOUT_MS,
				 on_status, progress);
}

static void on_answer(const struct ttrpc_reply *reply, void *userdata)
{
	struct progress *progress = userdata;

	progress->result = message_of_reply(reply, &progress->response, progress->err);
	progress->answered = true;
	progress->done = !progress->asking;
}

static int progress_run(struct progress *progress)
{
	const struct progress_options *options = progress->options;

	factory_rpc_call(progress->link->client, options->method, options->request,
			 options->timeout_s * 1000ull, on_answer, progress);
	on_timer(progress);
	/* Both calls have deadlines of their own and end for certain. */
	while (!progress->done)
		(void)loop_run_until(progress->link->loop, &progress->done, 1000);
	return progress->result;
}

int factory_progress_call(struct factory_link *link, const struct progress_options *options,
			  ProtobufCMessage **ret_response, struct error *err)
{
	struct progress progress = {
		.link = link,
		.options = options,
		.begun_ms = clock_monotonic_ms(),
		.tty = isatty(STDERR_FILENO),
		.err = err,
	};

	progress.timer = loop_timer_new(link->loop, on_timer, &progress);
	int r = progress_run(&progress);
	if (progress.tty && progress.shown)
		fputs("\r\033[K", stderr);
	loop_timer_free(progress.timer);
	free(progress.shown);
	if (r == 0)
		*ret_response = progress.response;
	return r;
}
