#include "ctl/image_layers.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/spawn.h"
#include "base/strings.h"
#include "ctl/ctl.h"

#define SPACES " \t\r\n"

/* ---------------------------------------------------------------- what ctr prints */

static int bad_mount(const char *text, struct error *err)
{
	return error_set(err, EBADMSG,
			 "the snapshotter has no layers as folders (it mounts: %.256s): take "
			 "overlayfs or native",
			 text);
}

/* "/a:/b", ended by a comma or a space. */
static void split_layers(const char *list, struct strv *layers)
{
	size_t len = strcspn(list, "," SPACES);

	while (len > 0) {
		size_t one = strcspn(list, ":," SPACES);
		strv_take(layers, xstrndup(list, one));
		len -= one;
		list += one + (len > 0);
		len -= len > 0;
	}
}

/* The word after `word`. */
static char *word_after(const char *text, const char *word)
{
	const char *at = strstr(text, word);

	if (!at)
		return NULL;
	at += strlen(word);
	at += strspn(at, SPACES);
	return xstrndup(at, strcspn(at, SPACES));
}

/* One mount is one line: "mount -t TYPE SOURCE TARGET -o OPTIONS". */
int image_layers_parse(const char *text, struct strv *ret_layers, struct error *err)
{
	_cleanup_free_ char *type = word_after(text, "-t "), *source = NULL;
	const char *lower = strstr(text, "lowerdir=");
	struct strv layers = {};

	if (str_equal(type, "overlay") && lower)
		split_layers(lower + strlen("lowerdir="), &layers);
	else if (str_equal(type, "bind"))
		source = word_after(text, "-t bind ");
	if (source)
		strv_add(&layers, source);
	for (size_t i = 0; i < layers.count; i++) {
		if (layers.items[i][0] == '/')
			continue;
		strv_done(&layers);
		return bad_mount(text, err);
	}
	if (layers.count == 0)
		return bad_mount(text, err);
	*ret_layers = layers;
	return 0;
}

/* ---------------------------------------------------------------- ctr */

static void add_option(struct strv *argv, const char *option, const char *value)
{
	if (!value)
		return;
	strv_add(argv, option);
	strv_add(argv, value);
}

/* In a session of its own: Ctrl-C is for us, who clean up. */
static int run_ctr(const struct image_source *source, const char *const *words, char **ret_output,
		   struct error *err)
{
	_cleanup_(strv_done) struct strv argv = {};
	_cleanup_free_ char *output = NULL;
	int status;

	strv_add(&argv, "ctr");
	add_option(&argv, "--address", source->address);
	add_option(&argv, "--namespace", source->name_space);
	for (; *words; words++) {
		strv_add(&argv, *words);
		if (str_equal(*words, "mount") || str_equal(*words, "unmount") ||
		    str_equal(*words, "snapshots"))
			add_option(&argv, "--snapshotter", source->snapshotter);
	}
	const struct spawn_options options = { .argv = argv.items, .new_session = true };
	int r = spawn_run(&options, -1, &status, &output, err);
	if (r == 0)
		r = spawn_status_error("ctr", status, output, err);
	if (r == 0 && ret_output)
		*ret_output = steal_ptr(output);
	return r;
}

#define RUN_CTR(source, ret_output, err, ...)                                                      \
	run_ctr((source), (const char *const[]){ __VA_ARGS__, NULL }, (ret_output), (err))

/* The view is named after the folder it is mounted on. Its mount's options are asked for, for
 * those of /proc/self/mountinfo are relative to another folder where there are many layers. */
static int read_view(const struct image_source *source, const char *dir, struct strv *ret_layers,
		     struct error *err)
{
	_cleanup_(error_done) struct error left = {};
	_cleanup_free_ char *text = NULL;
	int r = RUN_CTR(source, NULL, err, "images", "mount", source->reference, dir);

	if (r < 0)
		return r;
	r = RUN_CTR(source, &text, err, "snapshots", "mounts", dir, dir);
	if (RUN_CTR(source, NULL, &left, "images", "unmount", "--rm", dir) < 0)
		ctl_say("the view %s of the image is left in containerd: %s", dir,
			error_message(&left));
	return r < 0 ? r : image_layers_parse(text, ret_layers, err);
}

static int read_layers(const struct image_source *source, struct strv *ret_layers,
		       struct error *err)
{
	char dir[] = "/tmp/kiln-image.XXXXXX";

	if (!mkdtemp(dir))
		return error_set_errno(err, errno, "cannot make a folder in /tmp");
	int r = read_view(source, dir, ret_layers, err);
	rmdir(dir);
	return r < 0 ? error_wrap(err, "cannot find the layers of %s", source->reference) : 0;
}

int image_layers_find(const struct image_source *source, struct strv *ret_layers, struct error *err)
{
	sigset_t ends, before;

	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &ends, &before);
	int r = read_layers(source, ret_layers, err);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return r;
}
