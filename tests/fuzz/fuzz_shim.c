/* A guest that lies to a whole shim while containerd lives a container's life with it: what the
 * agent answers to each call, in its order, is told by the input. Whatever that is, the shim ends
 * every call of containerd's or leaves it waiting for the guest, and can always be told to let go
 * of everything.
 *
 * Of each answer the first byte is what is done (enum lie), the second how many bytes follow that
 * belong to it. An input that has ended answers no more. */
#include "fuzzed_shim.h"

#include <sys/socket.h>

#include "proto/ttrpc.h"
#include "proto/ttrpc.pb-c.h"

enum lie {
	LIE_ANSWER, /* the bytes are the reply's message */
	LIE_EMPTY,  /* an empty message */
	LIE_FAIL,   /* the first byte is the code */
	LIE_TWICE,
	LIE_OTHER, /* for another call, of the number of the first byte */
	LIE_RAW,   /* the bytes as they are, not a frame */
	LIE_SILENT,
	LIE_CLOSE,
	LIES,
};

enum { TURNS = 8 };

static struct {
	const uint8_t *data;
	size_t size;
	int fd;
	struct strbuf received;
} liar = { .fd = -EBADF };

static const uint8_t *take(size_t len, size_t *ret_len)
{
	const uint8_t *taken = liar.data;

	*ret_len = len < liar.size ? len : liar.size;
	liar.data += *ret_len;
	liar.size -= *ret_len;
	return taken;
}

static void send_all(const void *data, size_t len)
{
	(void)!send(liar.fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void send_response(uint32_t stream, const Ttrpc__Response *response)
{
	size_t len = ttrpc__response__get_packed_size(response);
	_cleanup_free_ uint8_t *frame = xcalloc(TTRPC_HEADER_SIZE + len, 1);
	struct ttrpc_header header = {
		.length = (uint32_t)len,
		.stream = stream,
		.type = TTRPC_RESPONSE,
	};

	ttrpc_header_encode(&header, frame);
	ttrpc__response__pack(response, frame + TTRPC_HEADER_SIZE);
	send_all(frame, TTRPC_HEADER_SIZE + len);
}

static void answer(uint32_t stream, const uint8_t *data, size_t len)
{
	Ttrpc__Response response = TTRPC__RESPONSE__INIT;

	response.payload.data = (uint8_t *)data;
	response.payload.len = len;
	send_response(stream, &response);
}

static void fail_call(uint32_t stream, const uint8_t *data, size_t len)
{
	Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
	Ttrpc__Response response = TTRPC__RESPONSE__INIT;

	status.code = len > 0 ? data[0] : TTRPC_UNAVAILABLE;
	status.message = (char *)"a lie";
	response.status = &status;
	send_response(stream, &response);
}

static void lie(uint32_t stream)
{
	size_t len;
	const uint8_t *head = take(2, &len);

	if (len < 2)
		return;
	const uint8_t *data = take(head[1], &len);
	switch ((enum lie)(head[0] % LIES)) {
	case LIE_ANSWER:
		answer(stream, data, len);
		break;
	case LIE_EMPTY:
		answer(stream, NULL, 0);
		break;
	case LIE_FAIL:
		fail_call(stream, data, len);
		break;
	case LIE_TWICE:
		answer(stream, data, len);
		answer(stream, data, len);
		break;
	case LIE_OTHER:
		answer(len > 0 ? data[0] : 1, data, len);
		break;
	case LIE_RAW:
		send_all(data, len);
		break;
	case LIE_CLOSE:
		liar.fd = close_fd(liar.fd);
		break;
	case LIE_SILENT:
	case LIES:
		break;
	}
}

/* Answers the calls that have come whole. */
static void answer_calls(void)
{
	char buffer[65536];
	ssize_t n;

	while (liar.fd >= 0 && (n = recv(liar.fd, buffer, sizeof(buffer), MSG_DONTWAIT)) > 0)
		strbuf_add(&liar.received, buffer, (size_t)n);
	while (liar.received.len >= TTRPC_HEADER_SIZE) {
		struct ttrpc_header header;

		ttrpc_header_decode((const uint8_t *)liar.received.text, &header);
		size_t len = TTRPC_HEADER_SIZE + header.length;
		if (liar.received.len < len)
			return;
		liar.received.len -= len;
		memmove(liar.received.text, liar.received.text + len, liar.received.len);
		if (liar.fd >= 0)
			lie(header.stream);
	}
}

static int connect_liar(void)
{
	int pair[2];

	liar.fd = close_fd(liar.fd);
	liar.received.len = 0;
	if (socket_pair(pair) < 0)
		abort();
	liar.fd = pair[1];
	return pair[0];
}

/* ---------------------------------------------------------------- containerd */

/* What is ready now, and what that makes ready. */
static void turns(struct bench *bench)
{
	for (unsigned i = 0; i < TURNS; i++) {
		run_once(bench);
		answer_calls();
	}
}

static void ask(struct bench *bench, const char *method, const ProtobufCMessage *request)
{
	static struct answer ignored;

	bench_send(bench, method, request, 0, &ignored);
	turns(bench);
}

static void live(struct bench *bench)
{
	Containerd__Task__V2__StartRequest start = CONTAINERD__TASK__V2__START_REQUEST__INIT;
	Containerd__Task__V2__WaitRequest wait = CONTAINERD__TASK__V2__WAIT_REQUEST__INIT;
	Containerd__Task__V2__KillRequest kill_request = CONTAINERD__TASK__V2__KILL_REQUEST__INIT;
	Containerd__Task__V2__StateRequest state = CONTAINERD__TASK__V2__STATE_REQUEST__INIT;
	Containerd__Task__V2__DeleteRequest delete = CONTAINERD__TASK__V2__DELETE_REQUEST__INIT;
	static struct answer ignored;

	start.id = wait.id = kill_request.id = state.id = delete.id = (char *)"c1";
	kill_request.signal = SIGKILL;
	bench_send_create(bench, "c1", 0, &ignored);
	turns(bench);
	turns(bench);
	ask(bench, "Start", &start.base);
	ask(bench, "Wait", &wait.base);
	ask(bench, "State", &state.base);
	ask(bench, "Kill", &kill_request.base);
	ask(bench, "Delete", &delete.base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bench *bench = NULL;

	liar.data = data;
	liar.size = size;
	(void)bench_setup((void **)&bench);
	bench->connect_agent = connect_liar;
	live(bench);
	liar.fd = close_fd(liar.fd);
	(void)bench_teardown((void **)&bench);
	return 0;
}
