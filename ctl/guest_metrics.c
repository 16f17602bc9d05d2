#include "ctl/guest_metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/strings.h"

enum { NUMBER_MAX = 32, NAME_MAX_LEN = 128 };
#define VALUE_MAX 1e18

static const char *const minutes[] = { "1", "5", "15", NULL };
static const char *const modes[] = { "user", "nice",    "system", "idle", "iowait",
				     "irq",  "softirq", "stolen", NULL };
/* Of some fifty lines that /proc/meminfo has. */
static const char *const items[] = {
	"MemTotal",    "MemFree",    "MemAvailable", "Buffers",  "Cached",       "Active",
	"Inactive",    "Mlocked",    "SwapTotal",    "SwapFree", "Dirty",        "Writeback",
	"AnonPages",   "Mapped",     "Shmem",        "Slab",     "SReclaimable", "SUnreclaim",
	"KernelStack", "PageTables", "Committed_AS", NULL,
};

/* clang-format off */
const struct guest_family_info guest_families[GUEST_FAMILIES] = {
	[GUEST_LOAD] = { "kiln_guest_load", "gauge",
		"Processes of the guest that run or wait for a disk.", "minutes", minutes },
	[GUEST_CPU] = { "kiln_guest_cpu_seconds_total", "counter",
		"Time of all vCPUs, by use, as the guest counts it.", "mode", modes },
	[GUEST_MEMORY] = { "kiln_guest_memory_bytes", "gauge",
		"Memory of the guest, as its /proc/meminfo names it.", "item", items },
	[GUEST_AGENT_FILES] = { "kiln_agent_open_files", "gauge",
		"Descriptors that the agent has open.", NULL, NULL },
	[GUEST_AGENT_MEMORY] = { "kiln_agent_resident_bytes", "gauge",
		"The agent's memory.", NULL, NULL },
	[GUEST_CONTAINER_CPU] = { "kiln_container_cpu_seconds_total", "counter",
		"CPU time of a container.", "container", NULL },
	[GUEST_CONTAINER_MEMORY] = { "kiln_container_memory_bytes", "gauge",
		"Memory of a container.", "container", NULL },
	[GUEST_CONTAINER_PROCESSES] = { "kiln_container_processes", "gauge",
		"Threads of a container.", "container", NULL },
};
/* clang-format on */

struct series {
	bool is_there;
	double value;
};

struct guest_metrics {
	const char *const *containers; /* borrowed */
	size_t ncontainers;
	struct series *series[GUEST_FAMILIES]; /* owned */
	size_t refused;
};

size_t guest_metrics_count(const struct guest_metrics *metrics, enum guest_family family)
{
	const struct guest_family_info *info = &guest_families[family];
	size_t count = 0;

	if (!info->label)
		return 1;
	if (!info->words)
		return metrics->ncontainers;
	while (info->words[count])
		count++;
	return count;
}

static const char *word_of(const struct guest_metrics *metrics, enum guest_family family, size_t i)
{
	const struct guest_family_info *info = &guest_families[family];

	if (!info->label)
		return NULL;
	return info->words ? info->words[i] : metrics->containers[i];
}

bool guest_metrics_get(const struct guest_metrics *metrics, enum guest_family family, size_t i,
		       const char **ret_word, double *ret_value)
{
	const struct series *series = &metrics->series[family][i];

	if (!series->is_there)
		return false;
	*ret_word = word_of(metrics, family, i);
	*ret_value = series->value;
	return true;
}

/* ---------------------------------------------------------------- one line */

struct line {
	const char *name, *label, *word, *number; /* borrowed; label NULL: it has none */
};

/* Cuts it up where it stands. */
static bool line_split(char *text, struct line *ret)
{
	struct line line = { .name = text };
	char *at = text + strcspn(text, "{ ");

	if (*at == '{') {
		*at++ = '\0';
		line.label = at;
		at = strstr(at, "=\"");
		if (!at)
			return false;
		*at = '\0';
		at += 2;
		line.word = at;
		at += strcspn(at, "\"\\");
		if (at[0] != '"' || at[1] != '}')
			return false;
		*at = '\0';
		at += 2;
	}
	if (*at != ' ')
		return false;
	*at = '\0';
	line.number = at + 1;
	*ret = line;
	return true;
}

/* strtod() takes more than that: signs, blanks, hexadecimal numbers, "nan". */
static bool parse_number(const char *text, double *ret)
{
	size_t len = strlen(text);
	char *end;

	if (len == 0 || len > NUMBER_MAX || strspn(text, "0123456789") == 0 ||
	    strspn(text, "0123456789.e+-") != len)
		return false;
	double value = strtod(text, &end);
	if (*end || !isfinite(value) || value < 0 || value > VALUE_MAX)
		return false;
	*ret = value;
	return true;
}

/* GUEST_FAMILIES: there is none. */
static enum guest_family find_family(const struct line *line)
{
	enum guest_family family = 0;

	while (family < GUEST_FAMILIES && !(str_equal(guest_families[family].name, line->name) &&
					    str_equal(guest_families[family].label, line->label)))
		family++;
	return family;
}

static bool take_line(struct guest_metrics *metrics, char *text)
{
	enum guest_family family;
	struct line line;
	double value;
	size_t i = 0;

	if (!line_split(text, &line) || !parse_number(line.number, &value))
		return false;
	family = find_family(&line);
	if (family == GUEST_FAMILIES)
		return false;
	size_t count = guest_metrics_count(metrics, family);
	while (i < count && !str_equal(word_of(metrics, family, i), line.word))
		i++;
	if (i == count)
		return true; /* a word that is not listed */
	if (metrics->series[family][i].is_there)
		return false;
	metrics->series[family][i] = (struct series){ true, value };
	return true;
}

struct guest_metrics *guest_metrics_parse(const char *text, size_t len,
					  const char *const *containers, size_t count)
{
	struct guest_metrics *metrics = xnew(struct guest_metrics);
	const char *end = text + len;

	metrics->containers = containers;
	metrics->ncontainers = count;
	for (enum guest_family family = 0; family < GUEST_FAMILIES; family++)
		metrics->series[family] = xnew_array(struct series,
						     guest_metrics_count(metrics, family) + 1);
	while (text < end) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		size_t n = (size_t)((newline ? newline : end) - text);
		_cleanup_free_ char *line = NULL;
		if (n > 0 && n <= 2 * NAME_MAX_LEN + NUMBER_MAX && *text != '#')
			line = xstrndup(text, n);
		if (line ? strlen(line) != n || !take_line(metrics, line) : n > 0 && *text != '#')
			metrics->refused++;
		text += n + 1;
	}
	return metrics;
}

void guest_metrics_free(struct guest_metrics *metrics)
{
	if (!metrics)
		return;
	for (enum guest_family family = 0; family < GUEST_FAMILIES; family++)
		free(metrics->series[family]);
	free(metrics);
}

size_t guest_metrics_refused(const struct guest_metrics *metrics)
{
	return metrics->refused;
}
