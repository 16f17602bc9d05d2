#include "ctl/shim_process.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "proto/shim_socket.h"

enum { LINE_MAX_BYTES = 1 << 16 };

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

bool shim_words_parse(const char *line, size_t len, struct shim_words *ret)
{
	const char *end = line + len, *before = "";
	struct shim_words words = {};

	if (!str_equal(name_of(line), "containerd-shim-kiln-v2"))
		return false;
	for (const char *word = line; word < end; word += strlen(word) + 1) {
		if (str_equal(before, "-address"))
			words.address = word;
		else if (str_equal(before, "-namespace"))
			words.ns = word;
		else if (str_equal(before, "-id"))
			words.id = word;
		before = word;
	}
	if (!words.address || !words.ns || !words.id)
		return false;
	*ret = words;
	return true;
}

static void name_by(struct sandboxes *sandboxes, pid_t pid, const struct shim_words *words)
{
	_cleanup_free_ char *path = shim_socket_path(words->address, words->ns, words->id);

	for (size_t i = 0; i < sandboxes->count; i++) {
		struct sandbox *sandbox = &sandboxes->items[i];
		if (sandbox->info || sandbox->id ||
		    !str_equal(name_of(sandbox->socket), name_of(path)))
			continue;
		sandbox->id = xstrdup(words->id);
		sandbox->ns = xstrdup(words->ns);
		sandbox->shim_pid = pid;
	}
}

/* Anybody may call his process so: a shim's user is ours, or root. Asked first, because a process's
 * words are read out of its memory, which can keep its reader waiting. */
static bool is_ours(const char *name)
{
	_cleanup_free_ char *path = xasprintf("/proc/%s", name);
	struct stat st;

	return stat(path, &st) == 0 && (st.st_uid == 0 || st.st_uid == geteuid());
}

void shim_process_name(struct sandboxes *sandboxes)
{
	DIR *proc = NULL;
	const struct dirent *entry;

	for (size_t i = 0; i < sandboxes->count && !proc; i++)
		if (!sandboxes->items[i].info)
			proc = opendir("/proc");
	while (proc && (entry = readdir(proc))) {
		_cleanup_free_ char *path = xasprintf("/proc/%s/cmdline", entry->d_name);
		_cleanup_free_ char *line = NULL;
		struct shim_words words;
		uint64_t pid;
		size_t len;

		if (str_to_u64(entry->d_name, 1, INT32_MAX, &pid) == 0 && is_ours(entry->d_name) &&
		    file_read(path, LINE_MAX_BYTES, &line, &len, NULL) == 0 &&
		    shim_words_parse(line, len, &words))
			name_by(sandboxes, (pid_t)pid, &words);
	}
	if (proc)
		closedir(proc);
}
