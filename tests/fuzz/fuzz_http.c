/* Bytes of any kind to the server of pages, as up to four connections one after another: it answers
 * or closes, and nothing is left when it ends. */
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "factory/api/http.h"
#include "fuzz_frames.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CONNECTIONS = 4, ROUNDS = 32 };

static void on_page(struct http_request *request, void *userdata)
{
	(void)userdata;
	http_reply(request, 200, HTTP_TEXT, "yes\n");
}

static int connect_and_send(struct loop *loop, const char *path, const uint8_t *data, size_t size)
{
	int fd = -EBADF;

	if (socket_connect(path, &fd, NULL) < 0)
		abort();
	fuzz_send(loop, fd, data, size, size > 0 ? data[0] % 64 : 0);
	return fd;
}

/* What came back begins as an answer does, in the version of HTTP that was asked in. */
static void check_answer(int fd)
{
	static const char begin[] = "HTTP/";
	char buffer[4096];
	ssize_t n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);

	if (n > 0 && memcmp(buffer, begin,
			    (size_t)n < sizeof(begin) - 1 ? (size_t)n : sizeof(begin) - 1) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct http_page pages[] = { { "/metrics", on_page }, { "/status", on_page } };
	_cleanup_free_ char *path = xasprintf("/dev/shm/kiln-fuzz-http.%d", (int)getpid());
	struct loop *loop = loop_new();
	int listening = -EBADF;

	log_set_level(LOG_LEVEL_ERROR);
	if (socket_listen_unix(path, 0600, &listening, NULL) < 0)
		abort();
	struct http *http = http_new(loop, listening, pages, ARRAY_SIZE(pages), HTTP_DEADLINE_MS,
				     NULL);
	if (size % 2 == 1)
		http_loopback_names_only(http);
	for (unsigned i = 0; i < CONNECTIONS; i++) {
		size_t part = size / CONNECTIONS;
		_cleanup_close_ int fd = connect_and_send(loop, path, data + i * part, part);
		for (unsigned round = 0; round < ROUNDS; round++)
			fuzz_turn(loop);
		check_answer(fd);
	}
	http_free(http);
	loop_free(loop);
	unlink(path);
	return 0;
}
