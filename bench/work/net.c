/* kiln-net-work serve PORT
 * kiln-net-work round-trips ADDRESS PORT COUNT
 * kiln-net-work transfer ADDRESS PORT MIB
 *
 * What the scenario `pods-net` measures (bench/scenario_pods_net.c), over TCP: a byte to the server
 * and back, COUNT times; MIB MiB to the server, which says when it has them all. Prints the time of
 * each, in nanoseconds, a line each. It is static and runs in a container by any runtime. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MIB           (1 << 20)
#define CONNECT_TRIES 500 /* of 10 ms: the server's container may have begun just now */

static char block[MIB];

static _Noreturn void give_up(const char *what)
{
	fprintf(stderr, "kiln-net-work: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long must(long result, const char *what)
{
	if (result < 0)
		give_up(what);
	return result;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int new_socket(void)
{
	int one = 1;
	int fd = (int)must(socket(AF_INET, SOCK_STREAM, 0), "socket");

	must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), "TCP_NODELAY");
	return fd;
}

static struct sockaddr_in address_of(const char *host, const char *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons((uint16_t)strtoul(port, NULL, 10)) };

	if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
		give_up(host);
	return address;
}

/* ---------------------------------------------------------------- the server */

/* Each byte that comes alone is sent back. What comes in larger pieces is a transfer's: its end is
 * answered. */
static void answer(int fd)
{
	ssize_t len = must(read(fd, block, sizeof(block)), "read");

	for (; len == 1; len = must(read(fd, block, sizeof(block)), "read"))
		must(write(fd, block, 1), "write");
	if (len == 0)
		return;
	while (len > 0)
		len = must(read(fd, block, sizeof(block)), "read");
	must(write(fd, block, 1), "write");
}

static _Noreturn void serve(const char *port)
{
	struct sockaddr_in address = address_of("0.0.0.0", port);
	int listener = new_socket();

	must(bind(listener, (struct sockaddr *)&address, sizeof(address)), "bind");
	must(listen(listener, 1), "listen");
	while (true) {
		int fd = (int)must(accept(listener, NULL, NULL), "accept");
		answer(fd);
		close(fd);
	}
}

/* ---------------------------------------------------------------- the one who asks */

static int connect_to(const char *host, const char *port)
{
	struct sockaddr_in address = address_of(host, port);

	for (int i = 0; i < CONNECT_TRIES; i++) {
		int fd = new_socket();
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
			return fd;
		close(fd);
		usleep(10000);
	}
	give_up(host);
}

static void print_since(uint64_t begun_ns)
{
	printf("%" PRIu64 "\n", now_ns() - begun_ns);
}

static void wait_for_byte(int fd)
{
	if (must(read(fd, block, 1), "read") != 1) {
		errno = ECONNRESET;
		give_up("read");
	}
}

static void round_trips(int fd, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		uint64_t begun_ns = now_ns();
		must(write(fd, block, 1), "write");
		wait_for_byte(fd);
		print_since(begun_ns);
	}
}

static void transfer(int fd, uint64_t mib)
{
	uint64_t left = mib * MIB;
	uint64_t begun_ns = now_ns();

	while (left > 0)
		left -= (uint64_t)must(write(fd, block, left < MIB ? left : MIB), "write");
	must(shutdown(fd, SHUT_WR), "shutdown");
	wait_for_byte(fd);
	print_since(begun_ns);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		serve(argv[2]);
	bool trips = argc == 5 && strcmp(argv[1], "round-trips") == 0;
	if (!trips && !(argc == 5 && strcmp(argv[1], "transfer") == 0)) {
		fprintf(stderr, "Usage: kiln-net-work serve PORT\n"
				"       kiln-net-work round-trips|transfer ADDRESS PORT AMOUNT\n");
		return 2;
	}
	int fd = connect_to(argv[2], argv[3]);
	(trips ? round_trips : transfer)(fd, strtoull(argv[4], NULL, 10));
	return 0;
}
