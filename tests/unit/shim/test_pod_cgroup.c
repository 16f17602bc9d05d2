/* Which control group is a pod's, by the path of one of its containers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/strings.h"
#include "shim/pod_cgroup.h"

static void the_pods_group_is_the_one_above(void **state _unused_)
{
	static const struct {
		const char *path, *group; /* NULL: none */
	} cases[] = {
		{ "/kubepods/burstable/pod1/c1", "kubepods/burstable/pod1" },
		{ "kubepods/pod1/c1", "kubepods/pod1" },
		{ "/default/c1", "default" },
		{ "/c..1/..c2/c3", "c..1/..c2" },
		{ "/c1", NULL },
		{ "", NULL },
		{ NULL, NULL },
		{ "system.slice:docker:c1", "system.slice" },
		{ "kubepods-besteffort-pod1.slice:cri-containerd:c1",
		  "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *group = NULL;

		assert_int_equal(pod_cgroup_find(cases[i].path, &group, NULL), 0);
		if (!str_equal(group, cases[i].group))
			fail_msg("%s: %s", cases[i].path, group ? group : "none");
	}
}

static void what_is_no_groups_path_is_refused(void **state _unused_)
{
	static const char *const paths[] = {
		"/../c1", "/pod/../../c1", "..:a:b",      "/pod/..",
		":a:b",   ".slice:a:b",    "-.slice:a:b", "pod:a:b",
	};

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		_cleanup_(error_done) struct error err = {};
		char *group = NULL;

		assert_int_equal(pod_cgroup_find(paths[i], &group, &err), -EINVAL);
		assert_null(group);
		assert_non_null(strstr(error_message(&err), paths[i]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_pods_group_is_the_one_above),
		cmocka_unit_test(what_is_no_groups_path_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
