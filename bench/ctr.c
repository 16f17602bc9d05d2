#include "bench/ctr.h"

#include <jansson.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

void ctr_begin(const struct bench *bench, const char *word, struct strv *argv)
{
	strv_add(argv, "ctr");
	strv_addf(argv, "--address=%s", bench->options.containerd);
	strv_addf(argv, "--namespace=%s", bench->options.namespace_);
	strv_add(argv, word);
}

void ctr_run_begin(const struct bench *bench, const char *runtime, const char *config,
		   const char *how, struct strv *argv)
{
	ctr_begin(bench, "run", argv);
	strv_add(argv, how);
	strv_addf(argv, "--runtime=%s", runtime);
	if (config)
		strv_addf(argv, "--runtime-config-path=%s", config);
}

int ctr_write_config(const struct bench *bench, const char *path, struct error *err)
{
	json_t *config = json_pack("{s:s}", "factory", bench->options.factory);
	_cleanup_free_ char *text = json_dumps(config, 0);

	json_decref(config);
	return file_write_atomic(path, text, strlen(text), 0644, err);
}
