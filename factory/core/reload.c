#include "factory/core/reload.h"

#include "base/audit.h"
#include "base/log.h"
#include "base/memory.h"
#include "factory/core/factory.h"

void reload_report_done(struct reload_report *report)
{
	strv_done(&report->changed);
	strv_done(&report->waiting);
}

void reload_merge(struct factory_config *config, struct factory_config *fresh,
		  struct reload_report *ret_report)
{
	struct reload_report report = {};
	size_t count;
	const struct config_key *keys = factory_config_keys(&count);

	for (size_t i = 0; i < count; i++) {
		if (config_equal(&keys[i], config, fresh))
			continue;
		strv_add(keys[i].reloadable ? &report.changed : &report.waiting, keys[i].name);
		if (keys[i].reloadable)
			config_swap(&keys[i], config, fresh);
	}
	*ret_report = report;
}

static void report_log(const struct reload_report *report)
{
	_cleanup_free_ char *changed = strv_join(&report->changed, ", ");
	_cleanup_free_ char *waiting = strv_join(&report->waiting, ", ");
	_cleanup_free_ char *done = xasprintf("%s changed", *changed ? changed : "nothing");

	audit_reload(done);
	log_info(NULL, "configuration reloaded: %s", done);
	if (report->waiting.count > 0)
		log_warning(NULL, "configuration: a restart is needed for %s", waiting);
}

static void refusal_log(const struct error *err)
{
	_cleanup_free_ char *why = xasprintf("stays as it was: %s", error_message(err));

	audit_reload(why);
	log_error(NULL, "the configuration %s", why);
}

void reload_run(struct factory *factory, const char *path)
{
	_cleanup_(reload_report_done) struct reload_report report = {};
	_cleanup_(factory_config_done) struct factory_config fresh = {};
	_cleanup_(error_done) struct error err = {};

	int r = factory_config_load(path, &fresh, &err);
	if (r == 0)
		r = factory_reconfigure(factory, &fresh, &report, &err);
	if (r < 0)
		refusal_log(&err);
	else
		report_log(&report);
}
