/* kiln-crun-work COUNT
 *
 * The scenario `crun` measures this (bench/scenario_crun.c): COUNT times a container is created and
 * started by crun, from the bundle that lies in /bundle, and taken away again. Prints what creating
 * and starting took together, in nanoseconds, a line each. It is static and runs in a container
 * that may do all that crun needs. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static _Noreturn void give_up(const char *what)
{
	fprintf(stderr, "kiln-crun-work: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Up to three words after the command; NULL ends them. What the container writes is read by nobody,
 * as where a runtime only starts it. */
static void crun(const char *command, const char *first, const char *second, const char *third)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		give_up("fork");
	if (pid == 0) {
		dup2(open("/dev/null", O_RDWR), STDOUT_FILENO);
		execl("/bin/crun", "crun", "--root", "/run/crun", "--cgroup-manager", "cgroupfs",
		      command, first, second, third, NULL);
		give_up("crun");
	}
	if (waitpid(pid, &status, 0) < 0)
		give_up("waitpid");
	if (status == 0)
		return;
	fprintf(stderr, "kiln-crun-work: crun %s failed\n", command);
	exit(1);
}

int main(int argc, char **argv)
{
	long count = argc == 2 ? strtol(argv[1], NULL, 10) : 0;

	if (count < 1) {
		fprintf(stderr, "Usage: kiln-crun-work COUNT\n");
		return 2;
	}
	for (long i = 0; i < count; i++) {
		uint64_t begun_ns = now_ns();
		crun("create", "--bundle", "/bundle", "one");
		crun("start", "one", NULL, NULL);
		printf("%" PRIu64 "\n", now_ns() - begun_ns);
		crun("delete", "--force", "one", NULL);
	}
	return 0;
}
