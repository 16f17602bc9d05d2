/* Images of the cache as who starts containers sees them: keys, records, opening, removing. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* After what it needs. */
#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/socket.h"
#include "factory/cache/image_cache.h"
#include "factory/cache/image_record.h"
#include "factory/client/image_request.h"
#include "proto/factory.pb-c.h"
#include "proto/ttrpc_server.h"
#include "tests/unit/older.h"

enum { DEADLINE_MS = 10000, BYTES = 8192 };

struct bench {
	char *dir; /* the cache, and the layers below it */
	struct strv layers;
	struct image_record record; /* of the image that is there */
	uint64_t bytes;             /* of the last one opened */
	struct error err;
};

/* Not on the tmpfs: it knows times of birth since Linux 6.6 only. */
static int setup(void **state)
{
	struct bench *bench = xnew(struct bench);
	char dir[] = "/var/tmp/kiln-images.XXXXXX";

	bench->dir = xstrdup(mkdtemp(dir));
	for (int i = 0; i < 3; i++) {
		strv_addf(&bench->layers, "%s/layer%d", bench->dir, i);
		assert_int_equal(mkdir(bench->layers.items[i], 0755), 0);
	}
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(path_remove(bench->dir, NULL), 0);
	image_record_done(&bench->record);
	strv_done(&bench->layers);
	error_done(&bench->err);
	free(bench->dir);
	free(bench);
	return 0;
}

/* ---------------------------------------------------------------- keys */

static void key_of(struct bench *bench, char ret_key[static DIGEST_HEX_SIZE])
{
	if (image_key(&bench->layers, ret_key, &bench->err) < 0)
		fail_msg("%s", error_message(&bench->err));
}

static void test_key_is_of_the_folders_in_order(void **state)
{
	struct bench *bench = *state;
	char first[DIGEST_HEX_SIZE], other[DIGEST_HEX_SIZE];
	_cleanup_free_ char *file = path_join(bench->layers.items[1], "file");
	_cleanup_free_ char *moved = path_join(bench->dir, "moved");

	key_of(bench, first);
	assert_true(image_key_is_valid(first));
	assert_int_equal(file_write_atomic(file, "x", 1, 0600, NULL), 0);
	key_of(bench, other);
	assert_string_equal(first, other);

	char *top = bench->layers.items[0];
	bench->layers.items[0] = bench->layers.items[1];
	bench->layers.items[1] = top;
	key_of(bench, other);
	assert_string_not_equal(first, other);
	bench->layers.items[1] = bench->layers.items[0];
	bench->layers.items[0] = top;

	/* The same place, another folder; then the same folder elsewhere. */
	assert_int_equal(rename(top, moved), 0);
	assert_int_equal(mkdir(top, 0755), 0);
	key_of(bench, other);
	assert_string_not_equal(first, other);
	replace_string(&bench->layers.items[0], moved);
	key_of(bench, other);
	assert_string_equal(first, other);

	bench->layers.count = 2;
	key_of(bench, other);
	assert_string_not_equal(first, other);
	bench->layers.count = 3;
}

static void test_key_of_what_is_open(void **state)
{
	struct bench *bench = *state;
	char by_path[DIGEST_HEX_SIZE], by_fd[DIGEST_HEX_SIZE];
	int fds[3];

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = open(bench->layers.items[i], O_PATH | O_CLOEXEC);
	key_of(bench, by_path);
	assert_int_equal(image_key_of(&bench->layers, fds, by_fd, NULL), 0);
	assert_string_equal(by_path, by_fd);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
}

static void test_what_has_no_key(void **state)
{
	struct bench *bench = *state;
	char key[DIGEST_HEX_SIZE] = "untouched";
	const struct strv none = {};
	static const struct {
		const char *layer;
		int number;
	} bad[] = {
		{ "relative", -EINVAL },       { "", -EINVAL },
		{ "/etc/passwd", -EINVAL },    { "/nowhere/at/all", -ENOENT },
		{ "/proc/self", -EOPNOTSUPP },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		replace_string(&bench->layers.items[2], bad[i].layer);
		assert_int_equal(image_key(&bench->layers, key, &bench->err), bad[i].number);
	}
	assert_int_equal(image_key(&none, key, &bench->err), -EINVAL);
	while (bench->layers.count <= IMAGE_LAYERS_MAX)
		strv_add(&bench->layers, bench->layers.items[0]);
	assert_int_equal(image_key(&bench->layers, key, &bench->err), -EINVAL);
	assert_string_equal(key, "untouched");
}

/* ---------------------------------------------------------------- an image */

static void stamp_it(struct bench *bench)
{
	_cleanup_free_ char *path = image_path(bench->dir, bench->record.key);

	assert_int_equal(input_stamp_take(path, &bench->record.stamp, NULL), 0);
	assert_int_equal(image_record_write(bench->dir, &bench->record, NULL), 0);
}

/* No EROFS image but by its magic. */
static void make_image(struct bench *bench)
{
	static char content[BYTES];
	struct image_record *record = &bench->record;

	key_of(bench, record->key);
	memcpy(content + 1024, "\xe2\xe1\xf5\xe0", 4);
	_cleanup_free_ char *path = image_path(bench->dir, record->key);
	assert_int_equal(file_write_atomic(path, content, sizeof(content), 0600, NULL), 0);
	assert_int_equal(digest_file(path, record->digest, NULL), 0);
	record->name = xstrdup("docker.io/library/tools:1");
	strv_add_all(&record->layers, &bench->layers);
	record->made_at = 1700000000;
	stamp_it(bench);
}

static int open_it(struct bench *bench)
{
	int fd, r = image_open(bench->dir, bench->record.key, &fd, &bench->bytes, &bench->err);

	return r < 0 ? r : fd;
}

static void test_record_is_read_as_it_was_written(void **state)
{
	struct bench *bench = *state;
	_cleanup_(image_record_done) struct image_record read = {};

	make_image(bench);
	assert_int_equal(image_record_load(bench->dir, bench->record.key, &read, NULL), 0);
	assert_string_equal(read.key, bench->record.key);
	assert_string_equal(read.name, "docker.io/library/tools:1");
	assert_string_equal(read.digest, bench->record.digest);
	assert_true(strv_equal(&read.layers, &bench->layers));
	assert_int_equal(read.made_at, 1700000000);
	read.stamp.device = bench->record.stamp.device;
	read.stamp.changed_ns = bench->record.stamp.changed_ns;
	assert_true(input_stamp_equal(&read.stamp, &bench->record.stamp));
}

static void test_open_locks_until_the_last_copy(void **state)
{
	struct bench *bench = *state;
	uint64_t freed = 0;

	assert_int_equal(image_remove(bench->dir, "0123", NULL, &bench->err), -ENOENT);
	make_image(bench);
	assert_false(image_in_use(bench->dir, bench->record.key));
	int fd = open_it(bench);
	assert_true(fd >= 0);
	assert_int_equal(bench->bytes, BYTES);
	int copy = dup(fd), second = open_it(bench);
	assert_true(second >= 0);
	close(second);
	close(fd);
	assert_true(image_in_use(bench->dir, bench->record.key));
	assert_int_equal(image_remove(bench->dir, bench->record.key, &freed, &bench->err), -EBUSY);
	close(copy);
	assert_false(image_in_use(bench->dir, bench->record.key));
	assert_int_equal(image_remove(bench->dir, bench->record.key, &freed, &bench->err), 0);
	assert_int_equal(freed, BYTES);
	assert_int_equal(open_it(bench), -ENOENT);
}

static void test_open_is_noted(void **state)
{
	struct bench *bench = *state;
	static const struct timespec long_ago[] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	struct stat st;

	make_image(bench);
	_cleanup_free_ char *path = image_record_path(bench->dir, bench->record.key);
	assert_int_equal(utimensat(AT_FDCWD, path, long_ago, 0), 0);
	close(open_it(bench));
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_mtime > 1000);
}

static void test_what_is_not_what_was_made(void **state)
{
	struct bench *bench = *state;

	make_image(bench);
	_cleanup_free_ char *path = image_path(bench->dir, bench->record.key);
	_cleanup_free_ char *aside = path_join(bench->dir, "aside");

	assert_int_equal(truncate(path, 4096), 0);
	assert_int_equal(open_it(bench), -EBADMSG);
	stamp_it(bench); /* whole again, by its record */
	close(open_it(bench));

	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "edited", 6, 3000), 6);
	assert_int_equal(open_it(bench), -EBADMSG);
	stamp_it(bench);
	assert_int_equal(pwrite(fd, "no", 2, 1024), 2);
	stamp_it(bench);
	assert_int_equal(open_it(bench), -EBADMSG);

	assert_int_equal(rename(path, aside), 0);
	assert_int_equal(open_it(bench), -ENOENT);
	assert_int_equal(symlink(aside, path), 0);
	assert_int_equal(open_it(bench), -EBADMSG);
	assert_int_equal(image_remove(bench->dir, bench->record.key, NULL, NULL), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(image_record_write(bench->dir, &bench->record, NULL), 0);
	assert_int_equal(open_it(bench), -EBADMSG);
	assert_int_equal(image_remove(bench->dir, bench->record.key, NULL, NULL), 0);
	assert_false(path_exists(path));
}

static void test_bad_records(void **state)
{
	struct bench *bench = *state;
	static const char *const edits[] = {
		"\"format\": 1", "\"key\": \"", "\"bytes\": 8192", "\"digest\": \"",
		"\"layers\": [", "\"inode\": ", "\"name\": \"",    "\"changed_ns\": ",
	};
	_cleanup_free_ char *text = NULL;
	struct image_record record = {};
	size_t len;

	make_image(bench);
	_cleanup_free_ char *path = image_record_path(bench->dir, bench->record.key);
	assert_int_equal(file_read(path, 65536, &text, &len, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(edits); i++) {
		_cleanup_free_ char *edited = xstrdup(text);
		char *at = strstr(edited, edits[i]);
		assert_non_null(at);
		at[strlen(edits[i]) - 1] = '{';
		assert_int_equal(image_record_parse(edited, len, "it", &record, &bench->err),
				 -EBADMSG);
		at[strlen(edits[i]) - 1] = edits[i][strlen(edits[i]) - 1];
		at[1] = 'X';
		assert_int_equal(image_record_parse(edited, len, "it", &record, &bench->err),
				 -EBADMSG);
	}
	for (size_t n = 0; n < len - 1; n++)
		assert_int_equal(image_record_parse(text, n, "it", &record, NULL), -EBADMSG);
	assert_null(record.name);

	/* Of other builds: an older one's, one with a key more, and one of another version. */
	_cleanup_free_ char *older = older_read("image.json");
	_cleanup_free_ char *later = xasprintf("{\"more\": [1], %s", strchr(text, '{') + 1);
	_cleanup_free_ char *other_version = xstrdup(text);
	*(strstr(other_version, "\"format\": 1") + strlen("\"format\": ")) = '2';
	assert_int_equal(image_record_parse(older, strlen(older), "it", &record, NULL), 0);
	assert_int_equal(record.stamp.size, 2019328);
	image_record_done(&record);
	assert_int_equal(image_record_parse(later, strlen(later), "it", &record, NULL), 0);
	image_record_done(&record);
	assert_int_equal(image_record_parse(other_version, len, "it", &record, &bench->err),
			 -EBADMSG);
	assert_non_null(strstr(error_message(&bench->err), "of a later Kiln"));

	/* Another image's record. */
	memset(bench->record.key, 'a', DIGEST_HEX_SIZE - 1);
	_cleanup_free_ char *other = image_record_path(bench->dir, bench->record.key);
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(open_it(bench), -EBADMSG);
}

static void test_names(void **state _unused_)
{
	assert_true(image_name_is_valid("docker.io/library/busybox:latest"));
	assert_false(image_name_is_valid(""));
	assert_false(image_name_is_valid("a b"));
	assert_false(image_name_is_valid("a\n"));
	assert_false(image_name_is_valid("\xc3\xa4"));
	assert_false(image_key_is_valid("../../../etc/passwd"));
}

/* ---------------------------------------------------------------- the request */

struct asked {
	struct ttrpc_call *call; /* held: the one who asks does not wait */
	const char *name;        /* expected */
	size_t layers;
	bool wait;
	bool called;
	bool ended; /* the connection, since it was last set */
};

static void on_prepare(struct ttrpc_call *call, const ProtobufCMessage *message, void *userdata)
{
	const Kiln__Factory__V1__PrepareImageRequest *request = (const void *)message;
	struct asked *asked = userdata;

	assert_string_equal(request->name, asked->name);
	asked->layers = request->n_layers;
	asked->wait = request->wait;
	asked->call = call;
	asked->called = true;
}

static void on_conn_end(struct ttrpc_conn *conn _unused_, void *userdata)
{
	((struct asked *)userdata)->ended = true;
}

struct waited {
	bool done;
	int number;
};

static void on_waited(const struct error *err, void *userdata)
{
	struct waited *waited = userdata;

	waited->number = err->number;
	waited->done = true;
}

/* The factory answers with this error, and who waits is told number. */
static void expect_wait(struct bench *bench, struct loop *loop, const char *address,
			struct asked *asked, const char *error, int number)
{
	Kiln__Factory__V1__PrepareImageResponse response =
		KILN__FACTORY__V1__PREPARE_IMAGE_RESPONSE__INIT;
	struct waited waited = {};

	*asked = (struct asked){ .name = "" };
	image_wait(loop, address, &bench->layers, on_waited, &waited);
	assert_true(loop_run_until(loop, &asked->called, DEADLINE_MS));
	assert_true(asked->wait);
	assert_false(waited.done);
	response.error = (char *)error;
	ttrpc_call_reply(asked->call, &response.base);
	assert_true(loop_run_until(loop, &waited.done, DEADLINE_MS));
	assert_int_equal(waited.number, number);
}

static void test_request(void **state)
{
	struct bench *bench = *state;
	static const struct ttrpc_method methods[] = { { "PrepareImage", on_prepare } };
	const struct ttrpc_service service = {
		.descriptor = &kiln__factory__v1__factory__descriptor,
		.methods = methods,
		.nmethods = 1,
	};
	Kiln__Factory__V1__PrepareImageResponse response =
		KILN__FACTORY__V1__PREPARE_IMAGE_RESPONSE__INIT;
	struct asked asked = { .name = "tools" };
	const struct ttrpc_server_options options = { .userdata = &asked,
						      .on_conn_end = on_conn_end };
	struct loop *loop = loop_new();
	struct ttrpc_server *server = ttrpc_server_new(loop, &options);
	_cleanup_free_ char *address = path_join(bench->dir, "socket");
	int fd;

	image_request(loop, address, &bench->layers, NULL); /* nobody is there */
	ttrpc_server_add(server, &service);
	assert_int_equal(socket_listen_unix(address, 0600, &fd, NULL), 0);
	ttrpc_server_listen(server, fd);
	image_request(loop, address, &bench->layers, "tools");
	assert_true(loop_run_until(loop, &asked.called, DEADLINE_MS));
	assert_int_equal(asked.layers, 3);
	assert_false(asked.wait);
	ttrpc_call_reply(asked.call, &response.base);
	assert_true(loop_run_until(loop, &asked.ended, DEADLINE_MS)); /* it hangs up */
	expect_wait(bench, loop, address, &asked, "", 0);
	expect_wait(bench, loop, address, &asked, "there is no room", EIO);
	ttrpc_server_free(server);
	loop_free(loop);
}

static void test_nobody_makes_what_is_waited_for(void **state)
{
	struct bench *bench = *state;
	_cleanup_free_ char *address = path_join(bench->dir, "nobody");
	struct loop *loop = loop_new();
	struct waited waited = {};

	image_wait(loop, address, &bench->layers, on_waited, &waited);
	assert_false(waited.done);
	assert_true(loop_run_until(loop, &waited.done, DEADLINE_MS));
	assert_int_equal(waited.number, ENOENT);
	loop_free(loop);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_key_is_of_the_folders_in_order),
		CASE(test_key_of_what_is_open),
		CASE(test_what_has_no_key),
		CASE(test_record_is_read_as_it_was_written),
		CASE(test_open_locks_until_the_last_copy),
		CASE(test_open_is_noted),
		CASE(test_what_is_not_what_was_made),
		CASE(test_bad_records),
		CASE(test_names),
		CASE(test_request),
		CASE(test_nobody_makes_what_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
