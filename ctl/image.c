/* kiln-ctl image add | prepare | list | remove | prune. */
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "base/memory.h"
#include "base/strings.h"
#include "ctl/ctl.h"
#include "ctl/factory_link.h"
#include "ctl/factory_progress.h"
#include "ctl/factory_show.h"
#include "ctl/image_layers.h"
#include "ctl/table.h"
#include "factory/cache/image_record.h"

#define MAKE_TIMEOUT_S   600
#define ANSWER_TIMEOUT_S 60
#define MIB              (1024 * 1024)

struct image_args {
	const char *socket;
	const char *name;
	struct image_source source; /* of prepare */
	char *const *words;         /* after the verb, borrowed */
	int nwords;
	unsigned timeout_s; /* 0: the verb's own */
	bool json;
};

struct verb {
	const char *name;
	int (*run)(struct factory_link *link, const struct image_args *args);
	int min_words, max_words;
	bool makes;      /* --name, --timeout */
	bool containerd; /* --namespace, --containerd, --snapshotter */
};

/* ---------------------------------------------------------------- add, prepare */

static char *describe(const Kiln__Factory__V1__StatusResponse *status, const void *unused _unused_)
{
	const Kiln__Factory__V1__ImageCacheStatus *cache = status->image_cache;

	if (!cache || str_empty(cache->making))
		return NULL;
	if (cache->queued == 0)
		return xasprintf("making the image of %s", cache->making);
	return xasprintf("making the image of %s, %u more are queued", cache->making,
			 cache->queued);
}

static int make(struct factory_link *link, const struct image_args *args, const char *name,
		const struct strv *layers)
{
	Kiln__Factory__V1__PrepareImageRequest request =
		KILN__FACTORY__V1__PREPARE_IMAGE_REQUEST__INIT;
	const struct progress_options options = {
		.method = "PrepareImage",
		.request = &request.base,
		.timeout_s = args->timeout_s ? args->timeout_s : MAKE_TIMEOUT_S,
		.describe = describe,
	};
	_cleanup_(error_done) struct error err = {};
	ProtobufCMessage *response = NULL;

	request.layers = layers->items;
	request.n_layers = layers->count;
	request.name = (char *)(uintptr_t)(name ? name : "");
	request.wait = true;
	if (factory_progress_call(link, &options, &response, &err) < 0)
		return ctl_fail(&err);
	if (args->json)
		answer_print_json(response, stdout);
	else
		ctl_print(stdout, "%s\n",
			  ((Kiln__Factory__V1__PrepareImageResponse *)response)->key);
	protobuf_c_message_free_unpacked(response, NULL);
	return CTL_OK;
}

static int run_add(struct factory_link *link, const struct image_args *args)
{
	_cleanup_(strv_done) struct strv layers = {};

	for (int i = 0; i < args->nwords; i++) {
		char *path = realpath(args->words[i], NULL);
		if (!path) {
			ctl_say("layer %s: %s", args->words[i], strerror(errno));
			return CTL_FAILED;
		}
		strv_take(&layers, path);
	}
	return make(link, args, args->name, &layers);
}

static int run_prepare(struct factory_link *link, const struct image_args *args)
{
	_cleanup_(strv_done) struct strv layers = {};
	_cleanup_(error_done) struct error err = {};
	struct image_source source = args->source;

	source.reference = args->words[0];
	if (image_layers_find(&source, &layers, &err) < 0)
		return ctl_fail(&err);
	return make(link, args, args->name ? args->name : source.reference, &layers);
}

/* ---------------------------------------------------------------- list */

static void add_row(struct table *table, const Kiln__Factory__V1__CachedImage *image)
{
	uint64_t now = (uint64_t)time(NULL);

	table_add(table, "%.12s", image->key);
	table_add(table, "%s", str_empty(image->name) ? "-" : image->name);
	table_add(table, "%s", image->state);
	if (image->bytes > 0)
		table_add(table, "%.1f MiB", (double)image->bytes / MIB);
	else
		table_add(table, "-");
	table_add(table, "%zu", image->n_layers);
	_cleanup_free_ char *age = image->last_used > 0 && image->last_used <= now
					   ? duration_text((now - image->last_used) * 1000)
					   : xstrdup("-");
	table_add(table, "%s", age);
	table_add(table, "%s", image->in_use ? "yes" : "no");
}

static void print_list(const Kiln__Factory__V1__ListImagesResponse *list)
{
	static const char *const heads[] = { "KEY",    "NAME",   "STATE", "SIZE",
					     "LAYERS", "UNUSED", "OPEN",  NULL };
	_cleanup_(table_free_cleanup) struct table *table = table_new(heads);

	for (size_t i = 0; i < list->n_images; i++)
		add_row(table, list->images[i]);
	table_print(table, stdout);
	for (size_t i = 0; i < list->n_images; i++)
		if (!str_empty(list->images[i]->error))
			ctl_print(stdout, "%.12s: %s\n", list->images[i]->key,
				  list->images[i]->error);
}

static int run_list(struct factory_link *link, const struct image_args *args)
{
	Kiln__Factory__V1__ListImagesRequest request = KILN__FACTORY__V1__LIST_IMAGES_REQUEST__INIT;
	ProtobufCMessage *response = factory_link_ask(link, "ListImages", &request.base,
						      args->timeout_s, ANSWER_TIMEOUT_S);

	if (!response)
		return CTL_FAILED;
	if (args->json)
		answer_print_json(response, stdout);
	else
		print_list((const Kiln__Factory__V1__ListImagesResponse *)response);
	protobuf_c_message_free_unpacked(response, NULL);
	return CTL_OK;
}

/* ---------------------------------------------------------------- remove, prune */

static int run_remove(struct factory_link *link, const struct image_args *args)
{
	for (int i = 0; i < args->nwords; i++) {
		Kiln__Factory__V1__RemoveImageRequest request =
			KILN__FACTORY__V1__REMOVE_IMAGE_REQUEST__INIT;
		request.image = args->words[i];
		ProtobufCMessage *response = factory_link_ask(link, "RemoveImage", &request.base,
							      args->timeout_s, ANSWER_TIMEOUT_S);
		if (!response)
			return CTL_FAILED;
		if (args->json)
			answer_print_json(response, stdout);
		protobuf_c_message_free_unpacked(response, NULL);
	}
	return CTL_OK;
}

static int run_prune(struct factory_link *link, const struct image_args *args)
{
	Kiln__Factory__V1__PruneImagesRequest request =
		KILN__FACTORY__V1__PRUNE_IMAGES_REQUEST__INIT;
	ProtobufCMessage *response = factory_link_ask(link, "PruneImages", &request.base,
						      args->timeout_s, ANSWER_TIMEOUT_S);

	if (!response)
		return CTL_FAILED;
	const Kiln__Factory__V1__PruneImagesResponse *pruned = (const void *)response;
	if (args->json)
		answer_print_json(response, stdout);
	else
		printf("%u images removed, %.1f MiB freed\n", pruned->images,
		       (double)pruned->freed / MIB);
	protobuf_c_message_free_unpacked(response, NULL);
	return CTL_OK;
}

/* ---------------------------------------------------------------- the command line */

static const struct verb verbs[] = {
	{ "add", run_add, 1, IMAGE_LAYERS_MAX, .makes = true },
	{ "prepare", run_prepare, 1, 1, .makes = true, .containerd = true },
	{ "list", run_list, 0, 0, .makes = false },
	{ "remove", run_remove, 1, INT_MAX, .makes = false },
	{ "prune", run_prune, 0, 0, .makes = false },
};

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (str_equal(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

static int run_verb(const struct verb *verb, const struct image_args *args)
{
	_cleanup_(factory_link_done) struct factory_link link = {};
	_cleanup_(error_done) struct error err = {};
	int r = factory_link_open(args->socket, &link, &err);

	if (r == 0)
		return verb->run(&link, args);
	(void)ctl_fail(&err);
	return r == -ENOENT || r == -ECONNREFUSED ? CTL_OFF : CTL_FAILED;
}

static const struct option option_table[] = {
	{ "containerd", required_argument, NULL, 'a' },
	{ "help", no_argument, NULL, 'h' },
	{ "json", no_argument, NULL, 'j' },
	{ "name", required_argument, NULL, 'n' },
	{ "namespace", required_argument, NULL, 'N' },
	{ "snapshotter", required_argument, NULL, 'S' },
	{ "socket", required_argument, NULL, 's' },
	{ "timeout", required_argument, NULL, 'T' },
	{},
};

/* CTL_OK: args are filled and optind is at the first word. */
static int parse_options(int argc, char **argv, struct image_args *args, bool *ret_help)
{
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, ":h", option_table, NULL)) != -1) {
		if (c == 'h')
			*ret_help = true;
		else if (c == 'j')
			args->json = true;
		else if (c == 'a')
			args->source.address = optarg;
		else if (c == 'n')
			args->name = optarg;
		else if (c == 'N')
			args->source.name_space = optarg;
		else if (c == 'S')
			args->source.snapshotter = optarg;
		else if (c == 's')
			args->socket = optarg;
		else if (c != 'T')
			return ctl_usage_option(&ctl_image, c, argv);
		else if (!ctl_parse_seconds(optarg, &args->timeout_s))
			return ctl_usage(&ctl_image, "--timeout wants seconds, 1 to 86400");
	}
	return CTL_OK;
}

static int check_args(const struct verb *verb, const struct image_args *args)
{
	const struct image_source *source = &args->source;

	if (!verb->makes && args->name)
		return ctl_usage(&ctl_image, "--name is for add and prepare");
	if (args->name && !image_name_is_valid(args->name))
		return ctl_usage(&ctl_image, "--name wants 1 to %d printable characters",
				 IMAGE_NAME_MAX);
	if (!verb->containerd && (source->address || source->name_space || source->snapshotter))
		return ctl_usage(&ctl_image,
				 "--containerd, --namespace and --snapshotter are for prepare");
	if (args->nwords < verb->min_words)
		return ctl_usage(&ctl_image, "%s of what?", verb->name);
	if (args->nwords > verb->max_words)
		return ctl_usage(&ctl_image, "'%s' is one word too many",
				 args->words[verb->max_words]);
	return CTL_OK;
}

static int image_run(int argc, char **argv)
{
	struct image_args args = { .socket = factory_default_address() };
	bool help = false;

	int code = parse_options(argc, argv, &args, &help);
	if (code != CTL_OK)
		return code;
	if (help)
		return ctl_help(&ctl_image);
	if (optind == argc)
		return ctl_usage(&ctl_image, "add, prepare, list, remove or prune?");
	const struct verb *verb = find_verb(argv[optind]);
	if (!verb)
		return ctl_usage(&ctl_image, "image has no verb '%s'", argv[optind]);
	args.words = &argv[optind + 1];
	args.nwords = argc - optind - 1;
	code = check_args(verb, &args);
	return code != CTL_OK ? code : run_verb(verb, &args);
}

static const char *word(size_t i)
{
	return i < ARRAY_SIZE(verbs) ? verbs[i].name : NULL;
}

const struct ctl_command ctl_image = {
	.name = "image",
	.usage = "kiln-ctl image prepare REF [OPTIONS]\n"
		 "       kiln-ctl image add LAYER... [OPTIONS]\n"
		 "       kiln-ctl image list|prune [OPTIONS]\n"
		 "       kiln-ctl image remove KEY|NAME... [OPTIONS]",
	.summary = "the node's cache of images made of containers' layers",
	.help = "The read-only layers of a container's root filesystem become one EROFS image, which\n"
		"its machine is given as a disk. The first container of an image asks for it and\n"
		"runs without it; these commands have it made beforehand, list and remove images.\n"
		"\n"
		"  prepare REF  have the image made that containers of containerd's image REF will\n"
		"            use, and wait for it; prints its key. REF must be unpacked for the\n"
		"            snapshotter (`ctr images pull` does that). A view is made by ctr for a\n"
		"            moment, its layers are read from it, and it is removed\n"
		"  add LAYER...  the same of folders, topmost first, as in an overlay's lowerdir. They\n"
		"            must not change from now on: an image is known by what folders it was\n"
		"            made of, not by what is in them\n"
		"  list      the images, used last first, then those that wait, are being made or\n"
		"            could not be made, and why. OPEN: a machine has it\n"
		"  remove KEY|NAME...  remove images by key (8 digits of it or more) or name; one that\n"
		"            is open is refused\n"
		"  prune     remove all that are not open, and forget what could not be made\n"
		"\n"
		"Options:\n"
		"      --containerd ADDRESS  for prepare: containerd's socket, default ctr's\n"
		"      --json            JSON instead of text: the factory's answer, of list an object\n"
		"                        with the array \"images\": key, name, state, bytes, layers,\n"
		"                        error, in_use, last_used, made_at, digest\n"
		"      --name NAME       for add and prepare: for people, and remove; default REF\n"
		"      --namespace NS    for prepare: containerd's, default ctr's ($CONTAINERD_NAMESPACE)\n"
		"      --snapshotter S   for prepare: the one containers will use, default ctr's\n"
		"                        ($CONTAINERD_SNAPSHOTTER); overlayfs and native have layers\n"
		"      --socket PATH     of the factory, default $KILN_FACTORY or\n"
		"                        " FACTORY_SOCKET "\n"
		"      --timeout SECONDS default 600 for add and prepare, else 60; an image that takes\n"
		"                        longer is made all the same\n"
		"  -h, --help            this text\n"
		"\n"
		"The cache is bounded (image_cache_mib of the factory): the image used least recently\n"
		"goes first, one that is open never.\n"
		"\n"
		"Exit codes: 0 done; 1 the operation failed; 2 the command line is wrong; 3 the\n"
		"factory is not running.\n",
	.options = option_table,
	.word = word,
	.run = image_run,
};
