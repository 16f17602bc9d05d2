#include "bench/smaps.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"

#define TEXT_MAX         (4 << 20)
#define KERNEL_STACK_KIB 16 /* x86-64, each thread */

enum part { PART_RAM, PART_RAM_HOLE, PART_OWN_RAM, PART_IMAGE, PART_FILE, PART_ANONYMOUS };

struct mapping {
	enum part part;
	unsigned long end; /* address behind it */
};

static bool ends_with(const char *text, size_t len, const char *end)
{
	size_t end_len = end ? strlen(end) : 0;

	return end_len > 0 && end_len <= len && memcmp(text + len - end_len, end, end_len) == 0;
}

/* A file of its own has no name. So has a library that was replaced, but that is mapped privately
 * ("p"). */
static bool is_own_file(const char *line, size_t len)
{
	const char *access = memchr(line, ' ', len);

	return ends_with(line, len, " (deleted)") && access && access[4] == 's';
}

/* A mapping's first line: "7f..-7f.. rw-p 00000000 00:00 0   /path", a path or none. */
static enum part part_of(const char *line, size_t len, const char *ram, const char *image)
{
	const char *path = memchr(line, '/', len);

	if (is_own_file(line, len))
		return strchr(line, ' ')[2] == 'w' ? PART_OWN_RAM : PART_IMAGE;
	if (ends_with(line, len, ram))
		return PART_RAM;
	if (ends_with(line, len, image))
		return PART_IMAGE;
	return path ? PART_FILE : PART_ANONYMOUS;
}

/* A mapping's first line begins with its addresses, the others with a name and a colon. */
static bool is_first_line(const char *line)
{
	size_t digits = strspn(line, "0123456789abcdef");

	return digits > 0 && line[digits] == '-';
}

static void add_pss(struct smaps *smaps, enum part part, double mib)
{
	smaps->pss += mib;
	switch (part) {
	case PART_RAM:
		smaps->ram_shared += mib;
		smaps->mapped += mib;
		break;
	case PART_RAM_HOLE:
		smaps->ram_private += mib;
		break;
	case PART_OWN_RAM:
		smaps->ram_private += mib;
		smaps->mapped += mib;
		break;
	case PART_IMAGE:
		smaps->image += mib;
		smaps->mapped += mib;
		break;
	case PART_FILE:
		smaps->libraries += mib;
		break;
	case PART_ANONYMOUS:
		smaps->heap += mib;
		break;
	}
}

static void add_line(struct smaps *smaps, enum part part, const char *line)
{
	unsigned long kib = 0;
	double mib;

	if (sscanf(line, "%*[A-Za-z_]: %lu kB", &kib) != 1)
		return;
	mib = (double)kib / 1024;
	if (str_after(line, "Pss:"))
		add_pss(smaps, part, mib);
	if (str_after(line, "Private_"))
		smaps->private_ += mib;
	/* Copied on write. The rest is the template's, also where only this process has it mapped.
	 */
	if (part == PART_RAM && str_after(line, "Anonymous:")) {
		smaps->ram_private += mib;
		smaps->ram_shared -= mib;
		smaps->mapped -= mib;
	}
}

/* The holes of a template's memory are anonymous memory in the middle of the file's
 * (factory/preload/private_memory.c). Behind it all is a page that nobody may read. */
static struct mapping mapping_next(const struct mapping *before, const char *line, const char *ram,
				   const char *image)
{
	struct mapping mapping = { .part = part_of(line, strcspn(line, "\n"), ram, image) };
	bool in_ram = before->part == PART_RAM || before->part == PART_RAM_HOLE;
	unsigned long begin = 0;
	char access = '-';

	if (sscanf(line, "%lx-%lx %c", &begin, &mapping.end, &access) == 3 && access == 'r' &&
	    begin == before->end && in_ram && mapping.part == PART_ANONYMOUS)
		mapping.part = PART_RAM_HOLE;
	return mapping;
}

void smaps_parse(const char *text, const char *ram, const char *image, struct smaps *ret_smaps)
{
	struct mapping mapping = { .part = PART_ANONYMOUS };

	*ret_smaps = (struct smaps){};
	for (const char *line = text; *line;
	     line += strcspn(line, "\n") + (strchr(line, '\n') != 0)) {
		if (is_first_line(line))
			mapping = mapping_next(&mapping, line, ram, image);
		else
			add_line(ret_smaps, mapping.part, line);
	}
}

static double status_number(const char *status, const char *key)
{
	const char *at = strstr(status, key);
	unsigned long number = 0;

	return at && sscanf(at + strlen(key), "%lu", &number) == 1 ? (double)number : 0;
}

int file_mib_read(const char *path, double *ret_mib, struct error *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return error_set_errno(err, errno, "cannot look at %s", path);
	*ret_mib = (double)st.st_blocks * 512 / (1 << 20);
	return 0;
}

/* A file may be mapped in pieces; its first one stands for it. */
static int own_files_read(pid_t pid, const char *text, double *ret_mib, struct error *err)
{
	int r = 0;

	*ret_mib = 0;
	for (const char *line = text; r == 0 && *line;
	     line += strcspn(line, "\n") + (strchr(line, '\n') != 0)) {
		unsigned long offset = 0;
		double mib = 0;
		if (!is_first_line(line) || !is_own_file(line, strcspn(line, "\n")) ||
		    sscanf(line, "%*s %*s %lx", &offset) != 1 || offset > 0)
			continue;
		_cleanup_free_ char *path = xasprintf("/proc/%d/map_files/%.*s", (int)pid,
						      (int)strcspn(line, " "), line);
		r = file_mib_read(path, &mib, err);
		*ret_mib += mib;
	}
	return r;
}

int smaps_read(pid_t pid, const char *ram, const char *image, struct smaps *ret_smaps,
	       struct error *err)
{
	_cleanup_free_ char *smaps_path = xasprintf("/proc/%d/smaps", (int)pid);
	_cleanup_free_ char *status_path = xasprintf("/proc/%d/status", (int)pid);
	_cleanup_free_ char *smaps = NULL;
	_cleanup_free_ char *status = NULL;

	int r = file_read(smaps_path, TEXT_MAX, &smaps, NULL, err);
	if (r == 0)
		r = file_read(status_path, TEXT_MAX, &status, NULL, err);
	if (r < 0 || !status)
		return r;
	smaps_parse(smaps, ram, image, ret_smaps);
	ret_smaps->kernel = (status_number(status, "\nVmPTE:") +
			     status_number(status, "\nThreads:") * KERNEL_STACK_KIB) /
			    1024;
	return own_files_read(pid, smaps, &ret_smaps->own_files, err);
}

void smaps_add(struct smaps *sum, const struct smaps *more)
{
	sum->ram_private += more->ram_private;
	sum->ram_shared += more->ram_shared;
	sum->heap += more->heap;
	sum->libraries += more->libraries;
	sum->image += more->image;
	sum->pss += more->pss;
	sum->private_ += more->private_;
	sum->kernel += more->kernel;
	sum->mapped += more->mapped;
	sum->own_files += more->own_files;
}

double meminfo_read(const char *key)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_free_ char *lines = NULL;
	_cleanup_free_ char *line = xasprintf("\n%s:", key);

	if (file_read("/proc/meminfo", TEXT_MAX, &text, NULL, NULL) < 0)
		return 0;
	lines = xasprintf("\n%s", text);
	return status_number(lines, line) / 1024;
}
