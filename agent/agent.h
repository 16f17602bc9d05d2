/* The one object of kiln-agent: what every handler is given. */
#pragma once

#include <stdbool.h>

struct channel;
struct console;
struct disk_calls;
struct finders;
struct loop;
struct policy;
struct reaper;
struct sandbox;
struct scratch;
struct ttrpc_server;

struct agent {
	struct loop *loop;           /* owned by main */
	struct reaper *reaper;       /* owned by main */
	struct ttrpc_server *server; /* owned by main */
	struct scratch *scratch;     /* owned by main */
	struct disk_calls *disks;    /* owned by main */
	struct finders *cards;       /* owned by main */
	struct sandbox *sandbox;     /* owned by main */
	struct console *console;     /* owned by main */
	struct channel *channel;     /* owned by main; NULL outside of a guest */
	struct policy *policy;       /* owned by main; NULL: all is allowed */
	bool is_init;                /* this is PID 1 of a guest */
};
