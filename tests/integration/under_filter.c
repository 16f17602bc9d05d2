/* under_filter LIST PROGRAM [ARGUMENT]...: the program with the system calls that are named in the
 * file LIST, one a line, and no others: these are EPERM, as a unit's with
 * SystemCallErrorNumber=EPERM. Names that this machine does not know are left out, as systemd does.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int allow_all(scmp_filter_ctx filter, FILE *list)
{
	char name[64];

	while (fscanf(list, "%63s", name) == 1) {
		int number = seccomp_syscall_resolve_name(name);
		if (number != __NR_SCMP_ERROR &&
		    seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0) < 0)
			return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	FILE *list = argc > 2 ? fopen(argv[1], "re") : NULL;
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));

	if (!list || !filter || allow_all(filter, list) < 0 || seccomp_load(filter) < 0) {
		fprintf(stderr, "under_filter: cannot load the filter\n");
		return 125;
	}
	fclose(list);
	execvp(argv[2], argv + 2);
	fprintf(stderr, "under_filter: %s: %s\n", argv[2], strerror(errno));
	return 126;
}
