/* A containerd shim that does nothing: no rootfs is mounted, nothing is run, the task has ended
 * with status 0 as soon as it is started.
 *
 * `ctr run` with it takes what containerd and ctr take by themselves (snapshot, bundle, starting
 * a shim, its calls): the floor under every runtime. kiln-bench is this shim when it is run under
 * the name EMPTY_SHIM.
 */
#pragma once

#define EMPTY_SHIM "containerd-shim-kiln-bench-empty-v2"

/* The exit status. */
int empty_shim_main(int argc, char **argv);
