/* What the host can see of the guest from inside, for people and their tools. */
#pragma once

#include "agent/container.h"
#include "base/strbuf.h"

/* Adds, in Prometheus's text format, what the guest, the agent and each container use. */
void metrics_write(struct container *const *containers, size_t count, struct strbuf *text);

/* The last DIAGNOSTIC_MAX bytes of the kernel's log, oldest line first. */
enum { DIAGNOSTIC_MAX = 1 << 16 };
_must_check_ int diagnostic_kernel(struct strbuf *text, struct error *err);

/* A container's state, processes and memory. */
void diagnostic_container(const struct container *container, struct strbuf *text);
