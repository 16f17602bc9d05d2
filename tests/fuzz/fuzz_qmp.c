/* Bytes of any kind as what a monitor says: each command must end exactly once. Bit 0 of the
 * first byte: the negotiation is done before; the other bits, in how large pieces. */
#include "base/log.h"
#include "fuzz_frames.h"
#include "proto/qmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { COMMANDS = 4 };

static bool monitor_ended;

static void on_reply(int number, json_t *result, const struct error *err, void *userdata)
{
	unsigned *answered = userdata;

	if ((number == 0) != (err == NULL) || (number == 0) != (result != NULL))
		abort();
	(*answered)++;
}

static void on_event(struct qmp *qmp, const char *event, json_t *event_data, void *userdata)
{
	(void)qmp;
	(void)userdata;
	if (!event || (event_data && json_typeof(event_data) > JSON_NULL))
		abort();
}

static void on_end(struct qmp *qmp, int reason, void *userdata)
{
	(void)qmp;
	(void)reason;
	(void)userdata;
	monitor_ended = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char greeting[] = "{\"QMP\": {}}\n{\"return\": {}}\n";
	struct qmp_options options = { .on_event = on_event, .on_end = on_end };
	struct loop *loop = loop_new();
	unsigned answered[COMMANDS] = {};
	int fds[2];

	log_set_level(LOG_LEVEL_ERROR);
	if (socket_pair(fds) < 0)
		abort();
	monitor_ended = false;
	struct qmp *qmp = qmp_new(loop, fds[0], &options);
	for (unsigned i = 0; i < COMMANDS; i++)
		qmp_command(qmp, "x", NULL, 60000, on_reply, &answered[i]);
	if (size > 0 && data[0] & 1) {
		fuzz_send(loop, fds[1], greeting, sizeof(greeting) - 1, 0);
		fuzz_turn(loop);
	}
	if (size > 0)
		fuzz_send(loop, fds[1], data + 1, size - 1, data[0] >> 1);
	fuzz_turn(loop);
	close_fd(fds[1]);
	if (!loop_run_until(loop, &monitor_ended, 10000))
		abort();
	for (unsigned i = 0; i < COMMANDS; i++)
		if (answered[i] != 1)
			abort();
	qmp_free(qmp);
	loop_free(loop);
	return 0;
}
