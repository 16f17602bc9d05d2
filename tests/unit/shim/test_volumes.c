/* Volumes: what is one, and how the host shows it to the machine. */
#include "share_fixture.h"

#include "base/strings.h"
#include "shim/volumes.h"

/* An OCI configuration with up to 4 mounts. */
struct oci {
	Grpc__Spec spec;
	Grpc__Mount mounts[4];
	Grpc__Mount *list[4];
};

static void oci_init(struct oci *oci)
{
	grpc__spec__init(&oci->spec);
	oci->spec.mounts = oci->list;
}

static void oci_done(struct oci *oci)
{
	for (size_t i = 0; i < oci->spec.n_mounts; i++) {
		for (size_t j = 0; j < oci->mounts[i].n_options; j++)
			free(oci->mounts[i].options[j]);
		free(oci->mounts[i].options);
		free(oci->mounts[i].source);
		free(oci->mounts[i].destination);
		free(oci->mounts[i].type);
	}
}

/* options: words with commas between them. Takes source. */
static Grpc__Mount *oci_add(struct oci *oci, const char *type, char *source,
			    const char *destination, const char *options)
{
	Grpc__Mount *mount = &oci->mounts[oci->spec.n_mounts];
	_cleanup_free_ char *words = xstrdup(options);

	assert_true(oci->spec.n_mounts < ARRAY_SIZE(oci->mounts));
	grpc__mount__init(mount);
	mount->type = xstrdup(type);
	mount->source = source;
	mount->destination = xstrdup(destination);
	for (char *save, *word = strtok_r(words, ",", &save); word;
	     word = strtok_r(NULL, ",", &save)) {
		mount->options = xrealloc_array(mount->options, mount->n_options + 1,
						sizeof(char *));
		mount->options[mount->n_options++] = xstrdup(word);
	}
	oci->list[oci->spec.n_mounts++] = mount;
	return mount;
}

static int mount_them(struct oci *oci, struct volumes **ret, struct error *err)
{
	_cleanup_free_ char *scratch = scratch_dir();
	const struct volumes_options options = {
		.folder = &folder,
		.container_id = "c1",
		.scratch_dir = scratch,
		.idmap = &idmap,
	};

	assert_int_equal(folder_make(NULL), 0);
	return volumes_mount(&oci->spec, &options, ret, err);
}

static void binds_of_the_host_become_volumes(void **state _unused_)
{
	_cleanup_(oci_done) struct oci oci = {};
	struct volumes *volumes = NULL;

	oci_init(&oci);
	make("a");
	make("b");
	oci_add(&oci, "proc", xstrdup("proc"), "/proc", "");
	oci_add(&oci, "bind", in_dir("a"), "/a", "rbind,ro");
	oci_add(&oci, "bind", xstrdup("/sys"), "/sys", "rbind");
	oci_add(&oci, "", in_dir("b"), "/b", "bind");
	assert_int_equal(mount_them(&oci, &volumes, NULL), 0);
	assert_string_equal(oci.mounts[0].source, "proc");
	assert_string_equal(oci.mounts[1].source,
			    "/run/kata-containers/shared/containers/c1/mounts/0");
	assert_string_equal(oci.mounts[2].source, "/sys");
	assert_string_equal(oci.mounts[3].source,
			    "/run/kata-containers/shared/containers/c1/mounts/1");
	volumes_unmount(volumes);
}

static void volumes_are_bound_and_read_only_ones_protected(void **state _unused_)
{
	_cleanup_free_ char *target = in_dir("share/c1/mounts/1");
	_cleanup_(oci_done) struct oci oci = {};
	struct volumes *volumes = NULL;

	oci_init(&oci);
	make("vol");
	write_text("vol/f", "data");
	oci_add(&oci, "bind", in_dir("vol"), "/v", "rbind");
	oci_add(&oci, "bind", in_dir("vol/f"), "/f", "rbind,ro");
	assert_int_equal(mount_them(&oci, &volumes, NULL), 0);
	write_text("share/c1/mounts/0/g", "more");
	assert_text("share/c1/mounts/1", "data");
	assert_int_equal(open(target, O_WRONLY), -1);
	assert_int_equal(errno, EROFS);
	volumes_unmount(volumes);
	assert_text("vol/g", "more");
}

static void missing_sources_leave_nothing(void **state _unused_)
{
	_cleanup_(error_done) struct error err = {};
	_cleanup_(oci_done) struct oci oci = {};
	struct volumes *volumes = NULL;

	oci_init(&oci);
	make("vol");
	oci_add(&oci, "bind", in_dir("vol"), "/v", "bind");
	oci_add(&oci, "bind", xstrdup("/nowhere/vol"), "/w", "bind");
	assert_int_equal(mount_them(&oci, &volumes, &err), -ENOENT);
	assert_non_null(strstr(error_message(&err), "/nowhere/vol"));
	assert_int_equal(mounts_here(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(binds_of_the_host_become_volumes),
		T(volumes_are_bound_and_read_only_ones_protected),
		T(missing_sources_leave_nothing),
	};

	if (!enter_private_mounts())
		return 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
