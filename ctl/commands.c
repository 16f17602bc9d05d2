/* The commands of kiln-ctl. */
#include "ctl/ctl.h"

/* clang-format off */
const struct ctl_command *const ctl_commands[] = {
	&ctl_check, &ctl_env, &ctl_bug_report,
	&ctl_list, &ctl_inspect, &ctl_top, &ctl_metrics, &ctl_logs, &ctl_policy,
	&ctl_exec, &ctl_iptables,
	&ctl_factory, &ctl_image, &ctl_direct_volume, &ctl_agent,
	&ctl_completion, &ctl_version,
	NULL,
};
/* clang-format on */
