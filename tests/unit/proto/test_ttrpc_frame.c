#include <event2/buffer.h>

#include "proto/agent.pb-c.h"
#include "proto/ttrpc.pb-c.h"
#include "proto/ttrpc_frame.h"
#include "scripted_peer.h"

static void headers_are_ten_big_endian_bytes(void **state _unused_)
{
	struct ttrpc_header header = {
		.length = 0x01020304, .stream = 0xa1a2a3a4, .type = 2, .flags = 4
	};
	static const uint8_t expected[] = { 1, 2, 3, 4, 0xa1, 0xa2, 0xa3, 0xa4, 2, 4 };
	uint8_t raw[TTRPC_HEADER_SIZE];
	struct ttrpc_header back;

	ttrpc_header_encode(&header, raw);
	assert_memory_equal(raw, expected, sizeof(raw));
	ttrpc_header_decode(raw, &back);
	assert_int_equal(back.length, header.length);
	assert_int_equal(back.stream, header.stream);
	assert_int_equal(back.type, header.type);
	assert_int_equal(back.flags, header.flags);
}

static void every_code_has_a_name_and_a_number(void **state _unused_)
{
	for (int code = TTRPC_OK; code <= TTRPC_UNAUTHENTICATED; code++) {
		const char *name = ttrpc_code_to_string((enum ttrpc_code)code);
		assert_string_not_equal(name, "invalid");
		assert_int_equal(ttrpc_code_from_string(name), code);
		assert_int_equal(ttrpc_code_to_errno((enum ttrpc_code)code) > 0, code != TTRPC_OK);
	}
	assert_string_equal(ttrpc_code_to_string((enum ttrpc_code)17), "invalid");
	assert_int_equal(ttrpc_code_to_errno((enum ttrpc_code)17), EIO);
	assert_int_equal(ttrpc_code_to_errno((enum ttrpc_code) - 1), EIO);
}

static void numbers_and_codes_lead_to_each_other(void **state _unused_)
{
	static const struct {
		int number;
		enum ttrpc_code code;
	} pairs[] = {
		{ 0, TTRPC_OK },
		{ ENOENT, TTRPC_NOT_FOUND },
		{ ESRCH, TTRPC_NOT_FOUND },
		{ EEXIST, TTRPC_ALREADY_EXISTS },
		{ EINVAL, TTRPC_INVALID_ARGUMENT },
		{ -EINVAL, TTRPC_INVALID_ARGUMENT },
		{ ERANGE, TTRPC_OUT_OF_RANGE },
		{ EAGAIN, TTRPC_RESOURCE_EXHAUSTED },
		{ EDQUOT, TTRPC_RESOURCE_EXHAUSTED },
		{ EMSGSIZE, TTRPC_RESOURCE_EXHAUSTED },
		{ ETIMEDOUT, TTRPC_DEADLINE_EXCEEDED },
		{ ECONNRESET, TTRPC_UNAVAILABLE },
		{ EPIPE, TTRPC_UNAVAILABLE },
		{ ENOTCONN, TTRPC_UNAVAILABLE },
		{ ECONNREFUSED, TTRPC_UNAVAILABLE },
		{ EOPNOTSUPP, TTRPC_UNIMPLEMENTED },
		{ EPERM, TTRPC_PERMISSION_DENIED },
		{ EACCES, TTRPC_PERMISSION_DENIED },
		{ EBUSY, TTRPC_FAILED_PRECONDITION },
		{ ECANCELED, TTRPC_CANCELLED },
		{ EPROTO, TTRPC_INTERNAL },
		{ EIO, TTRPC_INTERNAL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		assert_int_equal(ttrpc_code_from_errno(pairs[i].number), pairs[i].code);
		int back = ttrpc_code_to_errno(pairs[i].code);
		assert_int_equal(ttrpc_code_from_errno(back), pairs[i].code);
	}
}

static void add_bytes(struct ttrpc_reader *reader, const char *bytes, size_t len)
{
	struct evbuffer *input = evbuffer_new();

	evbuffer_add(input, bytes, len);
	ttrpc_reader_add(reader, input);
	assert_int_equal(evbuffer_get_length(input), 0);
	evbuffer_free(input);
}

/* "ab" on 1, nothing on 3, one byte too many on 5, "cd" on 7. */
static void add_four_frames(struct strbuf *bytes)
{
	_cleanup_free_ char *big = xcalloc(TTRPC_DATA_MAX + 1, 1);

	frame_add(bytes, 1, TTRPC_REQUEST, 0, "ab", 2);
	frame_add(bytes, 3, TTRPC_REQUEST, 0, "", 0);
	frame_add(bytes, 5, TTRPC_REQUEST, 0, big, TTRPC_DATA_MAX + 1);
	frame_add(bytes, 7, TTRPC_REQUEST, 0, "cd", 2);
}

static void expect_frame(struct ttrpc_reader *reader, const struct ttrpc_frame *frame, unsigned n)
{
	static const uint32_t lengths[] = { 2, 0, TTRPC_DATA_MAX + 1, 2 };
	static const char *const data[] = { "ab", "", NULL, "cd" };

	(void)reader;
	assert_int_equal(frame->header.stream, 2 * n + 1);
	assert_int_equal(frame->header.length, lengths[n]);
	assert_int_equal(frame->oversize, data[n] == NULL);
	if (data[n])
		assert_memory_equal(frame->data, data[n], lengths[n]);
}

static void frames_are_the_same_however_their_bytes_come(void **state _unused_)
{
	_cleanup_(strbuf_done) struct strbuf bytes = {};
	static const size_t steps[] = { 1, 2, 3, 7, 10, 11, 4096, 1 << 20, SIZE_MAX };

	add_four_frames(&bytes);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		struct ttrpc_reader reader;
		struct ttrpc_frame frame;
		unsigned seen = 0;
		/* One by one only around the frames' edges, or this would take all day. */
		size_t middle = steps[i] < 4096 ? 65536 : steps[i];
		ttrpc_reader_init(&reader);
		for (size_t at = 0; at < bytes.len;) {
			bool edge = at < 64 || bytes.len - at <= 65536 + 64;
			size_t step = edge ? steps[i] : middle;
			step = step > bytes.len - at ? bytes.len - at : step;
			add_bytes(&reader, bytes.text + at, step);
			at += step;
			while (ttrpc_reader_next(&reader, &frame))
				expect_frame(&reader, &frame, seen++);
			assert_true(evbuffer_get_length(reader.buffer) < (2u << 20));
		}
		assert_int_equal(seen, 4);
		assert_true(ttrpc_reader_idle(&reader));
		ttrpc_reader_done(&reader);
	}
}

static void a_reader_is_idle_only_between_frames(void **state _unused_)
{
	_cleanup_(strbuf_done) struct strbuf bytes = {};
	struct ttrpc_reader reader;
	struct ttrpc_frame frame;

	frame_add(&bytes, 1, TTRPC_REQUEST, 0, "abc", 3);
	ttrpc_reader_init(&reader);
	assert_true(ttrpc_reader_idle(&reader));
	for (size_t i = 0; i < bytes.len; i++) {
		add_bytes(&reader, bytes.text + i, 1);
		assert_int_equal(ttrpc_reader_next(&reader, &frame), i == bytes.len - 1);
		assert_int_equal(ttrpc_reader_idle(&reader), i == bytes.len - 1);
	}
	ttrpc_reader_done(&reader);
}

/* bytes of count empty google.rpc.Status.details. */
static char *empty_details(size_t count)
{
	char *bytes = xcalloc(2 * count, 1);

	for (size_t i = 0; i < count; i++)
		bytes[2 * i] = 3 << 3 | 2;
	return bytes;
}

static void messages_that_swell_are_not_decoded(void **state _unused_)
{
	_cleanup_free_ char *bytes = empty_details(TTRPC_DATA_MAX / 2);

	assert_null(ttrpc_unpack(&google__rpc__status__descriptor, bytes, TTRPC_DATA_MAX));
	Google__Rpc__Status *status = (void *)ttrpc_unpack(&google__rpc__status__descriptor, bytes,
							   2 * 1000);
	assert_non_null(status);
	assert_int_equal(status->n_details, 1000);
	google__rpc__status__free_unpacked(status, NULL);
}

static void sentences_are_clean_utf8(void **state _unused_)
{
	static const struct {
		const char *from;
		const char *to;
	} cases[] = {
		{ "plain", "plain" },
		{ "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x94\xa5",
		  "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x94\xa5" },
		{ "two\nlines\x1b[0m", "two lines [0m" },
		{ "\xff\xfe", "??" },
		{ "\xc0\xaf", "??" },           /* overlong */
		{ "\xe0\x80\xaf", "???" },      /* overlong */
		{ "\xed\xa0\x80", "???" },      /* surrogate */
		{ "\xf4\x90\x80\x80", "????" }, /* past the last character */
		{ "cut \xe2\x82", "cut ??" },
		{ "", "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *clean = ttrpc_sentence(cases[i].from, 1000);
		assert_string_equal(clean, cases[i].to);
	}
	_cleanup_free_ char *cut = ttrpc_sentence("ab\xe2\x82\xac", 4);
	assert_string_equal(cut, "ab");
	_cleanup_free_ char *none = ttrpc_sentence(NULL, 4);
	assert_string_equal(none, "");
}

/* What send() writes to a stream; the caller frees. */
static uint8_t *sent(struct loop *loop, size_t *ret_len,
		     void (*send)(struct stream *stream, uint8_t *data, size_t len), uint8_t *data,
		     size_t len)
{
	static const struct stream_options options = {};
	int fds[2];
	struct stream *stream;
	uint8_t *bytes = xcalloc(1, TTRPC_HEADROOM + len);
	ssize_t n;

	assert_int_equal(socket_pair(fds), 0);
	stream = stream_new(loop, fds[0], &options);
	send(stream, data, len);
	n = read(fds[1], bytes, TTRPC_HEADROOM + len);
	assert_true(n > 0);
	assert_int_equal(stream_pending(stream), 0);
	stream_free(stream);
	close(fds[1]);
	*ret_len = (size_t)n;
	return bytes;
}

static void send_message(struct stream *stream, uint8_t *data, size_t len)
{
	Grpc__ReadStreamResponse message = GRPC__READ_STREAM_RESPONSE__INIT;
	Ttrpc__Response response = TTRPC__RESPONSE__INIT;

	message.data = (ProtobufCBinaryData){ .len = len, .data = data };
	ttrpc_pack(&message.base, &response.payload);
	assert_int_equal(ttrpc_frame_send(stream, 5, TTRPC_RESPONSE, &response.base, NULL, 0), 0);
	free(response.payload.data);
}

static void send_bytes(struct stream *stream, uint8_t *data, size_t len)
{
	assert_int_equal(ttrpc_frame_send_bytes(stream, 5, 1, data, len), 0);
}

/* Lengths around those where a length takes a byte more. */
static void bytes_are_framed_as_the_message_that_has_them(void **state _unused_)
{
	static const size_t lengths[] = {
		1, 125, 126, 127, 128, 16379, 16380, 16383, 16384, 65536
	};
	struct loop *loop = loop_new();

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		_cleanup_free_ uint8_t *room = xcalloc(1, TTRPC_HEADROOM + lengths[i]);
		_cleanup_free_ uint8_t *one = NULL, *other = NULL;
		uint8_t *data = room + TTRPC_HEADROOM;
		size_t one_len, other_len;

		memset(data, 'x', lengths[i]);
		one = sent(loop, &one_len, send_message, data, lengths[i]);
		other = sent(loop, &other_len, send_bytes, data, lengths[i]);
		assert_int_equal(other_len, one_len);
		assert_memory_equal(other, one, one_len);
	}
	loop_free(loop);
}

static void bytes_over_the_limit_are_refused(void **state _unused_)
{
	static const struct stream_options options = {};
	_cleanup_free_ uint8_t *room = xcalloc(1, TTRPC_HEADROOM + TTRPC_DATA_MAX);
	struct loop *loop = loop_new();
	struct stream *stream;
	int fds[2];

	assert_int_equal(socket_pair(fds), 0);
	stream = stream_new(loop, fds[0], &options);
	assert_int_equal(
		ttrpc_frame_send_bytes(stream, 5, 1, room + TTRPC_HEADROOM, TTRPC_DATA_MAX),
		-EMSGSIZE);
	stream_free(stream);
	close(fds[1]);
	loop_free(loop);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_are_ten_big_endian_bytes),
		cmocka_unit_test(every_code_has_a_name_and_a_number),
		cmocka_unit_test(numbers_and_codes_lead_to_each_other),
		cmocka_unit_test(frames_are_the_same_however_their_bytes_come),
		cmocka_unit_test(a_reader_is_idle_only_between_frames),
		cmocka_unit_test(bytes_are_framed_as_the_message_that_has_them),
		cmocka_unit_test(bytes_over_the_limit_are_refused),
		cmocka_unit_test(messages_that_swell_are_not_decoded),
		cmocka_unit_test(sentences_are_clean_utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
