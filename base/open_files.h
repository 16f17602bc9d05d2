/* How many files this process may have open (RLIMIT_NOFILE).
 *
 * Where nothing else was said a process may have 1024, because programs that use select(2) break
 * with more; up to the hard limit it may allow itself. A server that waits with epoll does so, and
 * its children begin with what it was given itself (base/spawn.h).
 */
#pragma once

/* To the hard limit. For a program's start, before there are threads. What the kernel refuses is
 * passed over: there are as many as before. */
void open_files_raise(void);

/* In a child, just before execve: what there was before open_files_raise(). A limit that was set
 * since then stays. Makes system calls only. */
void open_files_restore(void);
