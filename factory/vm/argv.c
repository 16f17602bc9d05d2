#include "factory/vm/argv.h"

#include <string.h>

#include "base/memory.h"
#include "base/strings.h"
#include "factory/guest/guest_share.h"
#include "factory/guest/network_cards.h"
#include "factory/vm/argv_priv.h"
#include "factory/vm/placeholder.h"
#include "factory/vm/qemu_option.h"

#define AGENT_PORT "org.kiln.agent.0"
#define GUEST_CID  "{{guest_cid}}"
#define VHOST_NET  "vhost_net_"

/* What the template's options say about each other, read in a first pass. */
struct survey {
	char *ram;            /* id of the backend that is the guest's RAM */
	char *ram_path;       /* its file */
	char *agent;          /* id of the agent channel's chardev */
	char *share;          /* id of the fsdev behind GUEST_SHARE_TAG */
	char *lower;          /* ditto GUEST_LOWER_TAG; NULL: there is none */
	struct strv monitors; /* ids of the monitors' chardevs */
};

struct derivation {
	const struct survey *survey;
	const struct argv_template *template;
	struct strv *out;
	size_t taps; /* so far */
};

static void survey_done(struct survey *survey)
{
	free(survey->ram);
	free(survey->ram_path);
	free(survey->agent);
	free(survey->share);
	free(survey->lower);
	strv_done(&survey->monitors);
}

struct argument argument_take(const struct strv *argv, size_t *at)
{
	struct argument argument = { .name = argv->items[(*at)++] };
	const char *next = *at < argv->count ? argv->items[*at] : NULL;

	if (next && (next[0] != '-' || str_equal(argument.name, "-append"))) {
		argument.value = next;
		(*at)++;
	}
	return argument;
}

/* ---------------------------------------------------------------- first pass */

static int set_once(char **slot, const char *value, const char *what, struct error *err)
{
	if (!value)
		return 0;
	if (*slot && !str_equal(*slot, value))
		return error_set(err, EINVAL, "the machine has more than one %s", what);
	replace_string(slot, value);
	return 0;
}

static int survey_device(struct survey *survey, const struct qemu_option *option, struct error *err)
{
	if (str_equal(qemu_option_get(option, "name"), AGENT_PORT))
		return set_once(&survey->agent, qemu_option_get(option, "chardev"), "agent channel",
				err);
	if (str_equal(qemu_option_get(option, "mount_tag"), GUEST_SHARE_TAG))
		return set_once(&survey->share, qemu_option_get(option, "fsdev"), "share", err);
	if (str_equal(qemu_option_get(option, "mount_tag"), GUEST_LOWER_TAG))
		return set_once(&survey->lower, qemu_option_get(option, "fsdev"), "lower share",
				err);
	return 0;
}

static int survey_machine(struct survey *survey, const struct qemu_option *option,
			  struct error *err)
{
	return set_once(&survey->ram, qemu_option_get(option, "memory-backend"), "RAM backend",
			err);
}

static int survey_numa(struct survey *survey, const struct qemu_option *option, struct error *err)
{
	return set_once(&survey->ram, qemu_option_get(option, "memdev"), "RAM backend", err);
}

static int survey_monitor(struct survey *survey, const struct qemu_option *option,
			  struct error *err _unused_)
{
	const char *chardev = qemu_option_get(option, "chardev");

	if (chardev)
		strv_add(&survey->monitors, chardev);
	return 0;
}

static int survey_argument(struct survey *survey, const struct argument *argument,
			   struct error *err)
{
	static const struct {
		const char *name, *implied_key;
		int (*fn)(struct survey *, const struct qemu_option *, struct error *);
	} readers[] = {
		{ "-device", "driver", survey_device },
		{ "-machine", "type", survey_machine },
		{ "-numa", "type", survey_numa },
		{ "-mon", "chardev", survey_monitor },
	};

	for (size_t i = 0; i < ARRAY_SIZE(readers); i++) {
		if (!str_equal(argument->name, readers[i].name) || !argument->value)
			continue;
		_cleanup_(qemu_option_free_cleanup) struct qemu_option *option = NULL;
		int r = qemu_option_parse(argument->value, readers[i].implied_key, &option, err);
		return r < 0 ? r : readers[i].fn(survey, option, err);
	}
	return 0;
}

static int survey_ram_file(struct survey *survey, const struct strv *argv, struct error *err)
{
	for (size_t at = 1; at < argv->count;) {
		struct argument argument = argument_take(argv, &at);
		_cleanup_(qemu_option_free_cleanup) struct qemu_option *option = NULL;
		if (!str_equal(argument.name, "-object") || !argument.value)
			continue;
		int r = qemu_option_parse(argument.value, "qom-type", &option, err);
		if (r < 0)
			return r;
		if (str_equal(qemu_option_get(option, "id"), survey->ram) &&
		    str_equal(qemu_option_get(option, "qom-type"), "memory-backend-file"))
			replace_string(&survey->ram_path, qemu_option_get(option, "mem-path"));
	}
	return 0;
}

static int survey_take(struct survey *survey, const struct strv *argv, struct error *err)
{
	for (size_t at = 1; at < argv->count;) {
		struct argument argument = argument_take(argv, &at);
		if (!str_after(argument.name, "-"))
			return error_set(err, EINVAL, "\"%s\" is no option of QEMU's",
					 argument.name);
		int r = survey_argument(survey, &argument, err);
		if (r < 0)
			return r;
	}
	if (!survey->ram)
		return error_set(err, EINVAL, "the machine's RAM has no backend of its own");
	int r = survey_ram_file(survey, argv, err);
	if (r < 0)
		return r;
	if (!survey->ram_path)
		return error_set(err, EINVAL, "the machine's RAM (%s) is not a file", survey->ram);
	return 0;
}

/* ---------------------------------------------------------------- second pass */

/* Adds what another process can use as it stands. */
static int keep(struct derivation *d, const struct argument *argument, struct error *err)
{
	if (placeholder_in(argument->name) || (argument->value && placeholder_in(argument->value)))
		return error_set(err, EINVAL, "%s %s looks like a placeholder", argument->name,
				 argument->value ? argument->value : "");
	if (argument->value && strstr(argument->value, "/dev/fdset/"))
		return error_set(err, EINVAL, "%s %s uses a descriptor a clone does not have",
				 argument->name, argument->value);
	strv_add(d->out, argument->name);
	if (argument->value)
		strv_add(d->out, argument->value);
	return 0;
}

static void add_option(struct derivation *d, const char *name, const struct qemu_option *option)
{
	strv_add(d->out, name);
	strv_take(d->out, qemu_option_format(option));
}

/* "{{image}}" for DIR/image, "{{images_0}}" for DIR/images/0; NULL for a file elsewhere. The
 * caller frees. */
static char *file_placeholder(const struct derivation *d, const struct qemu_option *option,
			      const char *key)
{
	const char *path = qemu_option_get(option, key);
	const char *name = path ? str_after(path, d->template->dir) : NULL;

	if (!name || *name++ != '/' || !*name)
		return NULL;
	char *text = xasprintf("{{%s}}", name);
	for (char *c = text; (c = strchr(c, '/'));)
		*c = '_';
	return text;
}

static int derive_file(struct derivation *d, const struct argument *argument,
		       struct qemu_option *option, const char *key, struct error *err)
{
	_cleanup_free_ char *placeholder = file_placeholder(d, option, key);

	if (!placeholder)
		return keep(d, argument, err);
	qemu_option_set(option, key, placeholder);
	add_option(d, argument->name, option);
	return 0;
}

static int derive_object(struct derivation *d, const struct argument *argument,
			 struct qemu_option *option, struct error *err)
{
	if (str_equal(qemu_option_get(option, "qom-type"), "secret"))
		return 0; /* libvirt's key, in a file that dies with the template's domain */
	if (!str_equal(qemu_option_get(option, "id"), d->survey->ram))
		return derive_file(d, argument, option, "mem-path", err);
	qemu_option_set(option, "mem-path", "{{memory}}");
	qemu_option_set_bool(option, "share", d->template->copied);
	add_option(d, argument->name, option);
	return 0;
}

static int derive_blockdev(struct derivation *d, const struct argument *argument,
			   struct qemu_option *option, struct error *err)
{
	return derive_file(d, argument, option, "file.filename", err);
}

/* Written as keys and values: a number in JSON has no room for a placeholder. */
static int derive_vsock(struct derivation *d, const struct argument *argument,
			const struct qemu_option *option, struct error *err)
{
	static const char *const kept[] = { "driver", "id", "bus", "addr" };
	_cleanup_(strbuf_done) struct strbuf text = {};

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		const char *value = qemu_option_get(option, kept[i]);
		if (!value || strpbrk(value, ",{}"))
			return error_set(err, EINVAL, "%s %s has no %s that a clone could have",
					 argument->name, argument->value, kept[i]);
		strbuf_addf(&text, "%s=%s,", kept[i], value);
	}
	strv_add(d->out, argument->name);
	strv_addf(d->out, "%sguest-cid=" GUEST_CID ",vhostfd={{vhost_fd}}", strbuf_text(&text));
	return 0;
}

static int derive_device(struct derivation *d, const struct argument *argument,
			 struct qemu_option *option, struct error *err)
{
	const char *driver = qemu_option_get(option, "driver");

	if (driver && str_after(driver, "vhost-vsock"))
		return derive_vsock(d, argument, option, err);
	if (!str_equal(driver, "vmgenid"))
		return keep(d, argument, err);
	qemu_option_set(option, "guid", "auto");
	add_option(d, argument->name, option);
	return 0;
}

static int derive_chardev(struct derivation *d, const struct argument *argument,
			  struct qemu_option *option, struct error *err)
{
	const char *id = qemu_option_get(option, "id");

	if (!id)
		return error_set(err, EINVAL, "-chardev %s has no id", argument->value);
	if (strv_contains(&d->survey->monitors, id))
		return 0;
	if (placeholder_in(id))
		return keep(d, argument, err);
	strv_add(d->out, argument->name);
	if (str_equal(id, d->survey->agent))
		strv_addf(d->out, "socket,id=%s,fd={{agent_fd}},server=on,wait=off", id);
	else
		strv_addf(d->out, "null,id=%s", id);
	return 0;
}

static int derive_fsdev(struct derivation *d, const struct argument *argument,
			struct qemu_option *option, struct error *err)
{
	const char *id = qemu_option_get(option, "id");
	bool is_lower = d->survey->lower && str_equal(id, d->survey->lower);

	if (!is_lower && !str_equal(id, d->survey->share))
		return error_set(err, EINVAL,
				 "-fsdev %s is not the share: all clones would have it",
				 argument->value);
	qemu_option_set(option, "path",
			is_lower ? "{{share_dir}}/" GUEST_LOWER_DIR : "{{share_dir}}");
	add_option(d, argument->name, option);
	return 0;
}

/* Other back ends than a tap are the same for all clones. */
static int derive_netdev(struct derivation *d, const struct argument *argument,
			 struct qemu_option *option, struct error *err)
{
	const char *id = qemu_option_get(option, "id");
	if (!str_equal(qemu_option_get(option, "type"), "tap") || !id || placeholder_in(id))
		return keep(d, argument, err);
	if (d->taps == NETWORK_CARDS_MAX)
		return error_set(err, EINVAL, "the machine has more than %d taps",
				 NETWORK_CARDS_MAX);
	strv_add(d->out, argument->name);
	if (qemu_option_get(option, "vhostfd"))
		strv_addf(d->out, "tap,id=%s,fd={{tap_%zu}},vhost=on,vhostfd={{" VHOST_NET "%zu}}",
			  id, d->taps, d->taps);
	else
		strv_addf(d->out, "tap,id=%s,fd={{tap_%zu}},vhost=off", id, d->taps);
	d->taps++;
	return 0;
}

static int derive_argument(struct derivation *d, const struct argument *argument, struct error *err)
{
	/* Without a function it is left out. */
	static const struct {
		const char *name, *implied_key;
		int (*fn)(struct derivation *, const struct argument *, struct qemu_option *,
			  struct error *);
	} rules[] = {
		{ "-object", "qom-type", derive_object },
		{ "-device", "driver", derive_device },
		{ "-blockdev", "driver", derive_blockdev },
		{ "-chardev", "backend", derive_chardev },
		{ "-fsdev", "fsdriver", derive_fsdev },
		{ "-netdev", "type", derive_netdev },
		/* libvirt's own */
		{ "-name", NULL, NULL },
		{ "-uuid", NULL, NULL },
		{ "-mon", NULL, NULL },
		{ "-add-fd", NULL, NULL },
		{ "-msg", NULL, NULL },
		{ "-pidfile", NULL, NULL },
		/* what a clone has its own of */
		{ "-S", NULL, NULL },
		{ "-incoming", NULL, NULL },
		{ "-sandbox", NULL, NULL },
		{ "-no-shutdown", NULL, NULL },
		{ "-no-reboot", NULL, NULL },
		/* what only a boot needs */
		{ "-kernel", NULL, NULL },
		{ "-initrd", NULL, NULL },
		{ "-append", NULL, NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		if (!str_equal(argument->name, rules[i].name))
			continue;
		if (!rules[i].fn)
			return 0;
		if (!argument->value)
			return error_set(err, EINVAL, "%s has no value", argument->name);
		_cleanup_(qemu_option_free_cleanup) struct qemu_option *option = NULL;
		int r = qemu_option_parse(argument->value, rules[i].implied_key, &option, err);
		return r < 0 ? r : rules[i].fn(d, argument, option, err);
	}
	return keep(d, argument, err);
}

static void add_monitor(struct strv *out, const char *id, const char *placeholder)
{
	strv_add(out, "-chardev");
	strv_addf(out, "socket,id=%s,fd=%s,server=on,wait=off", id, placeholder);
	strv_add(out, "-mon");
	strv_addf(out, "chardev=%s,mode=control", id);
}

static void add_clone_options(struct strv *out)
{
	add_monitor(out, "kiln-factory", "{{qmp_fd}}");
	add_monitor(out, "kiln-claimer", "{{shim_fd}}");
	/* A reset would boot without a kernel: the guest's end is the process's end. */
	strv_add(out, "-no-reboot");
	strv_add(out, "-sandbox");
	strv_add(out, "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	strv_add(out, "-incoming");
	strv_add(out, "defer");
	strv_add(out, "-S");
}

int argv_derive(const struct argv_template *template, struct strv *ret, struct error *err)
{
	const struct strv *template_argv = template->argv;
	_cleanup_(survey_done) struct survey survey = {};
	_cleanup_(strv_done) struct strv out = {};
	struct derivation d = { .survey = &survey, .template = template, .out = &out };

	if (template_argv->count == 0)
		return error_set(err, EINVAL, "an empty argument vector is no machine");
	int r = survey_take(&survey, template_argv, err);
	if (r < 0)
		return r;
	if (!survey.agent)
		return error_set(err, EINVAL, "the machine has no port named " AGENT_PORT);
	if (!survey.share)
		return error_set(err, EINVAL, "the machine has no virtio-9p share with the tag %s",
				 GUEST_SHARE_TAG);
	if (!survey.lower)
		return error_set(err, EINVAL, "the machine has no virtio-9p share with the tag %s",
				 GUEST_LOWER_TAG);
	strv_add(&out, template_argv->items[0]);
	for (size_t at = 1; at < template_argv->count;) {
		struct argument argument = argument_take(template_argv, &at);
		r = derive_argument(&d, &argument, err);
		if (r < 0)
			return r;
	}
	add_clone_options(&out);
	*ret = out;
	out = (struct strv){};
	return 0;
}

static bool has_in(const struct strv *argv, const char *text)
{
	for (size_t i = 0; i < argv->count; i++)
		if (strstr(argv->items[i], text))
			return true;
	return false;
}

bool argv_has_vsock(const struct strv *argv)
{
	return has_in(argv, GUEST_CID);
}

bool argv_has_vhost_net(const struct strv *argv)
{
	return has_in(argv, "{{" VHOST_NET);
}

int argv_memory_path(const struct strv *template_argv, char **ret_path, struct error *err)
{
	_cleanup_(survey_done) struct survey survey = {};

	int r = survey_take(&survey, template_argv, err);
	if (r < 0)
		return r;
	*ret_path = steal_ptr(survey.ram_path);
	return 0;
}

/* ---------------------------------------------------------------- a clone */

/* Descriptors of network cards: placeholders with their text. */
struct card_numbers {
	char names[NETWORK_CARDS_MAX][32], fds[NETWORK_CARDS_MAX][12];
};

static void number_cards(const char *prefix, int first_fd, size_t count,
			 struct card_numbers *numbers, struct placeholder *list)
{
	for (size_t i = 0; i < count; i++) {
		snprintf(numbers->names[i], sizeof(numbers->names[i]), "%s%zu", prefix, i);
		snprintf(numbers->fds[i], sizeof(numbers->fds[i]), "%d", first_fd + (int)i);
		list[i] = (struct placeholder){ numbers->names[i], numbers->fds[i] };
	}
}

int argv_expand(const struct strv *argv, const struct argv_values *values, struct strv *ret,
		struct error *err)
{
	const struct placeholder own[] = {
		{ "agent_fd", values->agent_fd },     { "share_dir", values->share_dir },
		{ "qmp_fd", values->qmp_fd },         { "shim_fd", values->shim_fd },
		{ "vcpus", values->vcpus },           { "last_vcpu", values->last_vcpu },
		{ "memory_kib", values->memory_kib }, { "max_memory_kib", values->max_memory_kib },
		{ "guest_cid", values->guest_cid },   { "vhost_fd", values->vhost_fd },
	};
	struct card_numbers taps, vhost_nets;
	size_t first_vhost_net = ARRAY_SIZE(own) + values->taps;
	size_t first_file = first_vhost_net + values->taps;
	size_t count = first_file + values->nfiles;
	_cleanup_free_ struct placeholder *list = xnew_array(struct placeholder, count);
	_cleanup_(strv_done) struct strv out = {};

	memcpy(list, own, sizeof(own));
	number_cards("tap_", values->first_tap_fd, values->taps, &taps, list + ARRAY_SIZE(own));
	number_cards(VHOST_NET, values->first_vhost_net_fd, values->taps, &vhost_nets,
		     list + first_vhost_net);
	if (values->nfiles > 0)
		memcpy(list + first_file, values->files, values->nfiles * sizeof(*values->files));

	for (size_t i = 0; i < argv->count; i++) {
		const char *item = argv->items[i];
		char *expanded = NULL;
		int r = placeholder_expand(item, list, count,
					   item[0] == '{' ? qemu_option_escape_json
							  : qemu_option_escape_comma,
					   &expanded, err);
		if (r < 0)
			return error_wrap(err, "cannot make the clone's arguments");
		strv_take(&out, expanded);
	}
	*ret = out;
	out = (struct strv){};
	return 0;
}
