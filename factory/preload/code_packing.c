/* QEMU keeps what it has translated of a guest's code (TCG) as tens of thousands of small blocks,
 * each with a description before it, both on cache lines of their own. Only while blocks are linked
 * to each other does that spare the processor something; the gaps are 3 MiB of a clone's memory.
 * So it is told of lines of 16 bytes, what its code is aligned to anyway. */
#include <unistd.h>

enum { LINE_BYTES = 16 };

long __sysconf(int name); /* the C library's, by its other name */

long sysconf(int name)
{
	return name == _SC_LEVEL1_ICACHE_LINESIZE ? LINE_BYTES : __sysconf(name);
}
