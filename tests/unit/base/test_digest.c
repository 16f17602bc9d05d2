#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/memory.h"

/* The examples NIST gives for FIPS 180-4. */
static const struct {
	const char *text, *digest;
} vectors[] = {
	{ "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
	{ "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
	{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
	  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
	{ "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqr"
	  "lmnopqrsmnopqrstnopqrstu",
	  "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1" },
};
static const char million_a[] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

static void test_vectors(void **state _unused_)
{
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		_cleanup_(digest_free_cleanup) struct digest *d = digest_new();
		size_t half = strlen(vectors[i].text) / 2;
		char hex[DIGEST_HEX_SIZE];

		digest_add(d, vectors[i].text, half);
		digest_add(d, vectors[i].text + half, strlen(vectors[i].text) - half);
		digest_finish(d, hex);
		assert_string_equal(hex, vectors[i].digest);
	}
}

static void test_file(void **state _unused_)
{
	char path[] = "/tmp/kiln-test-digest.XXXXXX";
	_cleanup_close_ int fd = mkstemp(path);
	_cleanup_free_ char *data = xcalloc(1, 1000000);
	_cleanup_(error_done) struct error err = {};
	char hex[DIGEST_HEX_SIZE];

	memset(data, 'a', 1000000);
	assert_int_equal(write_full(fd, data, 1000000), 0);
	assert_int_equal(digest_file(path, hex, &err), 0);
	assert_string_equal(hex, million_a);
	unlink(path);
	assert_int_equal(digest_file(path, hex, &err), -ENOENT);
	assert_non_null(strstr(error_message(&err), path));
	assert_int_equal(digest_file("/tmp", hex, &err), -EISDIR);
}

static void write_at(int fd, off_t at, const char *text)
{
	assert_int_equal(pwrite(fd, text, strlen(text), at), strlen(text));
}

/* The same content in one file with holes and in one without. */
static void test_sparse_file(void **state _unused_)
{
	char paths[2][32] = { "/tmp/kiln-test-digest.XXXXXX", "/tmp/kiln-test-digest.XXXXXX" };
	char hex[2][DIGEST_HEX_SIZE];
	enum { SIZE = 10 * 4096 + 5 };
	int fds[2];

	for (int i = 0; i < 2; i++) {
		fds[i] = mkstemp(paths[i]);
		assert_int_equal(ftruncate(fds[i], SIZE), 0);
	}
	_cleanup_free_ char *zeroes = xcalloc(1, SIZE);
	assert_int_equal(write_full(fds[1], zeroes, SIZE), 0);
	for (int i = 0; i < 2; i++) {
		write_at(fds[i], 4096 + 7, "page 1");
		write_at(fds[i], SIZE - 3, "end");
		assert_int_equal(digest_sparse_file(paths[i], hex[i], NULL), 0);
	}
	assert_string_equal(hex[0], hex[1]);
	write_at(fds[1], 5 * 4096, "x"); /* where the other has a hole */
	assert_int_equal(digest_sparse_file(paths[1], hex[1], NULL), 0);
	assert_string_not_equal(hex[0], hex[1]);
	assert_int_equal(ftruncate(fds[0], SIZE + 4096), 0); /* longer by a hole */
	assert_int_equal(digest_sparse_file(paths[0], hex[1], NULL), 0);
	assert_string_not_equal(hex[0], hex[1]);
	for (int i = 0; i < 2; i++) {
		close(fds[i]);
		unlink(paths[i]);
	}
	assert_int_equal(digest_sparse_file(paths[0], hex[0], NULL), -ENOENT);
}

static void digest_pair(const char *a, const char *b, char ret_hex[static DIGEST_HEX_SIZE])
{
	_cleanup_(digest_free_cleanup) struct digest *d = digest_new();

	digest_add_string(d, a);
	digest_add_string(d, b);
	digest_finish(d, ret_hex);
}

static void test_strings_do_not_run_together(void **state _unused_)
{
	char one[DIGEST_HEX_SIZE], two[DIGEST_HEX_SIZE], again[DIGEST_HEX_SIZE];

	digest_pair("ab", "c", one);
	digest_pair("a", "bc", two);
	digest_pair("ab", "c", again);
	assert_string_not_equal(one, two);
	assert_string_equal(one, again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_sparse_file),
		cmocka_unit_test(test_strings_do_not_run_together),
	};

	return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
