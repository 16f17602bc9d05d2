/* Files that hold no bytes of their own: FIFOs, sockets, device nodes, symbolic links. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/probe/probe.h"

static void write_to_fifo(void *data _unused_)
{
	int fd = (int)must(open("fifo", O_WRONLY | O_CLOEXEC), "open of a FIFO for writing");

	must(write(fd, "through", 7), "write into a FIFO");
}

static void use_fifo(void *data _unused_)
{
	char text[8] = "";

	must(mkfifo("fifo", 0600), "mkfifo");
	check(S_ISFIFO(status_of("fifo").st_mode), "stat says it is no FIFO");
	pid_t writer = start(write_to_fifo, NULL);
	int fd = (int)must(open("fifo", O_RDONLY | O_CLOEXEC), "open of a FIFO");
	must(read(fd, text, sizeof(text) - 1), "read from a FIFO");
	check(strcmp(text, "through") == 0, "the FIFO gave \"%s\"", text);
	join(writer);
	must(unlink("fifo"), "unlink of a FIFO");
}

static void fifo(void)
{
	use_fifo(NULL);
}

static const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "socket" };

static void talk_to_socket(void *data _unused_)
{
	int fd = (int)must(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");

	must(connect(fd, (const struct sockaddr *)&address, sizeof(address)), "connect");
	must(write(fd, "hello", 5), "write to a socket");
}

static void use_socket(void *data _unused_)
{
	char text[8] = "";
	int fd = (int)must(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");

	must(bind(fd, (const struct sockaddr *)&address, sizeof(address)), "bind");
	must(listen(fd, 1), "listen");
	check(S_ISSOCK(status_of("socket").st_mode), "stat says it is no socket");
	pid_t client = start(talk_to_socket, NULL);
	int peer = (int)must(accept(fd, NULL, NULL), "accept");
	must(read(peer, text, sizeof(text) - 1), "read from a socket");
	check(strcmp(text, "hello") == 0, "the socket gave \"%s\"", text);
	join(client);
	must(chmod("socket", 0666), "chmod of a socket");
	must(rename("socket", "moved"), "rename of a socket");
	must(unlink("moved"), "unlink of a socket");
}

static void unix_socket(void)
{
	use_socket(NULL);
}

static void fifo_of_a_user(void)
{
	must(chown(".", USER, USER), "chown");
	as_user(USER, use_fifo, NULL);
}

static void unix_socket_of_a_user(void)
{
	must(chown(".", USER, USER), "chown");
	as_user(USER, use_socket, NULL);
}

static void device_node(void)
{
	char byte;

	must(mknod("null", S_IFCHR | 0600, makedev(1, 3)), "mknod");
	struct stat st = status_of("null");
	check(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3), "stat tells of another device");
	int fd = (int)must(open("null", O_RDWR | O_CLOEXEC), "open of a device node");
	must(write(fd, "x", 1), "write to a device");
	check(must(read(fd, &byte, 1), "read from a device") == 0, "it is not /dev/null");
}

static void regular_by_mknod(void)
{
	must(mknod("file", S_IFREG | 0640, 0), "mknod of a regular file");
	check(status_of("file").st_mode == (S_IFREG | 0640), "it has mode %o",
	      status_of("file").st_mode);
}

static void symbolic_link(void)
{
	char target[1001], read_back[1002] = "";

	memset(target, 'x', sizeof(target) - 1);
	target[sizeof(target) - 1] = '\0';
	must(symlink(target, "long"), "symlink");
	check(must(readlink("long", read_back, sizeof(read_back) - 1), "readlink") == 1000 &&
		      strcmp(target, read_back) == 0,
	      "readlink gives another target");
	check(status_of("long").st_size == 1000, "its size is %ld",
	      (long)status_of("long").st_size);
	close(make_file("file", "text"));
	must(symlink("file", "link"), "symlink");
	expect_content("link", "text");
	must_not(open("link", O_RDONLY | O_NOFOLLOW | O_CLOEXEC), ELOOP, "open with O_NOFOLLOW");
	must(lchown("link", USER, USER), "lchown");
	check(status_of("link").st_uid == USER && status_of("file").st_uid == 0,
	      "lchown changed the wrong one");
}

const struct property special_properties[] = {
	{ "fifo", fifo },
	{ "fifo_of_a_user", fifo_of_a_user },
	{ "unix_socket", unix_socket },
	{ "unix_socket_of_a_user", unix_socket_of_a_user },
	{ "device_node", device_node },
	{ "regular_by_mknod", regular_by_mknod },
	{ "symbolic_link", symbolic_link },
	{},
};
