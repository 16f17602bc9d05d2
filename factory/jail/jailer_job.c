#include "factory/jail/jailer_job.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/strbuf.h"

enum { ANSWER_MAX = 64 << 20, CHUNK = 16 * 1024 };

/* Until the job's end. */
static int read_answer(int fd, int cancel_fd, struct strbuf *text, struct error *err)
{
	struct pollfd polled[] = { { .fd = fd, .events = POLLIN },
				   { .fd = cancel_fd, .events = POLLIN } };
	char data[CHUNK];

	for (;;) {
		ssize_t n = read(fd, data, sizeof(data));
		if (n == 0)
			return 0;
		if (n > 0 && text->len + (size_t)n > ANSWER_MAX)
			return error_set(err, EPROTO, "a job of kiln-jailer says too much");
		if (n > 0)
			strbuf_add(text, data, (size_t)n);
		else if (errno != EAGAIN && errno != EINTR)
			return error_set_errno(err, errno, "cannot read from a job of kiln-jailer");
		else if (poll(polled, ARRAY_SIZE(polled), -1) > 0 && polled[1].revents) {
			(void)shutdown(fd, SHUT_WR);
			polled[1].fd = -1;
		}
	}
}

int jailer_job_error(const json_t *answer, struct error *err)
{
	int number = (int)json_integer_value(json_object_get(answer, "number"));
	const char *message = json_string_value(json_object_get(answer, "message"));

	return number < 0 ? error_set(err, number, "%s", message ? message : "it does not say why")
			  : 0;
}

int jailer_job(struct jailer *jailer, const struct jailer_request *request, int cancel_fd,
	       json_t **ret_answer, struct error *err)
{
	_cleanup_(strbuf_done) struct strbuf text = {};
	_cleanup_close_ int fd = -EBADF;
	int r = jailer_begin_job(jailer, request, &fd, err);

	if (r == 0)
		r = read_answer(fd, cancel_fd, &text, err);
	if (r < 0)
		return r;
	json_t *answer = json_loads(strbuf_text(&text), JSON_REJECT_DUPLICATES, NULL);
	if (!answer)
		return error_set(err, EIO, "a job of kiln-jailer ended without an answer");
	r = jailer_job_error(answer, err);
	if (r == 0)
		*ret_answer = answer;
	else
		json_decref(answer);
	return r;
}
