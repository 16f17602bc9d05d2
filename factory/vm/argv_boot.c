/* The vector of a booted machine, made of a clone's: what a clone is not told (kernel, initramfs)
 * is put back, what restores a state is taken out, and the size is left open. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/strings.h"
#include "factory/vm/argv.h"
#include "factory/vm/argv_priv.h"
#include "factory/vm/growth.h"
#include "factory/vm/placeholder.h"
#include "factory/vm/qemu_option.h"

struct conversion {
	struct strv *out;
	const char *ram;   /* the start of its -object */
	char *growth;      /* owned; id of the memory backend of the virtio-mem; NULL: none */
	uint64_t room_kib; /* maxmem without the RAM */
	bool sized;        /* -m was there */
};

static void conversion_done(struct conversion *c)
{
	free(c->growth);
}

/* ---------------------------------------------------------------- sizes */

/* "262144k": as libvirt writes them. */
static int parse_kib(const char *text, uint64_t *ret_kib)
{
	char *end;

	if (str_empty(text))
		return -EINVAL;
	errno = 0;
	*ret_kib = strtoull(text, &end, 10);
	return errno == 0 && end > text && str_equal(end, "k") ? 0 : -EINVAL;
}

static int convert_memory(struct conversion *c, const struct argument *argument,
			  struct qemu_option *option, struct error *err)
{
	uint64_t size, most;

	if (parse_kib(qemu_option_get(option, "size"), &size) < 0 ||
	    parse_kib(qemu_option_get(option, "maxmem"), &most) < 0 || most < size)
		return error_set(err, EINVAL, "-m %s has no size and maxmem in KiB",
				 argument->value);
	c->room_kib = most - size;
	c->sized = true;
	qemu_option_set(option, "size", "{{memory_kib}}k");
	qemu_option_set(option, "maxmem", "{{max_memory_kib}}k");
	strv_add(c->out, argument->name);
	strv_take(c->out, qemu_option_format(option));
	return 0;
}

static int convert_numa(struct conversion *c, const struct argument *argument,
			struct qemu_option *option, struct error *err _unused_)
{
	if (qemu_option_get(option, "cpus"))
		qemu_option_set(option, "cpus", "0-{{last_vcpu}}");
	strv_add(c->out, argument->name);
	strv_take(c->out, qemu_option_format(option));
	return 0;
}

/* ---------------------------------------------------------------- memory */

static int convert_object(struct conversion *c, const struct argument *argument,
			  struct qemu_option *option, struct error *err _unused_)
{
	const char *id = qemu_option_get(option, "id");

	if (c->growth && str_equal(id, c->growth))
		return 0;
	strv_add(c->out, argument->name);
	if (str_equal(qemu_option_get(option, "mem-path"), "{{memory}}"))
		strv_addf(c->out, "%s,id=%s,size={{memory_kib}}k", c->ram, id);
	else
		strv_add(c->out, argument->value);
	return 0;
}

static int convert_device(struct conversion *c, const struct argument *argument,
			  struct qemu_option *option, struct error *err _unused_)
{
	if (str_equal(qemu_option_get(option, "driver"), "virtio-mem-pci"))
		return 0;
	strv_add(c->out, argument->name);
	strv_add(c->out, argument->value);
	return 0;
}

/* A backend stands before its device, so this has to be known beforehand. */
static int find_growth(struct conversion *c, const struct strv *argv, struct error *err)
{
	for (size_t at = 1; at < argv->count;) {
		struct argument argument = argument_take(argv, &at);
		_cleanup_(qemu_option_free_cleanup) struct qemu_option *option = NULL;
		if (!str_equal(argument.name, "-device") || !argument.value)
			continue;
		int r = qemu_option_parse(argument.value, "driver", &option, err);
		if (r < 0)
			return r;
		if (str_equal(qemu_option_get(option, "driver"), "virtio-mem-pci"))
			replace_string(&c->growth, qemu_option_get(option, "memdev"));
	}
	return 0;
}

/* ---------------------------------------------------------------- the whole */

static int convert(struct conversion *c, const struct argument *argument, struct error *err)
{
	/* Without a function it is left out. */
	static const struct {
		const char *name, *implied_key;
		int (*fn)(struct conversion *, const struct argument *, struct qemu_option *,
			  struct error *);
	} rules[] = {
		{ "-m", "size", convert_memory },
		{ "-numa", "type", convert_numa },
		{ "-object", "qom-type", convert_object },
		{ "-device", "driver", convert_device },
		{ "-smp", NULL, NULL }, /* argv_derive_boot() adds its own */
		{ "-incoming", NULL, NULL },
		{ "-S", NULL, NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		if (!str_equal(argument->name, rules[i].name))
			continue;
		if (!rules[i].fn)
			return 0;
		_cleanup_(qemu_option_free_cleanup) struct qemu_option *option = NULL;
		int r = qemu_option_parse(argument->value, rules[i].implied_key, &option, err);
		return r < 0 ? r : rules[i].fn(c, argument, option, err);
	}
	strv_add(c->out, argument->name);
	if (argument->value)
		strv_add(c->out, argument->value);
	return 0;
}

/* The agent takes no vCPU offline in a machine that was booted at its size. */
static const char *without_vcpus_param(const char *params)
{
	const char *after = str_after(params, GROWTH_VCPUS_PARAM);

	if (!after)
		return params;
	after += strcspn(after, " ");
	return after + strspn(after, " ");
}

static int add_kernel(struct conversion *c, const struct strv *template_argv, struct error *err)
{
	static const char *const wanted[] = { "-kernel", "-initrd", "-append" };
	unsigned found = 0;

	for (size_t at = 1; at < template_argv->count;) {
		struct argument argument = argument_take(template_argv, &at);
		for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
			if (!str_equal(argument.name, wanted[i]) || !argument.value)
				continue;
			if (placeholder_in(argument.value))
				return error_set(err, EINVAL, "%s %s looks like a placeholder",
						 argument.name, argument.value);
			strv_add(c->out, argument.name);
			strv_add(c->out, without_vcpus_param(argument.value));
			found += i == 0;
		}
	}
	return found == 1 ? 0 : error_set(err, EINVAL, "the machine has no -kernel");
}

int argv_derive_boot(const struct argv_template *template, struct strv *ret, uint64_t *ret_room_kib,
		     struct error *err)
{
	const struct strv *template_argv = template->argv;
	_cleanup_(strv_done) struct strv clone = {}, out = {};
	_cleanup_(conversion_done) struct conversion c = {
		.out = &out,
		.ram = template->copied ? ARGV_OWN_MEMORY : "memory-backend-ram",
	};

	int r = argv_derive(template, &clone, err);
	if (r == 0)
		r = find_growth(&c, &clone, err);
	strv_add(&out, template_argv->count > 0 ? template_argv->items[0] : "");
	for (size_t at = 1; r == 0 && at < clone.count;) {
		struct argument argument = argument_take(&clone, &at);
		r = convert(&c, &argument, err);
	}
	if (r == 0 && !c.sized)
		r = error_set(err, EINVAL, "the machine has no -m");
	if (r == 0)
		r = add_kernel(&c, template_argv, err);
	if (r < 0)
		return error_wrap(err, "no machine could be booted with this");
	strv_add(&out, "-smp");
	strv_add(&out, "{{vcpus}}");
	*ret = out;
	out = (struct strv){};
	*ret_room_kib = c.room_kib;
	return 0;
}
