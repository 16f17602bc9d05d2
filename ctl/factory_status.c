#include "ctl/factory_status.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "ctl/factory_show.h"
#include "ctl/screen.h"

void factory_status_show_off(const struct status_options *options, FILE *out)
{
	if (options->json)
		status_print_json(NULL, out);
	else
		fputs("vm factory is off\n", out);
}

static int status_write(Kiln__Factory__V1__StatusResponse *status,
			const struct status_options *options, FILE *out)
{
	status_select(status, options->template_name);
	if (options->template_name && status->n_templates == 0) {
		ctl_say("the factory has no template '%s'", options->template_name);
		return CTL_FAILED;
	}
	bool on = status_is_on(status);
	if (options->json) {
		status_print_json(status, out);
	} else {
		fprintf(out, "vm factory is %s\n", on ? "on" : "off");
		status_print(status, out);
	}
	return on ? CTL_OK : CTL_OFF;
}

static int status_ask(struct factory_link *link, const struct status_options *options, FILE *out)
{
	_cleanup_(error_done) struct error err = {};
	Kiln__Factory__V1__StatusResponse *status = NULL;

	if (factory_link_status(link, &status, &err) < 0)
		return ctl_fail(&err);
	int code = status_write(status, options, out);
	protobuf_c_message_free_unpacked(&status->base, NULL);
	return code;
}

int factory_status_show(struct factory_link *link, const struct status_options *options)
{
	return status_ask(link, options, stdout);
}

/* ---------------------------------------------------------------- watch */

static void on_interrupt(int signo _unused_)
{
	_exit(CTL_OK);
}

/* A new connection each time: the factory may have been restarted. */
static int look(const struct status_options *options, FILE *out)
{
	_cleanup_(factory_link_done) struct factory_link link = {};
	_cleanup_(error_done) struct error err = {};

	int r = factory_link_open(options->socket, &link, &err);
	if (r == -ENOENT || r == -ECONNREFUSED) {
		factory_status_show_off(options, out);
		return CTL_OFF;
	}
	return r < 0 ? ctl_fail(&err) : status_ask(&link, options, out);
}

static int watch_once(const struct status_options *options, bool tty, bool first)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		abort(); /* out of memory */
	int code = look(options, out);
	fclose(out);
	if (tty)
		screen_redraw(text, stdout);
	else
		printf("%s%s", first || options->json ? "" : "\n", text);
	fflush(stdout);
	return code;
}

int factory_status_watch(const struct status_options *options)
{
	const struct sigaction interrupt = { .sa_handler = on_interrupt };
	bool tty = isatty(STDOUT_FILENO);
	bool first = true;

	sigaction(SIGINT, &interrupt, NULL);
	if (tty)
		screen_clear(stdout);
	for (;;) {
		int code = watch_once(options, tty, first);
		if (code == CTL_FAILED)
			return code;
		first = false;
		sleep(options->watch_s);
	}
}
