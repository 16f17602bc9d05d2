/* From the template's argument vector to a clone's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/strings.h"
#include "factory/vm/argv.h"

/* As libvirt 9.0 starts QEMU 7.2 for templates/machine.xml. */
static const char *const machine[] = {
	"/usr/bin/qemu-system-x86_64",
	"-name",
	"guest=kiln-template-0,debug-threads=on",
	"-S",
	"-object",
	"{\"qom-type\":\"secret\",\"id\":\"masterKey0\",\"format\":\"raw\",\"file\":\"/r/k\"}",
	"-machine",
	"pc-q35-7.2,usb=off,vmport=off",
	"-m",
	"size=262144k,slots=1,maxmem=300032k",
	"-object",
	"{\"qom-type\":\"memory-backend-file\",\"id\":\"ram-node0\",\"mem-path\":\"/s/ram\","
	"\"share\":true,\"size\":268435456}",
	"-numa",
	"node,nodeid=0,cpus=0,memdev=ram-node0",
	"-uuid",
	"3d3b1a3e-0000-4000-8000-000000000001",
	"-device",
	"{\"driver\":\"vmgenid\",\"guid\":\"3d3b1a3e-0000-4000-8000-000000000002\",\"id\":\"g0\"}",
	"-no-user-config",
	"-nodefaults",
	"-chardev",
	"socket,id=charmonitor,fd=7,server=on,wait=off",
	"-mon",
	"chardev=charmonitor,id=monitor,mode=control",
	"-no-shutdown",
	"-kernel",
	"/k/vmlinux",
	"-initrd",
	"/k/initrd",
	"-append",
	"-- console=ttyS0",
	"-fsdev",
	"local,security_model=passthrough,id=fsdev-fs0,path=/r/sh,,are",
	"-device",
	"{\"driver\":\"virtio-9p-pci\",\"id\":\"fs0\",\"fsdev\":\"fsdev-fs0\","
	"\"mount_tag\":\"kilnShared\",\"addr\":\"0x3\"}",
	"-fsdev",
	"local,security_model=passthrough,id=fsdev-fs1,path=/r/sh,,are/lower,readonly=on",
	"-device",
	"{\"driver\":\"virtio-9p-pci\",\"id\":\"fs1\",\"fsdev\":\"fsdev-fs1\","
	"\"mount_tag\":\"kilnLower\",\"addr\":\"0x7\"}",
	"-add-fd",
	"set=0,fd=5,opaque=serial0-source",
	"-chardev",
	"file,id=charserial0,path=/dev/fdset/0,append=on",
	"-device",
	"{\"driver\":\"isa-serial\",\"chardev\":\"charserial0\",\"id\":\"serial0\"}",
	"-chardev",
	"socket,id=charchannel0,fd=6,server=on,wait=off",
	"-device",
	"{\"driver\":\"virtserialport\",\"nr\":1,\"chardev\":\"charchannel0\",\"id\":\"channel0\","
	"\"name\":\"org.kiln.agent.0\"}",
	"-object",
	"memory-backend-file,id=image,size=4194304,mem-path=/s/image,share=on,readonly=on",
	"-device",
	"virtio-pmem-pci,id=root,memdev=image,bus=pcie.0,addr=0x5",
	"-netdev",
	"tap,fd=25,id=hostua-nic0",
	"-device",
	"{\"driver\":\"virtio-net-pci\",\"netdev\":\"hostua-nic0\",\"id\":\"ua-nic0\"}",
	"-netdev",
	"{\"type\":\"tap\",\"fd\":\"26\",\"id\":\"hostua-nic1\"}",
	"-netdev",
	"user,id=other",
	"-blockdev",
	"driver=raw,node-name=scratch,file.driver=file,file.filename=/s/scratch",
	"-blockdev",
	"driver=raw,node-name=other,file.driver=file,file.filename=/elsewhere/disk",
	"-sandbox",
	"on,spawn=deny",
	"-msg",
	"timestamp=on",
};

static const struct placeholder files[] = {
	{ "memory", "/store/mem,or\"y" },
	{ "image", "/t/im,age" },
	{ "scratch", "/proc/self/fd/8" },
};

static const struct argv_values values = {
	.files = files,
	.nfiles = ARRAY_SIZE(files),
	.share_dir = "/run/sh,are",
	.agent_fd = "3",
	.qmp_fd = "4",
	.shim_fd = "5",
	.first_tap_fd = 30,
	.taps = 2,
};

static struct strv vector(void)
{
	struct strv argv = {};
	for (size_t i = 0; i < ARRAY_SIZE(machine); i++)
		strv_add(&argv, machine[i]);
	return argv;
}

/* The vector with the argument `old` (NULL: none) replaced. */
static struct strv vector_with(const char *old, const char *replacement)
{
	struct strv argv = {};
	for (size_t i = 0; i < ARRAY_SIZE(machine); i++)
		strv_add(&argv, str_equal(machine[i], old) ? replacement : machine[i]);
	return argv;
}

static const char *argument_with(const struct strv *argv, const char *part)
{
	for (size_t i = 0; i < argv->count; i++)
		if (strstr(argv->items[i], part))
			return argv->items[i];
	return NULL;
}

/* As of a template whose files are all elsewhere. */
static int derive(const struct strv *argv, struct strv *out, struct error *err)
{
	return argv_derive(&(struct argv_template){ .argv = argv, .dir = "/t" }, out, err);
}

static struct strv derived(void)
{
	_cleanup_(strv_done) struct strv argv = vector();
	struct strv out = {};
	assert_int_equal(derive(&argv, &out, NULL), 0);
	return out;
}

static void keeps_devices(void **state _unused_)
{
	_cleanup_(strv_done) struct strv argv = derived();
	static const char *const kept[] = {
		"/usr/bin/qemu-system-x86_64",
		"pc-q35-7.2,usb=off,vmport=off",
		"size=262144k,slots=1,maxmem=300032k",
		"node,nodeid=0,cpus=0,memdev=ram-node0",
		"-nodefaults",
		"{\"driver\":\"isa-serial\",\"chardev\":\"charserial0\",\"id\":\"serial0\"}",
		"memory-backend-file,id=image,size=4194304,mem-path=/s/image,share=on,readonly=on",
		"virtio-pmem-pci,id=root,memdev=image,bus=pcie.0,addr=0x5",
		"{\"driver\":\"virtio-net-pci\",\"netdev\":\"hostua-nic0\",\"id\":\"ua-nic0\"}",
		"user,id=other",
	};

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		assert_true(strv_contains(&argv, kept[i]));
}

static void drops_what_is_not_the_clones(void **state _unused_)
{
	_cleanup_(strv_done) struct strv argv = derived();
	static const char *const gone[] = { "guest=",      "masterKey0", "charmonitor", "-uuid",
					    "-kernel",     "vmlinux",    "-initrd",     "ttyS0",
					    "-msg",        "fdset",      "-add-fd",     "timestamp",
					    "-no-shutdown" };

	for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
		assert_null(argument_with(&argv, gone[i]));
}

static void replaces_what_differs(void **state _unused_)
{
	_cleanup_(strv_done) struct strv argv = derived();
	static const char *const there[] = {
		("{\"qom-type\":\"memory-backend-file\",\"id\":\"ram-node0\","
		 "\"mem-path\":\"{{memory}}\",\"share\":false,\"size\":268435456}"),
		"{\"driver\":\"vmgenid\",\"guid\":\"auto\",\"id\":\"g0\"}",
		"local,security_model=passthrough,id=fsdev-fs0,path={{share_dir}}",
		"local,security_model=passthrough,id=fsdev-fs1,path={{share_dir}}/lower,readonly=on",
		"null,id=charserial0",
		"tap,id=hostua-nic0,fd={{tap_0}},vhost=off",
		"tap,id=hostua-nic1,fd={{tap_1}},vhost=off",
		"socket,id=charchannel0,fd={{agent_fd}},server=on,wait=off",
		"socket,id=kiln-factory,fd={{qmp_fd}},server=on,wait=off",
		"socket,id=kiln-claimer,fd={{shim_fd}},server=on,wait=off",
		"-incoming",
		"defer",
		"-S",
		"-no-reboot",
	};

	for (size_t i = 0; i < ARRAY_SIZE(there); i++)
		assert_true(strv_contains(&argv, there[i]));
}

static void is_stable(void **state _unused_)
{
	_cleanup_(strv_done) struct strv once = derived();
	_cleanup_(strv_done) struct strv twice = {};

	assert_int_equal(derive(&once, &twice, NULL), 0);
	assert_int_equal(once.count, twice.count);
	for (size_t i = 0; i < once.count; i++)
		assert_string_equal(once.items[i], twice.items[i]);
}

static void refuses_foreign_placeholders(void **state _unused_)
{
	_cleanup_(strv_done) struct strv argv = vector_with("pc-q35-7.2,usb=off,vmport=off",
							    "pc,x={{x}}");
	_cleanup_(strv_done) struct strv out = {};
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(derive(&argv, &out, &err), -EINVAL);
	assert_non_null(strstr(error_message(&err), "placeholder"));
}

static void reads_keys_and_values(void **state _unused_)
{
	_cleanup_(strv_done) struct strv argv = vector_with(
		machine[11], "memory-backend-file,id=ram-node0,mem-path=/s/r,,am,share=on,size=1M");
	_cleanup_(strv_done) struct strv out = {};
	_cleanup_free_ char *path = NULL;

	assert_int_equal(argv_memory_path(&argv, &path, NULL), 0);
	assert_string_equal(path, "/s/r,am");
	assert_int_equal(derive(&argv, &out, NULL), 0);
	assert_true(strv_contains(
		&out, "memory-backend-file,id=ram-node0,mem-path={{memory}},share=off,size=1M"));
}

static void refuses(const char *old, const char *replacement, const char *word)
{
	_cleanup_(strv_done) struct strv argv = vector_with(old, replacement);
	_cleanup_(strv_done) struct strv out = {};
	_cleanup_(error_done) struct error err = {};

	assert_int_equal(derive(&argv, &out, &err), -EINVAL);
	assert_int_equal(out.count, 0);
	if (!strstr(error_message(&err), word))
		fail_msg("\"%s\" does not say \"%s\"", error_message(&err), word);
}

static void refuses_what_cannot_be_cloned(void **state _unused_)
{
	refuses(machine[13], "node,nodeid=0,memdev=other", "not a file");
	refuses(machine[13], "node,nodeid=0,cpus=0", "no backend");
	refuses(machine[11], "memory-backend-memfd,id=ram-node0,share=on,size=1M", "not a file");
	refuses(machine[11], "{\"qom-type\":", "not a QEMU option");
	refuses(machine[13], "", "not a QEMU option");
	refuses("local,security_model=passthrough,id=fsdev-fs0,path=/r/sh,,are",
		"local,id=another,path=/", "not the share");
	refuses("socket,id=charchannel0,fd=6,server=on,wait=off", "socket,fd=6", "no id");
}

static void refuses_a_vsock_without_a_place(void **state _unused_)
{
	refuses(machine[17], "{\"driver\":\"vhost-vsock-pci\",\"guest-cid\":3}", "no id");
}

static void needs_agent_and_share(void **state _unused_)
{
	for (size_t i = 0; i < ARRAY_SIZE(machine); i++) {
		if (strstr(machine[i], "org.kiln.agent.0"))
			refuses(machine[i], "virtio-rng-pci", "org.kiln.agent.0");
		if (strstr(machine[i], "kilnShared"))
			refuses(machine[i], "virtio-rng-pci", "kilnShared");
	}
}

static void expands_and_escapes(void **state _unused_)
{
	_cleanup_(strv_done) struct strv argv = derived();
	_cleanup_(strv_done) struct strv out = {};

	assert_int_equal(argv_expand(&argv, &values, &out, NULL), 0);
	assert_int_equal(out.count, argv.count);
	assert_null(argument_with(&out, "{{"));
	assert_true(strv_contains(&out,
				  "{\"qom-type\":\"memory-backend-file\",\"id\":\"ram-node0\","
				  "\"mem-path\":\"/store/mem,or\\\"y\",\"share\":false,"
				  "\"size\":268435456}"));
	assert_true(strv_contains(
		&out, "local,security_model=passthrough,id=fsdev-fs0,path=/run/sh,,are"));
	assert_true(strv_contains(&out, "socket,id=kiln-factory,fd=4,server=on,wait=off"));
	assert_true(strv_contains(&out, "tap,id=hostua-nic1,fd=31,vhost=off"));
}

static void expand_fails(const char *item, const struct argv_values *with, const char *word)
{
	_cleanup_(strv_done) struct strv argv = {};
	_cleanup_(strv_done) struct strv out = {};
	_cleanup_(error_done) struct error err = {};

	strv_add(&argv, item);
	assert_int_equal(argv_expand(&argv, with, &out, &err), -EINVAL);
	assert_non_null(strstr(error_message(&err), word));
	assert_int_equal(out.count, 0);
}

#define VSOCK                                                                                      \
	"{\"driver\":\"vhost-vsock-pci\",\"id\":\"vsock0\",\"guest-cid\":3,\"vhostfd\":\"27\","    \
	"\"bus\":\"pcie.0\",\"addr\":\"0x4.0x1\"}"

/* No two machines have one context id, and a descriptor of libvirt's is nobody else's. */
static void each_has_a_context_id_of_its_own(void **state _unused_)
{
	_cleanup_(strv_done) struct strv argv = vector(), without = derived();
	_cleanup_(strv_done) struct strv out = {}, expanded = {};
	_cleanup_(error_done) struct error err = {};
	struct argv_values with = values;

	assert_false(argv_has_vsock(&without));
	strv_add(&argv, "-device");
	strv_add(&argv, VSOCK);
	assert_int_equal(derive(&argv, &out, NULL), 0);
	assert_true(argv_has_vsock(&out));
	assert_int_equal(argv_expand(&out, &with, &expanded, &err), -EINVAL);
	assert_non_null(strstr(error_message(&err), "{{guest_cid}}"));
	with.guest_cid = "4294967294";
	with.vhost_fd = "40";
	assert_int_equal(argv_expand(&out, &with, &expanded, NULL), 0);
	assert_true(strv_contains(&expanded,
				  "driver=vhost-vsock-pci,id=vsock0,bus=pcie.0,addr=0x4.0x1,"
				  "guest-cid=4294967294,vhostfd=40"));
}

/* Each card that had it in the template has it in a clone, on a descriptor of the clone's. */
static void cards_have_vhost_net_as_the_templates(void **state _unused_)
{
	_cleanup_(strv_done) struct strv argv = vector_with(
		"{\"type\":\"tap\",\"fd\":\"26\",\"id\":\"hostua-nic1\"}",
		"{\"type\":\"tap\",\"fd\":\"26\",\"vhost\":true,"
		"\"vhostfd\":\"28\",\"id\":\"hostua-nic1\"}");
	_cleanup_(strv_done) struct strv out = {}, expanded = {}, without = derived();
	struct argv_values with = values;

	assert_false(argv_has_vhost_net(&without));
	assert_int_equal(derive(&argv, &out, NULL), 0);
	assert_true(argv_has_vhost_net(&out));
	assert_true(strv_contains(&out, "tap,id=hostua-nic0,fd={{tap_0}},vhost=off"));
	assert_true(strv_contains(
		&out, "tap,id=hostua-nic1,fd={{tap_1}},vhost=on,vhostfd={{vhost_net_1}}"));
	with.first_vhost_net_fd = 41;
	assert_int_equal(argv_expand(&out, &with, &expanded, NULL), 0);
	assert_true(strv_contains(&expanded, "tap,id=hostua-nic1,fd=31,vhost=on,vhostfd=42"));
}

static void refuses_odd_placeholders(void **state _unused_)
{
	const struct placeholder nothing = { "memory", NULL };
	const struct argv_values none = { .files = &nothing, .nfiles = 1 };
	const struct placeholder odd = { "memory", "\xff" };
	const struct argv_values not_text = { .files = &odd, .nfiles = 1 };

	expand_fails("path={{secret}}", &values, "{{secret}}");
	expand_fails("path={{memory}}", &none, "{{memory}}");
	expand_fails("{\"path\":\"{{memory}}\"}", &not_text, "{{memory}}");
}

static void the_templates_files_are_placeholders(void **state _unused_)
{
	_cleanup_(strv_done) struct strv argv = vector();
	_cleanup_(strv_done) struct strv out = {}, expanded = {};
	_cleanup_(error_done) struct error err = {};
	struct argv_template template = { .argv = &argv, .dir = "/s", .copied = true };

	strv_add(&argv, "-object");
	strv_add(&argv, "memory-backend-file,id=image1,mem-path=/s/images/1,readonly=on");
	strv_add(&argv, "-object");
	strv_add(&argv, "memory-backend-file,id=other,mem-path=/sister/images/1");
	assert_int_equal(argv_derive(&template, &out, NULL), 0);
	assert_true(strv_contains(&out,
				  "memory-backend-file,id=image,size=4194304,mem-path={{image}},"
				  "share=on,readonly=on"));
	assert_true(strv_contains(
		&out, "memory-backend-file,id=image1,mem-path={{images_1}},readonly=on"));
	assert_true(strv_contains(&out, "memory-backend-file,id=other,mem-path=/sister/images/1"));
	assert_true(strv_contains(&out, "driver=raw,node-name=scratch,file.driver=file,"
					"file.filename={{scratch}}"));
	assert_true(strv_contains(&out, "driver=raw,node-name=other,file.driver=file,"
					"file.filename=/elsewhere/disk"));
	/* A copy of its own takes what the guest writes. */
	assert_true(strv_contains(&out,
				  "{\"qom-type\":\"memory-backend-file\",\"id\":\"ram-node0\","
				  "\"mem-path\":\"{{memory}}\",\"share\":true,"
				  "\"size\":268435456}"));
	assert_int_equal(argv_expand(&out, &values, &expanded, &err), -EINVAL);
	assert_non_null(strstr(error_message(&err), "{{images_1}}"));
	template.dir = "/nowhere";
	strv_done(&out);
	out = (struct strv){};
	assert_int_equal(argv_derive(&template, &out, NULL), 0);
	assert_int_equal(argv_expand(&out, &values, &expanded, NULL), 0);
}

static void leaves_other_braces(void **state _unused_)
{
	static const char *const plain[] = { "{{", "{{}}", "{{memory}", "{{Memory}}",
					     "{\"a\":{}}" };
	_cleanup_(strv_done) struct strv argv = {};
	_cleanup_(strv_done) struct strv out = {};

	for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
		strv_add(&argv, plain[i]);
	strv_add(&argv, "{{{memory}}}");
	assert_int_equal(argv_expand(&argv, &values, &out, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
		assert_string_equal(out.items[i], plain[i]);
	assert_string_equal(out.items[ARRAY_SIZE(plain)], "{/store/mem,or\\\"y}");
}

static void refuses_an_empty_vector(void **state _unused_)
{
	const struct strv none = {};
	_cleanup_(strv_done) struct strv out = {};

	assert_int_equal(derive(&none, &out, NULL), -EINVAL);
}

/* ---- a booted machine */

static struct strv growing_vector(void)
{
	struct strv argv = vector_with("-- console=ttyS0", "kiln.vcpus=1 -- console=ttyS0");
	static const char *const more[] = {
		"-smp",    "2,sockets=2,cores=1,threads=1",
		"-object", "memory-backend-ram,id=growth-memory,size=256M",
		"-device", "virtio-mem-pci,id=growth,memdev=growth-memory,requested-size=0",
	};

	for (size_t i = 0; i < ARRAY_SIZE(more); i++)
		strv_add(&argv, more[i]);
	return argv;
}

static void clone_keeps_what_it_grows_by(void **state _unused_)
{
	_cleanup_(strv_done) struct strv argv = growing_vector();
	_cleanup_(strv_done) struct strv out = {};

	assert_int_equal(derive(&argv, &out, NULL), 0);
	assert_true(strv_contains(&out, "2,sockets=2,cores=1,threads=1"));
	assert_non_null(argument_with(&out, "virtio-mem-pci"));
	assert_non_null(argument_with(&out, "growth-memory,size"));
}

static void boots_at_any_size(void **state _unused_)
{
	static const char *const there[] = {
		"/k/vmlinux",
		"/k/initrd",
		"-- console=ttyS0",
		"-smp",
		"2",
		"node,nodeid=0,cpus=0-1,memdev=ram-node0",
		"memory-backend-ram,id=ram-node0,size=614400k",
		"size=614400k,slots=1,maxmem=652288k",
		("memory-backend-file,id=image,size=4194304,mem-path=/t/im,,age,share=on,"
		 "readonly=on"),
		"{\"driver\":\"vmgenid\",\"guid\":\"auto\",\"id\":\"g0\"}",
		"socket,id=kiln-claimer,fd=5,server=on,wait=off",
		"-no-reboot",
		"-sandbox",
	};
	static const char *const gone[] = { "-incoming",  "defer",     "growth", "virtio-mem",
					    "kiln.vcpus", "sockets=2", "{{",     "mem,or" };
	_cleanup_(strv_done) struct strv argv = growing_vector();
	_cleanup_(strv_done) struct strv derived_argv = {}, out = {};
	struct argv_template template = { .argv = &argv, .dir = "/s" };
	struct argv_values sized = values;
	uint64_t room_kib = 0;

	sized.vcpus = "2";
	sized.last_vcpu = "1";
	sized.memory_kib = "614400";
	sized.max_memory_kib = "652288";
	assert_int_equal(argv_derive_boot(&template, &derived_argv, &room_kib, NULL), 0);
	assert_int_equal(room_kib, 300032 - 262144);
	assert_int_equal(argv_expand(&derived_argv, &sized, &out, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(there); i++)
		if (!strv_contains(&out, there[i]))
			fail_msg("no %s", there[i]);
	for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
		assert_null(argument_with(&out, gone[i]));
	assert_false(strv_contains(&out, "-S"));

	template.copied = true;
	strv_done(&derived_argv);
	assert_int_equal(argv_derive_boot(&template, &derived_argv, &room_kib, NULL), 0);
	assert_true(strv_contains(
		&derived_argv, "memory-backend-memfd,share=on,id=ram-node0,size={{memory_kib}}k"));
}

static void refuses_boot(const char *old, const char *replacement, const char *word)
{
	_cleanup_(strv_done) struct strv argv = vector_with(old, replacement);
	_cleanup_(strv_done) struct strv out = {};
	_cleanup_(error_done) struct error err = {};
	const struct argv_template template = { .argv = &argv, .dir = "/t" };
	uint64_t room_kib;

	assert_int_equal(argv_derive_boot(&template, &out, &room_kib, &err), -EINVAL);
	assert_int_equal(out.count, 0);
	if (!strstr(error_message(&err), word))
		fail_msg("\"%s\" does not say \"%s\"", error_message(&err), word);
}

static void refuses_what_cannot_be_booted(void **state _unused_)
{
	refuses_boot("size=262144k,slots=1,maxmem=300032k", "256", "maxmem");
	refuses_boot("size=262144k,slots=1,maxmem=300032k", "size=300k,maxmem=200k", "maxmem");
	refuses_boot("size=262144k,slots=1,maxmem=300032k", "size=1G,maxmem=2G", "maxmem");
	refuses_boot("/k/vmlinux", "/k/{{x}}", "placeholder");
	refuses_boot("-kernel", "-xkernel", "no -kernel");
	refuses_boot("node,nodeid=0,cpus=0,memdev=ram-node0", "node,memdev=other", "not a file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_devices),
		cmocka_unit_test(drops_what_is_not_the_clones),
		cmocka_unit_test(replaces_what_differs),
		cmocka_unit_test(is_stable),
		cmocka_unit_test(refuses_foreign_placeholders),
		cmocka_unit_test(reads_keys_and_values),
		cmocka_unit_test(refuses_what_cannot_be_cloned),
		cmocka_unit_test(needs_agent_and_share),
		cmocka_unit_test(expands_and_escapes),
		cmocka_unit_test(each_has_a_context_id_of_its_own),
		cmocka_unit_test(cards_have_vhost_net_as_the_templates),
		cmocka_unit_test(refuses_a_vsock_without_a_place),
		cmocka_unit_test(refuses_odd_placeholders),
		cmocka_unit_test(the_templates_files_are_placeholders),
		cmocka_unit_test(leaves_other_braces),
		cmocka_unit_test(refuses_an_empty_vector),
		cmocka_unit_test(clone_keeps_what_it_grows_by),
		cmocka_unit_test(boots_at_any_size),
		cmocka_unit_test(refuses_what_cannot_be_booted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
