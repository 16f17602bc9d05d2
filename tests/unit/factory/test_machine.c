/* The machine definition: placeholders, escaping, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/bake/machine.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

#define PARAMS "a=\"b\" c='d' & e"

static char *dir;
static struct template_definition definition;
static struct template_host host;

static char *put(const char *name, const char *text, size_t len)
{
	char *path = path_join(dir, name);
	assert_int_equal(file_write_atomic(path, text, len, 0600, NULL), 0);
	return path;
}

static int setup(void **state _unused_)
{
	char path[] = "/tmp/kiln-test-machine-XXXXXX";
	assert_non_null(mkdtemp(path));
	dir = xstrdup(path);
	definition = (struct template_definition){
		.machine = put("machine.xml", "", 0),
		.image = put("image,1", "0123456789abcdef", 16),
		.kernel = (char *)"/k/<vmlinux>",
		.initrd = (char *)"/k/initrd",
		.kernel_params = (char *)PARAMS,
		.vcpus = 2,
		.memory_mib = 256,
		.max_memory_mib = 256,
	};
	host = (struct template_host){ .qemu_binary = (char *)"/usr/bin/qemu" };
	return 0;
}

static int teardown(void **state _unused_)
{
	int r = path_remove(dir, NULL);
	free(definition.machine);
	free(definition.image);
	free(dir);
	return r;
}

static int expand(const char *text, char **ret, struct error *err)
{
	struct machine_options options = {
		.definition = &definition,
		.host = &host,
		.id = ID,
		.image = definition.image,
		.agent_socket = "/r/agent.sock",
		.share_dir = "/r/share",
		.console_log = "/r/console.log",
	};

	free(put("machine.xml", text, strlen(text)));
	return machine_xml(&options, ret, err);
}

static void becomes(const char *text, const char *expected)
{
	_cleanup_free_ char *xml = NULL;

	assert_int_equal(expand(text, &xml, NULL), 0);
	assert_string_equal(xml, expected);
}

static void refuses(const char *text, const char *word)
{
	_cleanup_(error_done) struct error err = {};
	char *xml = NULL;

	assert_true(expand(text, &xml, &err) < 0);
	assert_null(xml);
	assert_non_null(strstr(error_message(&err), word));
	assert_non_null(strstr(error_message(&err), "machine.xml"));
}

static void fills_in(void **state _unused_)
{
	becomes("{{name}}", "kiln-template-0123456789ab");
	becomes("{{uuid}}", "01234567-89ab-4def-8123-456789abcdef");
	becomes("{{vcpus}} 0-{{last_vcpu}}", "2 0-1");
	becomes("{{memory_kib}} {{image_bytes}}", "262144 16");
	becomes("{{max_memory_kib}}", "264192");
	becomes("{{emulator}} {{agent_socket}} {{share_dir}} {{console_log}}",
		"/usr/bin/qemu /r/agent.sock /r/share /r/console.log");
}

static void adds_what_can_grow(void **state _unused_)
{
	_cleanup_free_ char *xml = NULL;

	becomes("a{{memory_device}}b", "ab");
	definition.spare_vcpus = 3;
	definition.kernel_params = (char *)"quiet";
	becomes("{{vcpus}} 0-{{last_vcpu}} {{kernel_params}}", "5 0-4 kiln.vcpus=2 quiet");
	definition.debug_console = true;
	becomes("{{kernel_params}}", "kiln.vcpus=2 quiet agent.debug_console");
	definition.debug_console = false;
	definition.max_memory_mib = 512;
	assert_int_equal(expand("{{max_memory_kib}} {{memory_device}}", &xml, NULL), 0);
	assert_non_null(strstr(xml, "526336 <qemu:arg value=\"-object\"/>"));
	assert_non_null(strstr(xml, "memory-backend-ram,id=growth-memory,size=256M\"/>"));
	assert_non_null(strstr(xml, "virtio-mem-pci,id=growth,memdev=growth-memory,"
				    "requested-size=0,"));
	refuses("{{memory_kib}}", "{{memory_device}}");
	definition.share = SHARE_NEVER;
	free(xml);
	assert_int_equal(expand("{{memory_device}}", &xml, NULL), 0);
	assert_non_null(
		strstr(xml, "memory-backend-memfd,share=on,id=growth-memory,size=256M\"/>"));
	definition.share = SHARE_ALWAYS;
	definition.max_memory_mib = 256;
	definition.spare_vcpus = 0;
	definition.kernel_params = (char *)PARAMS;
}

static void as_many_cards_as_wanted(void **state _unused_)
{
	_cleanup_free_ char *xml = NULL;

	becomes("a{{network_cards}}b", "ab");
	definition.network_cards = 2;
	assert_int_equal(expand("{{network_cards}}", &xml, NULL), 0);
	assert_non_null(strstr(xml, "<alias name=\"ua-nic1\"/>"));
	assert_non_null(strstr(xml, "slot=\"0x06\" function=\"0\" multifunction=\"on\"/>"));
	assert_non_null(strstr(xml, "slot=\"0x06\" function=\"1\" multifunction=\"off\"/>"));
	refuses("{{memory_kib}}", "{{network_cards}}");
	assert_non_null(strstr(xml, "<driver name=\"qemu\"/>"));
	free(steal_ptr(xml));
	host.vhost_net = true;
	assert_int_equal(expand("{{network_cards}}", &xml, NULL), 0);
	assert_non_null(strstr(xml, "<driver name=\"vhost\"/>"));
	assert_null(strstr(xml, "qemu"));
	host.vhost_net = false;
	definition.network_cards = 0;
}

static void a_port_for_volumes_where_memory_is_not_shared(void **state _unused_)
{
	_cleanup_free_ char *xml = NULL;

	becomes("a{{volumes_port}}b", "ab");
	definition.share = SHARE_NEVER;
	assert_int_equal(expand("{{volumes_port}}", &xml, NULL), 0);
	assert_non_null(strstr(xml, "\"pcie-root-port,id=volumes-port,"));
	becomes("no port", "no port");
	definition.share = SHARE_ALWAYS;
}

/* Where the machine has no place for it, there is none. */
static void memory_goes_back_where_it_is_wanted(void **state _unused_)
{
	_cleanup_free_ char *xml = NULL;

	becomes("a{{free_page_reporting}}b", "ab");
	definition.free_page_reporting = true;
	becomes("ab", "ab");
	assert_int_equal(expand("{{free_page_reporting}}", &xml, NULL), 0);
	assert_non_null(strstr(xml, "virtio-balloon-pci,id=reporting,free-page-reporting=on,"
				    "page-poison=off,"));
	definition.free_page_reporting = false;
}

static void escapes(void **state _unused_)
{
	_cleanup_free_ char *xml = NULL;

	becomes("<k>{{kernel}}</k>", "<k>/k/&lt;vmlinux&gt;</k>");
	becomes("{{kernel_params}}", "a=&quot;b&quot; c=&apos;d&apos; &amp; e");
	assert_int_equal(expand("{{image}}|{{image_option}}", &xml, NULL), 0);
	assert_non_null(strstr(xml, "/image,1|"));
	assert_non_null(strstr(xml, "/image,,1"));
}

static void follows_the_accelerator(void **state _unused_)
{
	becomes("{{domain_type}} {{cpu_mode}} {{fast_strings}}", "qemu maximum disable");
	host.accelerator = ACCELERATOR_KVM;
	becomes("{{domain_type}} {{cpu_mode}} {{fast_strings}}", "kvm host-passthrough optional");
	host.accelerator = ACCELERATOR_TCG;
}

static void follows_the_channel(void **state _unused_)
{
	_cleanup_free_ char *xml = NULL;

	becomes("a{{vsock}}b", "ab");
	host.channel = CHANNEL_VSOCK;
	assert_int_equal(expand("{{vsock}}", &xml, NULL), 0);
	assert_non_null(strstr(xml, "<cid auto=\"yes\"/>"));
	assert_non_null(strstr(xml, "slot=\"0x04\" function=\"1\"/>"));
	becomes("no vsock", "no vsock");
	host.channel = CHANNEL_SERIAL;
}

static void genid_is_fresh(void **state _unused_)
{
	_cleanup_free_ char *first = NULL;
	_cleanup_free_ char *second = NULL;

	assert_int_equal(expand("{{genid}}", &first, NULL), 0);
	assert_int_equal(expand("{{genid}}", &second, NULL), 0);
	assert_int_equal(strlen(first), 36);
	assert_string_not_equal(first, second);
}

static void refuses_what_it_cannot_fill_in(void **state _unused_)
{
	refuses("{{cpus}}", "{{cpus}}");
	definition.kernel_params = (char *)"a\nb";
	refuses("{{kernel_params}}", "{{kernel_params}}");
	definition.kernel_params = (char *)"";
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fills_in),
		cmocka_unit_test(adds_what_can_grow),
		cmocka_unit_test(as_many_cards_as_wanted),
		cmocka_unit_test(a_port_for_volumes_where_memory_is_not_shared),
		cmocka_unit_test(memory_goes_back_where_it_is_wanted),
		cmocka_unit_test(escapes),
		cmocka_unit_test(follows_the_accelerator),
		cmocka_unit_test(follows_the_channel),
		cmocka_unit_test(genid_is_fresh),
		cmocka_unit_test(refuses_what_it_cannot_fill_in),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
