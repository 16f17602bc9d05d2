#include "shim/user_namespace.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/strbuf.h"
#include "base/strings.h"
#include "shim/mount.h"
#include "shim/mountinfo.h"
#include "shim/volume_kind.h"

#define UIDMAP "uidmap="
#define GIDMAP "gidmap="

/* Of one kind of ids. */
struct mappings {
	Grpc__LinuxIDMapping *const *items;
	size_t count;
};

static struct mappings uids_of(const Grpc__Linux *linux)
{
	return (struct mappings){ linux->uidmappings, linux->n_uidmappings };
}

static struct mappings gids_of(const Grpc__Linux *linux)
{
	return (struct mappings){ linux->gidmappings, linux->n_gidmappings };
}

static bool are_equal(const struct mappings *a, const struct mappings *b)
{
	bool equal = a->count == b->count;

	for (size_t i = 0; equal && i < a->count; i++)
		equal = a->items[i]->containerid == b->items[i]->containerid &&
			a->items[i]->hostid == b->items[i]->hostid &&
			a->items[i]->size == b->items[i]->size;
	return equal;
}

static bool change_nothing(const struct mappings *mappings)
{
	for (size_t i = 0; i < mappings->count; i++)
		if (mappings->items[i]->containerid != mappings->items[i]->hostid)
			return false;
	return true;
}

static bool have_root(const struct mappings *mappings)
{
	for (size_t i = 0; i < mappings->count; i++)
		if (mappings->items[i]->containerid == 0 && mappings->items[i]->size > 0)
			return true;
	return false;
}

static bool is_identity(const Grpc__Linux *linux)
{
	const struct mappings uids = uids_of(linux), gids = gids_of(linux);

	return change_nothing(&uids) && change_nothing(&gids);
}

/* As containerd's snapshotters write them: "CONTAINER:HOST:SIZE,...". The caller frees. */
static char *text_of(const struct mappings *mappings)
{
	struct strbuf text = {};

	strbuf_adds(&text, "");
	for (size_t i = 0; i < mappings->count; i++)
		strbuf_addf(&text, "%s%u:%u:%u", i == 0 ? "" : ",", mappings->items[i]->containerid,
			    mappings->items[i]->hostid, mappings->items[i]->size);
	return strbuf_steal(&text);
}

/* ---------------------------------------------------------------- the root */

static bool is_mapping(const char *option)
{
	return str_after(option, UIDMAP) || str_after(option, GIDMAP);
}

static bool has_option(Containerd__Types__Mount *const *root, size_t nroot, const char *name,
		       const char *value)
{
	for (size_t i = 0; i < nroot; i++)
		for (size_t j = 0; j < root[i]->n_options; j++)
			if (str_equal(str_after(root[i]->options[j], name), value))
				return true;
	return false;
}

static int check_root_ids(Containerd__Types__Mount *const *root, size_t nroot, const char *option,
			  const char *field, const struct mappings *mappings, struct error *err)
{
	_cleanup_free_ char *value = text_of(mappings);

	if (change_nothing(mappings) || has_option(root, nroot, option, value))
		return 0;
	return error_set(err, EOPNOTSUPP,
			 "%s %s are not those that the root is mounted with (%s): its files have "
			 "other owners on disk than in the container, and the guest maps none. "
			 "Such a root is mapped by its snapshotter (ctr run --remap-labels)",
			 field, value, option);
}

/* What runc has written there has the owners of the host. */
static int check_written(Containerd__Types__Mount *const *root, size_t nroot, struct error *err)
{
	for (size_t i = 0; i < nroot; i++)
		for (size_t j = 0; j < root[i]->n_options; j++) {
			const char *upper = str_after(root[i]->options[j], "upperdir=");
			if (upper && upper[0] == '/' && !mount_folder_is_empty(upper))
				return error_set(err, EOPNOTSUPP,
						 "linux.uidMappings: %s has files already, whose "
						 "owners are mapped",
						 upper);
		}
	return 0;
}

static void take_from_root(Containerd__Types__Mount *const *root, size_t nroot)
{
	for (size_t i = 0; i < nroot; i++) {
		Containerd__Types__Mount *mount = root[i];
		size_t kept = 0;
		for (size_t j = 0; j < mount->n_options; j++) {
			if (is_mapping(mount->options[j]))
				free(mount->options[j]); /* it is not the empty string */
			else
				mount->options[kept++] = mount->options[j];
		}
		mount->n_options = kept;
	}
}

static int refuse_unasked(Containerd__Types__Mount *const *root, size_t nroot, struct error *err)
{
	for (size_t i = 0; i < nroot; i++)
		for (size_t j = 0; j < root[i]->n_options; j++)
			if (is_mapping(root[i]->options[j]))
				return error_set(err, EOPNOTSUPP,
						 "the root's option %s is not supported for a "
						 "container without a user namespace",
						 root[i]->options[j]);
	return 0;
}

/* ---------------------------------------------------------------- mounts */

static bool is_idmap(const char *option)
{
	return str_equal(option, "idmap") || str_equal(option, "ridmap");
}

static bool has_idmap(const Grpc__Mount *mount)
{
	for (size_t i = 0; i < mount->n_options; i++)
		if (is_idmap(mount->options[i]))
			return true;
	return false;
}

/* Its files are the host's, and not what the guest has of its own. */
static int refuse_unmapped(const Grpc__Spec *oci, size_t index, const struct mountinfo *info,
			   struct error *err)
{
	_cleanup_(volume_home_done) struct volume_home home = {};
	enum volume_kind kind;
	int r = volume_classify(oci, oci->mounts[index], info, &kind, &home, err);

	if (r < 0 || kind != VOLUME_HOST)
		return r;
	return error_set(err, EOPNOTSUPP,
			 "mounts[%zu].uidMappings (%s) are missing, and the container has "
			 "linux.uidMappings: the guest maps no owners, so its users would be those "
			 "of the host's files",
			 index, oci->mounts[index]->destination);
}

static int check_mount(const Grpc__Spec *oci, size_t index, const struct mountinfo *info,
		       struct error *err)
{
	const Grpc__Mount *mount = oci->mounts[index];
	const struct mappings uids = { mount->uidmappings, mount->n_uidmappings };
	const struct mappings gids = { mount->gidmappings, mount->n_gidmappings };
	const struct mappings own_uids = uids_of(oci->linux), own_gids = gids_of(oci->linux);

	if (uids.count + gids.count == 0)
		return has_idmap(mount) || is_identity(oci->linux)
			       ? 0
			       : refuse_unmapped(oci, index, info, err);
	if (are_equal(&uids, &own_uids) && are_equal(&gids, &own_gids))
		return 0;
	return error_set(err, EOPNOTSUPP,
			 "mounts[%zu].uidMappings and gidMappings (%s) are not those of the "
			 "container: the guest maps no owners",
			 index, mount->destination);
}

static int check_mounts(const Grpc__Spec *oci, struct error *err)
{
	_cleanup_(mountinfo_done) struct mountinfo info = {};
	int r = mountinfo_read(0, &info, err);

	for (size_t i = 0; r == 0 && i < oci->n_mounts; i++)
		r = check_mount(oci, i, &info, err);
	return r;
}

/* ---------------------------------------------------------------- what the guest is told */

static void free_message(ProtobufCMessage *message)
{
	protobuf_c_message_free_unpacked(message, NULL);
}

static void drop_mappings(Grpc__LinuxIDMapping ***items, size_t *count)
{
	for (size_t i = 0; i < *count; i++)
		free_message(&(*items)[i]->base);
	free(steal_ptr(*items));
	*count = 0;
}

static void take_from_mount(Grpc__Mount *mount)
{
	size_t kept = 0;

	drop_mappings(&mount->uidmappings, &mount->n_uidmappings);
	drop_mappings(&mount->gidmappings, &mount->n_gidmappings);
	for (size_t i = 0; i < mount->n_options; i++) {
		if (is_idmap(mount->options[i]))
			free(mount->options[i]);
		else
			mount->options[kept++] = mount->options[i];
	}
	mount->n_options = kept;
}

static void take_namespace(Grpc__Linux *linux)
{
	size_t kept = 0;

	for (size_t i = 0; i < linux->n_namespaces; i++) {
		if (str_equal(linux->namespaces[i]->type, "user"))
			free_message(&linux->namespaces[i]->base);
		else
			linux->namespaces[kept++] = linux->namespaces[i];
	}
	linux->n_namespaces = kept;
	drop_mappings(&linux->uidmappings, &linux->n_uidmappings);
	drop_mappings(&linux->gidmappings, &linux->n_gidmappings);
}

static int check_files(const Grpc__Spec *oci, Containerd__Types__Mount *const *root, size_t nroot,
		       struct error *err)
{
	const struct mappings uids = uids_of(oci->linux), gids = gids_of(oci->linux);
	int r = check_root_ids(root, nroot, UIDMAP, "linux.uidMappings", &uids, err);

	if (r == 0)
		r = check_root_ids(root, nroot, GIDMAP, "linux.gidMappings", &gids, err);
	if (r == 0 && !is_identity(oci->linux))
		r = check_written(root, nroot, err);
	return r == 0 ? check_mounts(oci, err) : r;
}

static int check_mappings(const struct mappings *mappings, const char *field, struct error *err)
{
	if (mappings->count == 0)
		return error_set(err, EINVAL, "%s are missing: the container has a user namespace",
				 field);
	return have_root(mappings)
		       ? 0
		       : error_set(err, EINVAL, "%s have no containerID 0, which is root's", field);
}

int user_namespace_check(const struct spec *spec, struct error *err)
{
	if (!spec_namespace(spec, "user"))
		return 0;

	const struct mappings uids = uids_of(spec->oci->linux), gids = gids_of(spec->oci->linux);
	int r = check_mappings(&uids, "linux.uidMappings", err);

	return r == 0 ? check_mappings(&gids, "linux.gidMappings", err) : r;
}

int user_namespace_take(struct spec *spec, Containerd__Types__Mount *const *root, size_t nroot,
			bool *ret_is_mapped, struct error *err)
{
	Grpc__Spec *oci = spec->oci;
	bool has_one = spec_namespace(spec, "user");
	int r = has_one ? check_files(oci, root, nroot, err) : refuse_unasked(root, nroot, err);

	if (r < 0)
		return r;
	*ret_is_mapped = false;
	if (!has_one)
		return 0;

	*ret_is_mapped = !is_identity(oci->linux);
	take_from_root(root, nroot);
	take_namespace(oci->linux);
	for (size_t i = 0; i < oci->n_mounts; i++)
		take_from_mount(oci->mounts[i]);
	return 0;
}
