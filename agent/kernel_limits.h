/* Limits that the kernel reckons by the memory it boots with, and leaves when the machine grows.
 *
 * A template boots with 256 MiB, which make 2000 threads and 24 MiB for all that TCP buffers, and
 * the same in a machine of 8 GiB that was cloned from it. What a container may have is for its
 * cgroup to say: these are what a kernel of the machine's own size would have (less what a last
 * block of memory makes that comes online after the agent has looked), or the most there can be
 * where they cost nothing. What is higher by then stays. Source: kernel/fork.c,
 * fs/notify/inotify/inotify_user.c, net/ipv4/tcp.c and udp.c of Linux 6.1. What fails is logged.
 */
#pragma once

/* At boot: threads, pids, open files, watches of inotify. */
void kernel_limits_raise(void);

/* After the machine has grown: memory of TCP's and UDP's buffers. */
void kernel_limits_follow_memory(void);
