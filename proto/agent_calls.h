/* How many calls may be under way at an agent on one connection, for its server and for the shim
 * that is its client.
 *
 * Each process that runs holds three, of WaitProcess, ReadStdout and ReadStderr, and ten at most,
 * while it moves much both ways and is signalled (shim/io.h). A container has 512 processes at most
 * that were started from outside (agent/container.c), so that ten containers may have as many as
 * they can. A call costs the agent some hundred bytes besides its request, while it is under way,
 * and only who is root on the host can make them.
 */
#pragma once

enum { AGENT_CALLS_MAX = 16 * 1024 };
