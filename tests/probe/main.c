/* probe FOLDER: all properties, below FOLDER; image and mount properties where they have what they
 * want. Status 0, whatever holds. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/probe/probe.h"

#define PROPERTY_SECONDS 20
#define SELF             "/proc/self/exe"

static const char *running; /* name of the property */

/* ---------------------------------------------------------------- helpers */

void fail(const char *format, ...)
{
	char reason[512];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	printf("not ok %s %s\n", running, reason);
	fflush(stdout);
	_exit(1);
}

long must(long result, const char *what)
{
	if (result < 0)
		fail("%s: %s", what, strerror(errno));
	return result;
}

void must_not(long result, int number, const char *what)
{
	check(result < 0, "%s: works, but %s is right", what, strerror(number));
	check(errno == number, "%s: %s, but %s is right", what, strerror(errno), strerror(number));
}

int make_file(const char *name, const char *content)
{
	int fd = (int)must(open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644), name);
	ssize_t written = must(write(fd, content, strlen(content)), "write");

	check((size_t)written == strlen(content), "write of %s is short", name);
	return fd;
}

FILE *open_lines(const char *name)
{
	FILE *file = fopen(name, "re");

	if (!file)
		fail("%s: %s", name, strerror(errno));
	return file;
}

void expect_content(const char *name, const char *content)
{
	char text[4096];
	int fd = (int)must(open(name, O_RDONLY | O_CLOEXEC), name);
	ssize_t len = must(read(fd, text, sizeof(text) - 1), "read");

	close(fd);
	text[len] = '\0';
	check(strcmp(text, content) == 0, "%s holds \"%.40s\", not \"%.40s\"", name, text, content);
}

struct stat status_of(const char *name)
{
	struct stat st;

	must(lstat(name, &st), name);
	return st;
}

void copy_self(const char *name, mode_t mode)
{
	int from = (int)must(open(SELF, O_RDONLY | O_CLOEXEC), SELF);
	int to = (int)must(open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700), name);
	char buffer[1 << 16];
	ssize_t len;

	while ((len = must(read(from, buffer, sizeof(buffer)), "read")) > 0)
		must(write(to, buffer, (size_t)len), "write");
	must(fchmod(to, mode), "fchmod");
	close(to);
	close(from);
}

pid_t start(void (*run)(void *), void *data)
{
	pid_t pid = (pid_t)must(fork(), "fork");

	if (pid == 0) {
		alarm(PROPERTY_SECONDS);
		run(data);
		_exit(0);
	}
	return pid;
}

/* A process that has failed has said why. */
void join(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, 0), "waitpid");
	check(WIFEXITED(status), "a process ended by signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status) != 0)
		_exit(1);
}

struct user {
	uid_t uid;
	void (*run)(void *);
	void *data;
};

static void become_user(void *data)
{
	struct user *user = data;

	must(setgroups(0, NULL), "setgroups");
	must(setgid(user->uid), "setgid");
	must(setuid(user->uid), "setuid");
	user->run(user->data);
}

void as_user(uid_t uid, void (*run)(void *), void *data)
{
	join(start(become_user, &(struct user){ uid, run, data }));
}

/* One that could not be run has said why. */
void expect_yes(pid_t pid, const char *argument)
{
	int status;

	must(waitpid(pid, &status, 0), "waitpid");
	if (WIFEXITED(status) && WEXITSTATUS(status) == 1)
		_exit(1);
	check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a program is asked \"%s\": no",
	      argument);
}

void expect_run(const char *path, const char *argument)
{
	pid_t pid = (pid_t)must(fork(), "fork");

	if (pid == 0) {
		execl(path, path, argument, (char *)NULL);
		fail("exec of %s: %s", path, strerror(errno));
	}
	expect_yes(pid, argument);
}

/* ---------------------------------------------------------------- what a copy is asked */

enum { NO_QUESTION = -1, ANSWER_YES = 0, ANSWER_NO = 3 };

static bool has_only_chown(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = {};

	return syscall(SYS_capget, &header, data) == 0 && data[0].effective == 1U << CAP_CHOWN &&
	       data[1].effective == 0;
}

static int answer(const char *argument)
{
	if (strcmp(argument, "capabilities") == 0)
		return has_only_chown() ? ANSWER_YES : ANSWER_NO;
	if (strcmp(argument, "root") == 0)
		return geteuid() == 0 ? ANSWER_YES : ANSWER_NO;
	return NO_QUESTION;
}

/* ---------------------------------------------------------------- the run */

static void run_in_folder(const char *folder, const struct property *property)
{
	alarm(PROPERTY_SECONDS);
	umask(0022);
	must(chdir(folder), folder);
	must(mkdir(property->name, 0755), "a folder for the property");
	must(chdir(property->name), "the folder of the property");
	property->run();
	_exit(0);
}

static void run_property(const char *folder, const struct property *property)
{
	int status = 0;

	running = property->name;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0)
		run_in_folder(folder, property);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		printf("not ok %s cannot be run: %s\n", running, strerror(errno));
	else if (WIFSIGNALED(status))
		printf("not ok %s ended by signal %d\n", running, WTERMSIG(status));
	else if (WEXITSTATUS(status) == 0)
		printf("ok %s\n", running);
}

static void run_table(const char *folder, const struct property *table)
{
	for (; table->name; table++)
		run_property(folder, table);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 2;
	}
	int answered = answer(argv[1]);
	if (answered != NO_QUESTION)
		return answered;
	if (mkdir(argv[1], 0755) < 0 && errno != EEXIST) {
		printf("not ok folder %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	run_table(argv[1], special_properties);
	run_table(argv[1], unlinked_properties);
	run_table(argv[1], attribute_properties);
	run_table(argv[1], folder_properties);
	run_table(argv[1], data_properties);
	if (access("/full", F_OK) == 0)
		run_table(argv[1], mount_properties);
	if (access("/image", F_OK) == 0)
		run_table(argv[1], image_properties);
	return 0;
}
