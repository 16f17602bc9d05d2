#include "ctl/metrics_page.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/strings.h"
#include "ctl/guest_metrics.h"
#include "ctl/process_usage.h"

enum { LABEL_MAX = 253 /* bytes; names of Kubernetes have no more */ };

/* A sandbox with all that is told of it. */
struct subject {
	const struct sandbox *sandbox; /* borrowed */
	char *labels;                  /* owned; without braces */
	const char **containers;       /* owned; ids, borrowed */
	struct guest_metrics *guest;   /* owned; NULL: its guest did not answer */
	struct process_usage shim, vmm;
	bool has_shim, has_vmm;
};

struct subjects {
	struct subject *items;
	size_t count;
};

/* ---------------------------------------------------------------- labels */

static void add_label(struct strbuf *text, const char *name, const char *value)
{
	size_t len = 0;

	strbuf_addf(text, "%s%s=\"", text->len > 0 ? "," : "", name);
	for (const char *at = value ? value : ""; *at && len < LABEL_MAX;) {
		bool shown;
		size_t n = str_character(at, &shown);
		if (!shown)
			strbuf_adds(text, "?");
		else if (*at == '"' || *at == '\\')
			strbuf_addf(text, "\\%c", *at);
		else
			strbuf_add(text, at, n);
		at += n;
		len += n;
	}
	strbuf_adds(text, "\"");
}

/* Without an id it is known by its socket, so that no two have the same labels. */
static char *make_labels(const struct sandbox *sandbox)
{
	const char *slash = strrchr(sandbox->socket, '/');
	struct strbuf text = {};

	add_label(&text, "sandbox", sandbox->id ? sandbox->id : slash + 1);
	add_label(&text, "namespace", sandbox->pod ? sandbox->pod_ns : sandbox->ns);
	add_label(&text, "pod", sandbox->pod);
	return strbuf_steal(&text);
}

/* ---------------------------------------------------------------- subjects */

static void subject_done(struct subject *subject)
{
	free(subject->labels);
	free(subject->containers);
	guest_metrics_free(subject->guest);
}

static void measure(struct subject *subject)
{
	const struct sandbox *sandbox = subject->sandbox;
	const Kiln__Shim__V1__SandboxInfo *info = sandbox->info;

	subject->has_shim = sandbox->shim_pid > 0 &&
			    process_usage_read(sandbox->shim_pid, &subject->shim) == 0;
	if (!info)
		return;
	subject->has_vmm = info->machine &&
			   process_usage_read((pid_t)info->machine->vmm_pid, &subject->vmm) == 0;
	subject->containers = xnew_array(const char *, info->n_containers + 1);
	for (size_t i = 0; i < info->n_containers; i++)
		subject->containers[i] = info->containers[i]->id;
	if (sandbox->guest)
		subject->guest = guest_metrics_parse(sandbox->guest->metrics,
						     strlen(sandbox->guest->metrics),
						     subject->containers, info->n_containers);
}

/* Of two containerds that have the same name for a sandbox, the second one's is left out:
 * Prometheus refuses a page that has a series twice. They stand beside each other. */
static bool is_known(const struct subjects *subjects, const struct subject *subject)
{
	for (size_t i = subjects->count; i > 0; i--) {
		const struct subject *other = &subjects->items[i - 1];
		if (str_equal(other->labels, subject->labels))
			return true;
		if (!str_equal(other->sandbox->id, subject->sandbox->id))
			return false;
	}
	return false;
}

static void make_subjects(const struct sandboxes *sandboxes, struct subjects *ret)
{
	*ret = (struct subjects){ .items = xnew_array(struct subject, sandboxes->count + 1) };
	for (size_t i = 0; i < sandboxes->count; i++) {
		struct subject subject = { .sandbox = &sandboxes->items[i] };
		subject.labels = make_labels(subject.sandbox);
		if (is_known(ret, &subject)) {
			subject_done(&subject);
			continue;
		}
		measure(&subject);
		ret->items[ret->count++] = subject;
	}
}

static void subjects_done(struct subjects *subjects)
{
	for (size_t i = 0; i < subjects->count; i++)
		subject_done(&subjects->items[i]);
	free(subjects->items);
}

/* ---------------------------------------------------------------- families */

struct family {
	const char *name, *type, *help;
	/* Appends the samples of one sandbox. */
	void (*add)(struct strbuf *page, const char *name, const struct subject *subject);
};

/* %.15g: bytes and seconds are whole, or as exact as a double is. */
static void sample(struct strbuf *page, const char *name, const struct subject *subject,
		   double value)
{
	strbuf_addf(page, "%s{%s} %.15g\n", name, subject->labels, value);
}

static void sample_of(struct strbuf *page, const char *name, const struct subject *subject,
		      const char *label, const char *word, double value)
{
	strbuf_addf(page, "%s{%s,%s=\"%s\"} %.15g\n", name, subject->labels, label, word, value);
}

static const Kiln__Shim__V1__Machine *machine_of(const struct subject *subject)
{
	return subject->sandbox->info ? subject->sandbox->info->machine : NULL;
}

static void add_up(struct strbuf *page, const char *name, const struct subject *subject)
{
	sample(page, name, subject, subject->sandbox->info != NULL);
}

static void add_guest_up(struct strbuf *page, const char *name, const struct subject *subject)
{
	if (machine_of(subject))
		sample(page, name, subject, subject->guest != NULL);
}

static void add_info(struct strbuf *page, const char *name, const struct subject *subject)
{
	const Kiln__Shim__V1__Machine *machine = machine_of(subject);
	_cleanup_(strbuf_done) struct strbuf labels = {};

	if (!machine)
		return;
	strbuf_adds(&labels, subject->labels);
	add_label(&labels, "uid", subject->sandbox->pod_uid);
	add_label(&labels, "containerd_namespace", subject->sandbox->ns);
	add_label(&labels, "template_id", machine->template_id);
	add_label(&labels, "origin", machine->origin);
	add_label(&labels, "version", subject->sandbox->info->version);
	strbuf_addf(page, "%s{%s} 1\n", name, strbuf_text(&labels));
}

static void add_start(struct strbuf *page, const char *name, const struct subject *subject)
{
	if (machine_of(subject))
		sample(page, name, subject, (double)machine_of(subject)->claimed_ms / 1000);
}

static void add_claim(struct strbuf *page, const char *name, const struct subject *subject)
{
	if (machine_of(subject))
		sample(page, name, subject, (double)machine_of(subject)->claim_us / 1000000);
}

static void add_vcpus(struct strbuf *page, const char *name, const struct subject *subject)
{
	if (machine_of(subject))
		sample(page, name, subject, machine_of(subject)->vcpus);
}

static void add_memory(struct strbuf *page, const char *name, const struct subject *subject)
{
	if (machine_of(subject))
		sample(page, name, subject, machine_of(subject)->memory_mib * 1048576.0);
}

/* By the states that any of them is in; the words are the shim's. */
static void add_containers(struct strbuf *page, const char *name, const struct subject *subject)
{
	static const char *const states[] = { "creating", "created", "starting", "running",
					      "paused",   "exited",  "stopped",  "removing" };
	const Kiln__Shim__V1__SandboxInfo *info = subject->sandbox->info;

	for (size_t s = 0; info && s < ARRAY_SIZE(states); s++) {
		unsigned count = 0;
		for (size_t i = 0; i < info->n_containers; i++)
			count += !info->containers[i]->is_sandbox &&
				 str_equal(info->containers[i]->state, states[s]);
		if (count > 0)
			sample_of(page, name, subject, "state", states[s], count);
	}
}

static void add_execs(struct strbuf *page, const char *name, const struct subject *subject)
{
	if (subject->sandbox->info)
		sample(page, name, subject, (double)subject->sandbox->info->execs);
}

static void add_refused(struct strbuf *page, const char *name, const struct subject *subject)
{
	if (subject->guest)
		sample(page, name, subject, (double)guest_metrics_refused(subject->guest));
}

static void add_shim_cpu(struct strbuf *page, const char *name, const struct subject *subject)
{
	if (subject->has_shim)
		sample(page, name, subject, subject->shim.cpu_s);
}

static void add_kinds(struct strbuf *page, const char *name, const struct subject *subject,
		      const struct process_usage *usage)
{
	sample_of(page, name, subject, "kind", "anonymous", (double)usage->anonymous);
	sample_of(page, name, subject, "kind", "file", (double)usage->file);
	sample_of(page, name, subject, "kind", "shared", (double)usage->shared);
}

static void add_shim_memory(struct strbuf *page, const char *name, const struct subject *subject)
{
	if (subject->has_shim)
		add_kinds(page, name, subject, &subject->shim);
}

static void add_shim_files(struct strbuf *page, const char *name, const struct subject *subject)
{
	if (subject->has_shim)
		sample(page, name, subject, (double)subject->shim.open_files);
}

static void add_vmm_cpu(struct strbuf *page, const char *name, const struct subject *subject)
{
	if (subject->has_vmm)
		sample(page, name, subject, subject->vmm.cpu_s);
}

static void add_vmm_memory(struct strbuf *page, const char *name, const struct subject *subject)
{
	if (subject->has_vmm)
		add_kinds(page, name, subject, &subject->vmm);
}

static void add_vmm_files(struct strbuf *page, const char *name, const struct subject *subject)
{
	if (subject->has_vmm)
		sample(page, name, subject, (double)subject->vmm.open_files);
}

/* clang-format off */
static const struct family families[] = {
	{ "kiln_sandbox_up", "gauge", "1 where the sandbox's shim answered.", add_up },
	{ "kiln_sandbox_guest_up", "gauge", "1 where its guest answered.", add_guest_up },
	{ "kiln_sandbox_info", "gauge", "What it is; always 1.", add_info },
	{ "kiln_sandbox_start_time_seconds", "gauge", "When it got its machine.", add_start },
	{ "kiln_sandbox_claim_seconds", "gauge", "How long its claim took.", add_claim },
	{ "kiln_sandbox_vcpus", "gauge", "vCPUs of its machine.", add_vcpus },
	{ "kiln_sandbox_memory_bytes", "gauge", "Memory of its machine, as the guest sees it.", add_memory },
	{ "kiln_sandbox_containers", "gauge", "Its containers, by state.", add_containers },
	{ "kiln_sandbox_execs_total", "counter", "Programs that its debug console was asked for.", add_execs },
	{ "kiln_sandbox_guest_refused_lines", "gauge", "Lines of its guest's answer that say nothing that a guest may say.", add_refused },
	{ "kiln_shim_cpu_seconds_total", "counter", "CPU time of its shim.", add_shim_cpu },
	{ "kiln_shim_memory_bytes", "gauge", "Resident memory of its shim.", add_shim_memory },
	{ "kiln_shim_open_files", "gauge", "Descriptors that its shim has open.", add_shim_files },
	{ "kiln_vmm_cpu_seconds_total", "counter", "CPU time of its VMM, vCPUs included.", add_vmm_cpu },
	{ "kiln_vmm_memory_bytes", "gauge", "Resident memory of its VMM; anonymous: the machine's own.", add_vmm_memory },
	{ "kiln_vmm_open_files", "gauge", "Descriptors that its VMM has open.", add_vmm_files },
};
/* clang-format on */

static void add_head(struct strbuf *page, const char *name, const char *type, const char *help)
{
	strbuf_addf(page, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void add_guest_family(struct strbuf *page, enum guest_family family,
			     const struct subject *subject)
{
	const struct guest_family_info *info = &guest_families[family];
	size_t count = subject->guest ? guest_metrics_count(subject->guest, family) : 0;

	for (size_t i = 0; i < count; i++) {
		const char *word;
		double value;
		if (!guest_metrics_get(subject->guest, family, i, &word, &value))
			continue;
		if (word)
			sample_of(page, info->name, subject, info->label, word, value);
		else
			sample(page, info->name, subject, value);
	}
}

static void add_totals(struct strbuf *page, const struct subjects *subjects, double took_s)
{
	size_t answered = 0;

	for (size_t i = 0; i < subjects->count; i++)
		answered += subjects->items[i].sandbox->info != NULL;
	add_head(page, "kiln_sandboxes", "gauge",
		 "Sandboxes of this host, by whether their shim answered.");
	strbuf_addf(page,
		    "kiln_sandboxes{answered=\"yes\"} %zu\nkiln_sandboxes{answered=\"no\"} %zu\n",
		    answered, subjects->count - answered);
	add_head(page, "kiln_sandboxes_asked_seconds", "gauge", "How long it took to ask them.");
	strbuf_addf(page, "kiln_sandboxes_asked_seconds %.6f\n", took_s);
}

void metrics_page_write(const struct sandboxes *sandboxes, double took_s, struct strbuf *page)
{
	_cleanup_(subjects_done) struct subjects subjects = {};

	make_subjects(sandboxes, &subjects);
	add_totals(page, &subjects, took_s);
	for (size_t f = 0; f < ARRAY_SIZE(families); f++) {
		add_head(page, families[f].name, families[f].type, families[f].help);
		for (size_t i = 0; i < subjects.count; i++)
			families[f].add(page, families[f].name, &subjects.items[i]);
	}
	for (enum guest_family family = 0; family < GUEST_FAMILIES; family++) {
		const struct guest_family_info *info = &guest_families[family];
		add_head(page, info->name, info->type, info->help);
		for (size_t i = 0; i < subjects.count; i++)
			add_guest_family(page, family, &subjects.items[i]);
	}
}
