/* What a control group's files say, and the kernel's list of network cards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/cgroup_stats.h"
#include "agent/network_stats.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

static const struct {
	const char *name, *text;
} files[] = {
	{ "cpu.stat", "usage_usec 7\nuser_usec 4\nsystem_usec 3\n" },
	{ "pids.current", "3\n" },
	{ "pids.max", "max\n" },
	{ "io.stat", "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n"
		     "254:16 \n"
		     "nonsense\n" },
	{ "hugetlb.2MB.current", "2097152\n" },
	{ "hugetlb.2MB.max", "4194304\n" },
	{ "hugetlb.2MB.events", "max 5\n" },
	{ "hugetlb.2MB.rsvd.current", "9\n" },
};

static char folder[] = "/tmp/kiln-cgroup-stats-XXXXXX";

static int setup(void **state _unused_)
{
	assert_non_null(mkdtemp(folder));
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		_cleanup_free_ char *path = path_join(folder, files[i].name);
		assert_int_equal(
			file_write_volatile(path, files[i].text, strlen(files[i].text), 0600, NULL),
			0);
	}
	return 0;
}

static int teardown(void **state _unused_)
{
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		_cleanup_free_ char *path = path_join(folder, files[i].name);
		assert_int_equal(unlink(path), 0);
	}
	return rmdir(folder);
}

static Grpc__StatsContainerResponse *read_folder(void)
{
	_cleanup_close_ int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	Grpc__StatsContainerResponse *response;

	assert_int_equal(cgroup_stats_read(dir, &response, NULL), 0);
	return response;
}

static void block_devices_are_told_by_operation(void **state _unused_)
{
	Grpc__StatsContainerResponse *response = read_folder();
	const Grpc__BlkioStats *io = response->cgroup_stats->blkio_stats;

	assert_int_equal(io->n_io_service_bytes_recursive, 4);
	assert_int_equal(io->n_io_serviced_recursive, 4);
	assert_int_equal(io->io_service_bytes_recursive[0]->major, 254);
	assert_string_equal(io->io_service_bytes_recursive[0]->op, "Read");
	assert_int_equal(io->io_service_bytes_recursive[0]->value, 4096);
	assert_string_equal(io->io_service_bytes_recursive[1]->op, "Write");
	assert_int_equal(io->io_service_bytes_recursive[1]->value, 8192);
	assert_int_equal(io->io_serviced_recursive[0]->value, 1);
	assert_int_equal(io->io_serviced_recursive[1]->value, 2);
	assert_int_equal(io->io_serviced_recursive[2]->minor, 16);
	assert_int_equal(io->io_serviced_recursive[2]->value, 0);
	grpc__stats_container_response__free_unpacked(response, NULL);
}

static void huge_pages_are_told_by_size(void **state _unused_)
{
	Grpc__StatsContainerResponse *response = read_folder();
	const Grpc__CgroupStats *stats = response->cgroup_stats;

	assert_int_equal(stats->n_hugetlb_stats, 1);
	assert_string_equal(stats->hugetlb_stats[0]->key, "2MB");
	assert_int_equal(stats->hugetlb_stats[0]->value->usage, 2097152);
	assert_int_equal(stats->hugetlb_stats[0]->value->max_usage, 4194304);
	assert_int_equal(stats->hugetlb_stats[0]->value->failcnt, 5);
	grpc__stats_container_response__free_unpacked(response, NULL);
}

static bool is_not_loopback(const char *name)
{
	return !str_equal(name, "lo");
}

static void cards_are_told_by_name(void **state _unused_)
{
	char text[] =
		"Inter-|   Receive                |  Transmit\n"
		" face |bytes    packets errs drop fifo frame compressed multicast|bytes\n"
		"    lo:     1    1    1    1    0     0          0         0     1    1\n"
		"    lo:     1    1    1    1    0     0          0         0     1    1 1 1 0 0 0 0\n"
		"  eth0: 11 12 13 14 0 0 0 0 21 22 23 24 0 0 0 0\n"
		"eth1:5 6 7 8 0 0 0 0 1 2 3\n";
	Grpc__StatsContainerResponse *response = xnew(Grpc__StatsContainerResponse);
	const Grpc__NetworkStats *card;

	grpc__stats_container_response__init(response);
	network_stats_parse(text, is_not_loopback, response);
	assert_int_equal(response->n_network_stats, 1);
	card = response->network_stats[0];
	assert_string_equal(card->name, "eth0");
	assert_int_equal(card->rx_bytes, 11);
	assert_int_equal(card->rx_packets, 12);
	assert_int_equal(card->rx_errors, 13);
	assert_int_equal(card->rx_dropped, 14);
	assert_int_equal(card->tx_bytes, 21);
	assert_int_equal(card->tx_packets, 22);
	assert_int_equal(card->tx_errors, 23);
	assert_int_equal(card->tx_dropped, 24);
	grpc__stats_container_response__free_unpacked(response, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(block_devices_are_told_by_operation),
		cmocka_unit_test(huge_pages_are_told_by_size),
		cmocka_unit_test(cards_are_told_by_name),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
