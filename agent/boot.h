/* From a bare kernel to a guest that can run containers: what PID 1 does before its loop. */
#pragma once

#include <stdbool.h>

#include "base/error.h"

/* Mounts the kernel's file systems and tmpfs folders, points stdio at the console, loads the
 * modules that every guest has (agent/modules.h), enables the cgroup controllers, brings the
 * loopback interface up, raises limits of processes and of the kernel, sets the hostname and the
 * log level ("agent.log=LEVEL" on the kernel command line). Only what every container needs makes
 * it fail; anything else that fails is logged, and the boot goes on. */
_must_check_ int boot_guest(struct error *err);

/* A word of the kernel's command line. */
bool boot_has_word(const char *word);

/* What the word "NAME=..." of the kernel's command line says, the last one where there are several;
 * NULL: there is none. The caller frees. */
char *boot_parameter(const char *name);

/* Outside of a guest, for development: namespaces of the agent's own, so that hostname and
 * mounts do not touch the machine's, and orphans come to the agent as they do to PID 1. */
_must_check_ int boot_outside_guest(struct error *err);
