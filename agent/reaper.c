#include "agent/reaper.h"

#include <signal.h>
#include <sys/wait.h>

#include "base/list.h"
#include "base/memory.h"

struct entry {
	LIST_ENTRY(entry) link;
	pid_t pid;
	reaper_fn fn;
	void *userdata; /* borrowed */
};

struct reaper {
	struct loop_signal *signal;           /* owned */
	LIST_HEAD(entry_list, entry) entries; /* owned */
	void (*on_round)(void *userdata);
	void *userdata; /* borrowed */
};

static struct entry *entry_find(struct reaper *reaper, pid_t pid)
{
	struct entry *entry;

	LIST_FOREACH (entry, &reaper->entries, link)
		if (entry->pid == pid)
			return entry;
	return NULL;
}

static void collect(struct reaper *reaper, pid_t pid, int status)
{
	_cleanup_free_ struct entry *entry = entry_find(reaper, pid);

	if (!entry)
		return;
	LIST_REMOVE(entry, link);
	entry->fn(status, entry->userdata);
}

static void on_child(int signo _unused_, void *userdata)
{
	struct reaper *reaper = userdata;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		collect(reaper, pid, status);
	if (reaper->on_round)
		reaper->on_round(reaper->userdata);
}

struct reaper *reaper_new(struct loop *loop, void (*on_round)(void *userdata), void *userdata)
{
	struct reaper *reaper = xnew(struct reaper);

	LIST_INIT(&reaper->entries);
	reaper->on_round = on_round;
	reaper->userdata = userdata;
	reaper->signal = loop_signal_new(loop, SIGCHLD, on_child, reaper);
	return reaper;
}

void reaper_free(struct reaper *reaper)
{
	struct entry *entry;

	if (!reaper)
		return;
	loop_signal_free(reaper->signal);
	while ((entry = LIST_FIRST(&reaper->entries))) {
		LIST_REMOVE(entry, link);
		free(entry);
	}
	free(reaper);
}

void reaper_add(struct reaper *reaper, pid_t pid, reaper_fn fn, void *userdata)
{
	struct entry *entry = xnew(struct entry);

	entry->pid = pid;
	entry->fn = fn;
	entry->userdata = userdata;
	LIST_INSERT_HEAD(&reaper->entries, entry, link);
}

void reaper_remove(struct reaper *reaper, pid_t pid)
{
	struct entry *entry = entry_find(reaper, pid);

	if (!entry)
		return;
	LIST_REMOVE(entry, link);
	free(entry);
}
