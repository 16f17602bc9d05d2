/* socket_of FAMILY TYPE PROTOCOL [COUNT]: asks for such a socket, and by COUNT processes at once
 * for the next protocols as well. Prints "ok", or why the first one cannot be had. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;

	int family = atoi(argv[1]), type = atoi(argv[2]), protocol = atoi(argv[3]);
	int count = argc > 4 ? atoi(argv[4]) : 1;

	for (int i = 1; i < count; i++) {
		if (fork() == 0) {
			(void)!socket(family, type, protocol + i);
			_exit(0);
		}
	}

	int fd = socket(family, type, protocol);

	puts(fd < 0 ? strerror(errno) : "ok");
	while (wait(NULL) > 0)
		;
	return fd < 0;
}
