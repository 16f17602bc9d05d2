/* exec_watch [ptrace] COUNT: looks at processes of its container while they are being made, with
 * CAP_SYS_PTRACE, until it has seen COUNT before they became their program. Prints what leads out
 * of the container:
 *
 *   guest PID WHAT    from there the guest's own root can be reached
 *   write PID         the agent's program can be opened for writing
 *   sockets PID N     it has more than the one by which it tells how it gets on
 *   seen COUNT        the last line
 *
 * With "ptrace", and without that capability, it tries to take them over:
 *
 *   taken PID         that could be done before it was its program
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define AGENT "sbin/kiln-agent"

enum { PATH_SIZE = 320, CLIMB_MAX = 64 };

/* To the top that ".." leads to. */
static bool leads_to_guest(int fd)
{
	struct stat here, above;
	bool found = false;

	for (int i = 0; i < CLIMB_MAX && fstat(fd, &here) == 0; i++) {
		int up = openat(fd, "..", O_PATH | O_DIRECTORY);
		found |= faccessat(fd, AGENT, F_OK, 0) == 0;
		if (up < 0)
			break;
		close(fd);
		fd = up;
		if (fstat(fd, &above) < 0 ||
		    (above.st_ino == here.st_ino && above.st_dev == here.st_dev))
			break;
	}
	close(fd);
	return found;
}

static void look_at_folder(int pid, const char *what)
{
	char path[PATH_SIZE];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, what);
	fd = open(path, O_PATH | O_DIRECTORY);
	if (fd >= 0 && leads_to_guest(fd))
		printf("guest %d %s\n", pid, what);
}

static bool is_socket(int pid, const char *descriptor)
{
	char path[PATH_SIZE + 32], target[PATH_SIZE] = "";

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, descriptor);
	return readlink(path, target, sizeof(target) - 1) > 0 && strncmp(target, "socket:", 7) == 0;
}

static void look_at_descriptors(int pid)
{
	char path[PATH_SIZE];
	const struct dirent *entry;
	int sockets = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "fd/%s", entry->d_name);
		look_at_folder(pid, path);
		sockets += is_socket(pid, path);
	}
	if (dir)
		closedir(dir);
	if (sockets > 1)
		printf("sockets %d %d\n", pid, sockets);
}

static bool is_agent(int pid)
{
	char path[PATH_SIZE], exe[PATH_SIZE];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	n = readlink(path, exe, sizeof(exe) - 1);
	if (n <= 0)
		return false;
	exe[n] = '\0';
	if (!strstr(exe, AGENT))
		return false;
	fd = open(path, O_WRONLY);
	if (fd >= 0) {
		printf("write %d\n", pid);
		close(fd);
	}
	return true;
}

/* The number that the newest process of this pid namespace has. */
static int last_pid(int loadavg)
{
	char text[128];
	ssize_t n = pread(loadavg, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return 0;
	text[n] = '\0';
	return atoi(strrchr(text, ' ') + 1);
}

/* Whether it could not be. */
static bool resists(int pid)
{
	int status;

	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0)
		return errno == EPERM;
	if (ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == 0 &&
	    waitpid(pid, &status, __WALL) == pid && is_agent(pid))
		printf("taken %d\n", pid);
	(void)ptrace(PTRACE_DETACH, pid, NULL, NULL);
	return false;
}

static bool is_being_made(int pid)
{
	look_at_folder(pid, "root");
	look_at_folder(pid, "cwd");
	look_at_descriptors(pid);
	return is_agent(pid);
}

int main(int argc, char **argv)
{
	bool takes = argc > 2 && strcmp(argv[1], "ptrace") == 0;
	int loadavg = open("/proc/loadavg", O_RDONLY), wanted = argc > 1 ? atoi(argv[argc - 1]) : 1;
	int seen = 0, newest = last_pid(loadavg);

	while (seen < wanted) {
		int pid = last_pid(loadavg);

		if (pid == newest || !(takes ? resists(pid) : is_being_made(pid)))
			continue;
		newest = pid;
		seen++;
	}
	printf("seen %d\n", seen);
	return 0;
}
