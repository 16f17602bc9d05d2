#include "ctl/page.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/socket.h"
#include "base/strbuf.h"
#include "base/strings.h"

/* By HTTP/1.0 the body ends with the connection. */
const char *page_body(const char *answer)
{
	const char *status = str_after(answer, "HTTP/1.");
	const char *end = strstr(answer, "\r\n\r\n");

	if (!status || (status[0] != '0' && status[0] != '1') || !str_after(status + 1, " 200 ") ||
	    !end)
		return NULL;
	return end + strlen("\r\n\r\n");
}

static int wait_for(int fd, short events, uint64_t deadline_ms)
{
	uint64_t now = clock_monotonic_ms();
	struct pollfd poll_fd = { .fd = fd, .events = events };

	if (now >= deadline_ms)
		return -ETIMEDOUT;
	int n = poll(&poll_fd, 1, (int)(deadline_ms - now));
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	return n == 0 ? -ETIMEDOUT : 0;
}

static int send_all(int fd, const char *text, uint64_t deadline_ms)
{
	int r = 0;

	for (size_t len = strlen(text); r == 0 && len > 0;) {
		ssize_t n = socket_send(fd, text, len, NULL, 0);
		if (n == -EAGAIN) {
			r = wait_for(fd, POLLOUT, deadline_ms);
			continue;
		}
		if (n < 0)
			return (int)n;
		text += n;
		len -= (size_t)n;
	}
	return r;
}

static int receive_all(int fd, struct strbuf *answer, uint64_t deadline_ms)
{
	char buffer[64 * 1024];
	int r = 0;

	while (r == 0) {
		ssize_t n = read(fd, buffer, sizeof(buffer));
		if (n == 0)
			return 0;
		if (n > 0)
			strbuf_add(answer, buffer, (size_t)n);
		else if (errno == EAGAIN)
			r = wait_for(fd, POLLIN, deadline_ms);
		else if (errno != EINTR)
			r = -errno;
		if (answer->len > PAGE_MAX)
			r = -EFBIG;
	}
	return r;
}

int page_read(const char *address, const char *path, char **ret_body, struct error *err)
{
	_cleanup_free_ char *request = xasprintf("GET %s HTTP/1.0\r\nHost: kiln\r\n\r\n", path);
	_cleanup_(strbuf_done) struct strbuf answer = {};
	_cleanup_close_ int fd = -EBADF;
	uint64_t deadline_ms = clock_monotonic_ms() + PAGE_TIMEOUT_MS;

	int r = socket_connect(address, &fd, err);
	if (r < 0)
		return r;
	r = send_all(fd, request, deadline_ms);
	if (r == 0)
		r = receive_all(fd, &answer, deadline_ms);
	if (r < 0)
		return error_set_errno(err, r, "%s of %s", path, address);
	const char *body = page_body(strbuf_text(&answer));
	if (!body)
		return error_set(err, EPROTO, "%s of %s: %.40s", path, address,
				 strbuf_text(&answer));
	*ret_body = xstrdup(body);
	return 0;
}
