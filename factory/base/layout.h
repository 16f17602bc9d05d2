/* What machines occupy on the host, by name and number. */
#pragma once

/* Of a run folder and a machine's id: its folder. */
#define LAYOUT_VM_DIR "%s/vms/%s"

/* Of a run folder: what only the factory's user and root send spans to. */
#define LAYOUT_TRACE_DIR    "trace"
#define LAYOUT_TRACE_SOCKET "%s/" LAYOUT_TRACE_DIR "/collector.sock"

/* libvirt's domain of a bake, before the beginning of the template's id. */
#define LAYOUT_DOMAIN_PREFIX "kiln-template-"

/* User and group ids (factory/jail/uid_range.h). */
#define UID_RANGE_SIZE 65536u
#define UID_RANGES     4096u /* as many as machines at most */
/* Above what systemd gives to containers and below 2^31, which some programs take for -1. */
#define UID_RANGE_FIRST 0x70000000u
