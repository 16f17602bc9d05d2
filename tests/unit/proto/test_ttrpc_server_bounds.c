/* The ttRPC server's bounds and its listening: slow peers, too many of everything. */
#include <sys/resource.h>
#include <sys/stat.h>

#include "ttrpc_server_fixture.h"

/* ---------------------------------------------------------------- bounds */

static void a_slow_peer_is_not_read_from(void **state)
{
	struct fixture *f = *state;
	_cleanup_(strbuf_done) struct strbuf bytes = {};
	enum { REQUESTS = 64 };

	for (uint32_t i = 0; i < REQUESTS; i++)
		add_claim(&bytes, 2 * i + 1, "big", MIB, 0);
	loop_watch_set(f->peer->watch, 0);
	peer_send(f->peer, bytes.text, bytes.len);
	for (unsigned i = 0; i < 100; i++)
		turn(f->loop);
	/* 16 MiB may be queued, and what the socket holds is not ours. */
	assert_in_range(f->handled, 16, 20);

	loop_watch_set(f->peer->watch, LOOP_READ);
	for (uint32_t i = 0; i < REQUESTS; i++)
		expect_claimed_with(f->peer, 2 * i + 1, "big", MIB);
	expect_alive(f->peer);
}

static void answers_a_slow_peer_leaves_are_bounded(void **state)
{
	struct fixture *f = *state;
	enum { REQUESTS = 100 };
	unsigned given = 0;
	unsigned refused = 0;

	for (uint32_t i = 0; i < REQUESTS; i++)
		send_claim(f->peer, 2 * i + 1, "hold");
	await_held(f, REQUESTS);
	loop_watch_set(f->peer->watch, 0);
	while (f->nheld > 0)
		answer(f->held[--f->nheld], "big", MIB);
	loop_watch_set(f->peer->watch, LOOP_READ);
	for (uint32_t i = REQUESTS; i-- > 0;) {
		Ttrpc__Response *response = await_response(f->peer, 2 * i + 1);
		if (response->status)
			assert_int_equal(response->status->code, TTRPC_RESOURCE_EXHAUSTED);
		*(response->status ? &refused : &given) += 1;
		ttrpc__response__free_unpacked(response, NULL);
	}
	assert_in_range(given, 64, 67);
	assert_int_equal(given + refused, REQUESTS);
	expect_alive(f->peer);
}

static int set_up_small(void **state)
{
	return set_up_with(state, &(struct ttrpc_server_options){ .max_calls = 3, .max_conns = 2 });
}

static void calls_past_the_bound_are_refused(void **state)
{
	struct fixture *f = *state;

	send_claim_with(f->peer, 1, "hold", 0, NS_PER_MS);
	expect_failure(f->peer, 1, TTRPC_DEADLINE_EXCEEDED, "1 ms");
	send_claim(f->peer, 3, "hold");
	send_claim(f->peer, 5, "hold");
	send_claim(f->peer, 7, "one too many");
	/* The one past its deadline counts until its handler lets go of it. */
	expect_failure(f->peer, 7, TTRPC_RESOURCE_EXHAUSTED, "3 calls are in flight");
	assert_int_equal(f->nheld, 3);
	answer(f->held[--f->nheld], "done", 0);
	expect_claimed(f->peer, 5, "done");
	expect_alive(f->peer);
}

static void large_requests_in_flight_are_bounded(void **state)
{
	struct fixture *f = *state;
	Kiln__Factory__V1__ClaimRequest request = KILN__FACTORY__V1__CLAIM_REQUEST__INIT;
	_cleanup_free_ char *name = xcalloc(4 * MIB - 100 + 1, 1);
	_cleanup_free_ uint8_t *payload = xcalloc(4 * MIB, 1);

	memset(name, 'n', 4 * MIB - 100);
	request.sandbox_id = (char *)"hold";
	request.template_ = name;
	size_t len = protobuf_c_message_pack(&request.base, payload);
	for (uint32_t i = 0; i < 17; i++) {
		_cleanup_(strbuf_done) struct strbuf bytes = {};
		add_raw_request(&bytes, 2 * i + 1, 0, FACTORY, "Claim", payload, len, 0);
		peer_send(f->peer, bytes.text, bytes.len);
	}
	expect_failure(f->peer, 33, TTRPC_RESOURCE_EXHAUSTED, "hold");
	assert_int_equal(f->nheld, 16);
	expect_alive(f->peer);
}

static void connections_past_the_bound_are_closed(void **state)
{
	struct fixture *f = *state;
	_cleanup_(peer_free_cleanup) struct peer_end *second = serve_peer(f, NULL);
	int fds[2];

	assert_int_equal(socket_pair(fds), 0);
	assert_int_equal(ttrpc_server_serve(f->server, fds[0], false, NULL), -EMFILE);
	_cleanup_(peer_free_cleanup) struct peer_end *third = peer_new(f->loop, fds[1]);
	peer_await_end(third);
	expect_alive(f->peer);
	expect_alive(second);
}

/* ---------------------------------------------------------------- listening */

struct place {
	char dir[32];
	char path[64];
};

static void place_make(struct place *place)
{
	strcpy(place->dir, "/tmp/test-ttrpc-XXXXXX");
	assert_non_null(mkdtemp(place->dir));
	snprintf(place->path, sizeof(place->path), "%s/s", place->dir);
}

static void place_remove(struct place *place)
{
	unlink(place->path);
	rmdir(place->dir);
}

static struct peer_end *connect_peer(struct fixture *f, const char *path)
{
	int fd;

	assert_int_equal(socket_connect(path, &fd, NULL), 0);
	return peer_new(f->loop, fd);
}

static void callers_are_accepted_and_known(void **state)
{
	struct fixture *f = *state;
	_cleanup_(place_remove) struct place place = {};
	int fd;

	place_make(&place);
	assert_int_equal(socket_listen_unix(place.path, 0600, &fd, NULL), 0);
	ttrpc_server_listen(f->server, fd);
	_cleanup_(peer_free_cleanup) struct peer_end *peer = connect_peer(f, place.path);
	expect_alive(peer);
	assert_int_equal(f->accepted.pid, getpid());
	assert_int_equal(f->accepted.uid, getuid());
	assert_int_equal(f->caller.uid, getuid());

	f->refuse = true;
	_cleanup_(peer_free_cleanup) struct peer_end *refused = connect_peer(f, place.path);
	peer_await_end(refused);

	ttrpc_server_stop_listening(f->server);
	assert_int_equal(socket_connect(place.path, &fd, NULL), -ECONNREFUSED);
	expect_alive(peer);
}

static int set_up_few(void **state)
{
	/* The fixture's own peer is one of them. */
	return set_up_with(state, &(struct ttrpc_server_options){ .max_conns = 3 });
}

static void callers_past_the_bound_are_told_so(void **state)
{
	struct fixture *f = *state;
	_cleanup_(place_remove) struct place place = {};
	struct peer_end *taken[2], *refused[40];
	int fd;

	place_make(&place);
	assert_int_equal(socket_listen_unix(place.path, 0600, &fd, NULL), 0);
	ttrpc_server_listen(f->server, fd);
	for (size_t i = 0; i < ARRAY_SIZE(taken); i++) {
		taken[i] = connect_peer(f, place.path);
		expect_alive(taken[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		refused[i] = connect_peer(f, place.path);
	peer_await_end(refused[0]); /* of too many that are refused the oldest goes */
	send_claim(refused[39], 1, "hold");
	expect_failure(refused[39], 1, TTRPC_RESOURCE_EXHAUSTED, "3 connections are open");
	assert_int_equal(f->nheld, 0);
	expect_alive(taken[1]);

	peer_free(taken[0]);
	turn(f->loop);
	_cleanup_(peer_free_cleanup) struct peer_end *next = connect_peer(f, place.path);
	expect_alive(next);
	peer_free(taken[1]);
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		peer_free(refused[i]);
}

/* Connects as somebody who is not root. */
static struct peer_end *connect_as(struct fixture *f, const char *path, uid_t uid)
{
	assert_int_equal(seteuid(uid), 0);
	struct peer_end *peer = connect_peer(f, path);
	assert_int_equal(seteuid(0), 0);
	turn(f->loop);
	return peer;
}

static int set_up_for_users(void **state)
{
	return set_up_with(
		state, &(struct ttrpc_server_options){ .max_conns = 10, .max_conns_of_user = 3 });
}

static void no_user_takes_all_connections(void **state)
{
	struct fixture *f = *state;
	_cleanup_(place_remove) struct place place = {};
	struct peer_end *peers[8];
	int fd;

	if (geteuid() != 0)
		skip();
	place_make(&place);
	assert_int_equal(chmod(place.dir, 0711), 0);
	assert_int_equal(socket_listen_unix(place.path, 0666, &fd, NULL), 0);
	ttrpc_server_listen(f->server, fd);
	for (size_t i = 0; i < 4; i++)
		peers[i] = connect_as(f, place.path, 4711);
	expect_alive(peers[2]);
	send_claim(peers[3], 1, "hold");
	expect_failure(peers[3], 1, TTRPC_RESOURCE_EXHAUSTED, "uid 4711 has 3 connections open");
	for (size_t i = 4; i < 7; i++)
		peers[i] = connect_as(f, place.path, 4712);
	expect_alive(peers[5]);
	send_claim(peers[6], 1, "hold");
	expect_failure(peers[6], 1, TTRPC_RESOURCE_EXHAUSTED, "5 connections of other users");
	peers[7] = connect_as(f, place.path, 0);
	expect_alive(peers[7]);
	for (size_t i = 0; i < ARRAY_SIZE(peers); i++)
		peer_free(peers[i]);
}

static void many_callers_at_once_are_all_accepted(void **state)
{
	struct fixture *f = *state;
	_cleanup_(place_remove) struct place place = {};
	struct peer_end *peers[100];
	int fd;

	place_make(&place);
	assert_int_equal(socket_listen_unix(place.path, 0600, &fd, NULL), 0);
	ttrpc_server_listen(f->server, fd);
	for (size_t i = 0; i < ARRAY_SIZE(peers); i++)
		peers[i] = connect_peer(f, place.path);
	for (size_t i = 0; i < ARRAY_SIZE(peers); i++)
		expect_alive(peers[i]);
	for (size_t i = 0; i < ARRAY_SIZE(peers); i++)
		peer_free(peers[i]);
}

/* From here on not one more descriptor can be opened; returns what was allowed before. */
static struct rlimit forbid_descriptors(void)
{
	struct rlimit before;
	int lowest_free = dup(STDERR_FILENO);

	close_fd(lowest_free);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	struct rlimit now = { .rlim_cur = (rlim_t)lowest_free, .rlim_max = before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
	return before;
}

static void accepting_pauses_without_descriptors_until_a_connection_ends(void **state)
{
	struct fixture *f = *state;
	_cleanup_(place_remove) struct place place = {};
	int fd;

	place_make(&place);
	assert_int_equal(socket_listen_unix(place.path, 0600, &fd, NULL), 0);
	_cleanup_(peer_free_cleanup) struct peer_end *waiting = connect_peer(f, place.path);
	ttrpc_server_listen(f->server, fd);
	struct rlimit before = forbid_descriptors();
	turn(f->loop);
	assert_int_equal(f->accepted.pid, 0);
	peer_free(steal_ptr(f->peer));
	for (unsigned i = 0; i < 10; i++)
		turn(f->loop);
	assert_int_equal(f->accepted.pid, getpid()); /* long before it is tried anew anyway */
	expect_alive(waiting);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void accepting_resumes_by_itself_after_a_while(void **state)
{
	struct fixture *f = *state;
	_cleanup_(place_remove) struct place place = {};
	int fd;

	place_make(&place);
	assert_int_equal(socket_listen_unix(place.path, 0600, &fd, NULL), 0);
	_cleanup_(peer_free_cleanup) struct peer_end *waiting = connect_peer(f, place.path);
	ttrpc_server_listen(f->server, fd);
	struct rlimit before = forbid_descriptors();
	turn(f->loop);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	expect_alive(waiting);
}

#define TEST(name)       cmocka_unit_test_setup_teardown(name, setup, teardown)
#define SMALL_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_small, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_slow_peer_is_not_read_from),
		TEST(answers_a_slow_peer_leaves_are_bounded),
		SMALL_TEST(calls_past_the_bound_are_refused),
		TEST(large_requests_in_flight_are_bounded),
		SMALL_TEST(connections_past_the_bound_are_closed),
		TEST(callers_are_accepted_and_known),
		cmocka_unit_test_setup_teardown(callers_past_the_bound_are_told_so, set_up_few,
						teardown),
		cmocka_unit_test_setup_teardown(no_user_takes_all_connections, set_up_for_users,
						teardown),
		TEST(many_callers_at_once_are_all_accepted),
		TEST(accepting_pauses_without_descriptors_until_a_connection_ends),
		TEST(accepting_resumes_by_itself_after_a_while),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
