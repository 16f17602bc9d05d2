/* What a file system does for programs, property by property.
 *
 * The probe is a static program that runs in a container under any runtime: it prints "ok NAME" or
 * "not ok NAME REASON" for each property, so that the outputs of two runtimes can be compared
 * (tests/integration/test_files.sh). Each property is one function that runs in a process of its
 * own, in an empty folder of its own, as root with a container's default capabilities. It holds
 * where the function returns; the helpers below end the process where it does not.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>

#define USER  1000       /* whom a property becomes that must not be root */
#define LARGE 1000680000 /* a user as OpenShift gives it to a pod */

struct property {
	const char *name;
	void (*run)(void);
};

/* One table a file, each ended by an empty row. */
extern const struct property special_properties[];
extern const struct property unlinked_properties[];
extern const struct property attribute_properties[];
extern const struct property folder_properties[];
extern const struct property data_properties[];
extern const struct property mount_properties[]; /* want a tmpfs of 4 MiB as /full */
extern const struct property image_properties[]; /* want what probe-image puts into /image */

/* ---------------------------------------------------------------- what may end the process */

/* Says why the property does not hold. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define check(condition, ...)                                                                      \
	do {                                                                                       \
		if (!(condition))                                                                  \
			fail(__VA_ARGS__);                                                         \
	} while (0)

/* The result of a system call that has to succeed. */
long must(long result, const char *what);
/* One that has to fail, with this error. */
void must_not(long result, int number, const char *what);

/* ---------------------------------------------------------------- helpers */

/* A file of this content, opened for reading and writing. */
int make_file(const char *name, const char *content);
FILE *open_lines(const char *name);
void expect_content(const char *name, const char *content);
struct stat status_of(const char *name);
/* A copy of the probe itself. */
void copy_self(const char *name, mode_t mode);

/* Another process; join fails where it has failed. */
pid_t start(void (*run)(void *), void *data);
void join(pid_t pid);
/* Another process with this user and group, and no capability. */
void as_user(uid_t uid, void (*run)(void *), void *data);

/* Runs a copy of the probe, which is asked what it runs with and has to say yes: "capabilities":
 * the effective set is exactly CAP_CHOWN; "root": the user is root. */
void expect_run(const char *path, const char *argument);
/* The same of a process that has become such a copy. */
void expect_yes(pid_t pid, const char *argument);
