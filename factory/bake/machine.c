#include "factory/bake/machine.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/id.h"
#include "base/memory.h"
#include "base/strings.h"
#include "factory/base/layout.h"
#include "factory/guest/carried_device.h"
#include "factory/guest/dax_window.h"
#include "factory/guest/disks.h"
#include "factory/guest/guest_volumes.h"
#include "factory/guest/network_cards.h"
#include "factory/store/device_files.h"
#include "factory/vm/argv.h"
#include "factory/vm/growth.h"
#include "factory/vm/placeholder.h"
#include "factory/vm/qemu_option.h"
#include "proto/guest_disks.h"

#define XML_SIZE_MAX        (1u << 20)
#define MEMORY_DEVICE       "{{memory_device}}"
#define IMAGE_DEVICES       "{{image_devices}}"
#define DISKS               "{{disks}}"
#define VOLUMES             "{{volumes_port}}"
#define NETWORK_CARDS_PLACE "{{network_cards}}"
#define VSOCK               "{{vsock}}"
#define REPORTING           "{{free_page_reporting}}"
#define PMEM_ALIGN          (2u << 20) /* virtio-pmem is placed at a multiple of it */

/* A control character cannot stand in XML in any way. */
static int escape_xml(struct strbuf *out, const char *value)
{
	for (; *value; value++) {
		switch (*value) {
		case '&':
			strbuf_adds(out, "&amp;");
			break;
		case '<':
			strbuf_adds(out, "&lt;");
			break;
		case '>':
			strbuf_adds(out, "&gt;");
			break;
		case '"':
			strbuf_adds(out, "&quot;");
			break;
		case '\'':
			strbuf_adds(out, "&apos;");
			break;
		default:
			if ((unsigned char)*value < ' ')
				return -EILSEQ;
			strbuf_add(out, value, 1);
		}
	}
	return 0;
}

static char *number(uint64_t value)
{
	return xasprintf("%" PRIu64, value);
}

/* 32 hex digits in the form of a UUID (version 4, its variant). */
static char *uuid_from_hex(const char *hex)
{
	return xasprintf("%.8s-%.4s-4%.3s-8%.3s-%.12s", hex, hex + 8, hex + 13, hex + 17, hex + 20);
}

static int image_size(const char *path, uint64_t *ret_bytes, struct error *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return error_set_errno(err, errno, "cannot read the root image %s", path);
	*ret_bytes = (uint64_t)st.st_size;
	return 0;
}

static char *double_commas(const char *text)
{
	_cleanup_(strbuf_done) struct strbuf out = {};

	(void)qemu_option_escape_comma(&out, text);
	return strbuf_steal(&out);
}

/* It comes first, so that it begins where the guest's blocks of memory do: others leave parts of
 * blocks behind, which cannot be used. */
static char *memory_device(const struct template_definition *definition)
{
	uint64_t growth = definition->max_memory_mib - definition->memory_mib;

	if (growth == 0)
		return xstrdup("");
	return xasprintf("<qemu:arg value=\"-object\"/>\n"
			 "    <qemu:arg value=\"%s,id=growth-memory,size=%" PRIu64 "M\"/>\n"
			 "    <qemu:arg value=\"-device\"/>\n"
			 "    <qemu:arg value=\"virtio-mem-pci,id=" GROWTH_DEVICE
			 ",memdev=growth-memory,requested-size=0,block-size=2M,bus=pcie.0,"
			 "addr=0x1e\"/>",
			 definition->share == SHARE_NEVER ? ARGV_OWN_MEMORY : "memory-backend-ram",
			 growth);
}

/* Where the memory is a clone's own, a device that works on it from another process can be plugged
 * in; others do without the port, which every clone would pay for. */
static char *volumes_port(const struct template_definition *definition)
{
	if (definition->share != SHARE_NEVER)
		return xstrdup("");
	return xstrdup("<qemu:arg value=\"-device\"/>\n"
		       "    <qemu:arg value=\"pcie-root-port,id=" VOLUMES_PORT
		       ",chassis=1,slot=1,bus=pcie.0,addr=0x1\"/>");
}

/* A clone drops its copy of a page that was reported, and has the template's in its place. So the
 * device does not promise what will be in it (page-poison), and a kernel that relies on that
 * (init_on_free, page_poison) reports nothing. */
static char *reporting(const struct template_definition *definition)
{
	if (!definition->free_page_reporting)
		return xstrdup("");
	return xstrdup("<qemu:arg value=\"-device\"/>\n"
		       "    <qemu:arg value=\"virtio-balloon-pci,id=reporting,"
		       "free-page-reporting=on,page-poison=off,bus=pcie.0,"
		       "addr=0x1f.0x1\"/>"); /* a free function of the ISA bridge's device */
}

/* libvirt makes the tap that is behind a card while the template boots, in the network namespace of
 * kiln-libvirt, and so the guest's driver agrees to what taps can do: a clone has one, too. The
 * same holds of vhost-net, where the host has it: with others than the template had, a clone would
 * have a driver that has agreed to what its card cannot do. */
static char *network_cards(const struct machine_options *options)
{
	const struct template_definition *definition = options->definition;
	const char *driver = options->host->vhost_net ? "vhost" : "qemu";
	_cleanup_(strbuf_done) struct strbuf out = {};

	for (size_t i = 0; i < definition->network_cards; i++)
		strbuf_addf(&out,
			    "<interface type=\"ethernet\">\n"
			    "      <mac address=\"02:6b:69:6c:6e:%02zx\"/>\n"
			    "      <model type=\"virtio\"/>\n"
			    "      <driver name=\"%s\"/>\n"
			    "      <rom enabled=\"no\"/>\n"
			    "      <alias name=\"" NETWORK_CARD_DEVICE "\"/>\n"
			    "      <address type=\"pci\" domain=\"0\" bus=\"0\" slot=\"0x%02x\" "
			    "function=\"%zu\" multifunction=\"%s\"/>\n"
			    "    </interface>\n    ",
			    i, driver, i, NETWORK_CARD_PCI_SLOT, i,
			    i == 0 && definition->network_cards > 1 ? "on" : "off");
	return xstrdup(strbuf_text(&out));
}

/* libvirt takes a context id that is free; each clone gets one of its own (factory/vm/guest_cid.h).
 * All slots have a use: it shares the random number generator's. */
static char *vsock(const struct template_host *host)
{
	if (host->channel != CHANNEL_VSOCK)
		return xstrdup("");
	return xstrdup("<vsock model=\"virtio\">\n"
		       "      <cid auto=\"yes\"/>\n"
		       "      <address type=\"pci\" domain=\"0\" bus=\"0\" slot=\"0x04\" "
		       "function=\"1\"/>\n"
		       "    </vsock>");
}

static char *kernel_params(const struct template_definition *definition)
{
	_cleanup_free_ char *params = template_kernel_params(definition);

	if (definition->spare_vcpus == 0)
		return steal_ptr(params);
	return xasprintf(GROWTH_VCPUS_PARAM "%" PRIu64 " %s", definition->vcpus, params);
}

/* A virtio-pmem device over a file. Paths are written for an option of QEMU's first, then for XML.
 */
static int add_pmem(struct strbuf *out, const char *path, uint64_t bytes, const char *backend,
		    const char *device, const char *address)
{
	_cleanup_free_ char *option = double_commas(path);

	strbuf_addf(out,
		    "<qemu:arg value=\"-object\"/>\n"
		    "<qemu:arg value=\"memory-backend-file,id=%s,size=%" PRIu64
		    ",share=on,readonly=on,mem-path=",
		    backend, bytes);
	int r = escape_xml(out, option);
	strbuf_addf(out,
		    "\"/>\n<qemu:arg value=\"-device\"/>\n"
		    "<qemu:arg value=\"virtio-pmem-pci,id=%s,memdev=%s,bus=pcie.0,addr=%s\"/>\n",
		    device, backend, address);
	return r;
}

static int add_image_device(struct strbuf *out, const struct machine_options *options, size_t index,
			    uint64_t bytes)
{
	_cleanup_free_ char *path = carried_path(options->dir, index);
	_cleanup_free_ char *backend = xasprintf("image%zu", index);
	_cleanup_free_ char *device = xasprintf("carried%zu", index);
	_cleanup_free_ char *address = xasprintf("0x%zx", CARRIED_PCI_SLOT + index);

	return add_pmem(out, path, bytes, backend, device, address);
}

static int add_window(struct strbuf *out, const struct machine_options *options, size_t index,
		      uint64_t bytes)
{
	_cleanup_free_ char *path = device_file_window(options->dir, index);
	_cleanup_free_ char *backend = xasprintf("window%zu", index);
	_cleanup_free_ char *device = xasprintf("dax%zu", index);
	_cleanup_free_ char *address = xasprintf("0x%x.0x%zx", DAX_WINDOW_PCI_SLOT,
						 DAX_WINDOW_PCI_FUNCTION + index);

	return add_pmem(out, path, bytes, backend, device, address);
}

static int image_devices(const struct machine_options *options, char **ret_text,
			 uint64_t *ret_bytes, struct error *err)
{
	const struct carried *images = &options->definition->images;
	_cleanup_(strbuf_done) struct strbuf out = {};

	*ret_bytes = 0;
	for (size_t i = 0; i < images->count; i++) {
		*ret_bytes += images->items[i].bytes + PMEM_ALIGN;
		if (add_image_device(&out, options, i, images->items[i].bytes) < 0)
			return error_set(err, EINVAL, "the path %s cannot be written in XML",
					 options->dir);
	}
	for (size_t i = 0; i < options->definition->dax_windows; i++) {
		uint64_t bytes = options->definition->dax_window_mib << 20;
		*ret_bytes += bytes + PMEM_ALIGN;
		if (add_window(&out, options, i, bytes) < 0)
			return error_set(err, EINVAL, "the path %s cannot be written in XML",
					 options->dir);
	}
	*ret_text = xstrdup(out.len > 0 ? out.text : "");
	return 0;
}

/* A node named `name` over a file in the template's folder, and its disk. QEMU's locks on the file
 * are left out, for a clone opens it through /proc. An error of the host's is the guest's: no
 * machine stops for it. */
static int add_disk(struct strbuf *out, const struct machine_options *options, const char *name,
		    const char *serial, const char *file, unsigned pci_slot,
		    const char *node_options)
{
	_cleanup_free_ char *path = path_join(options->dir, file);
	_cleanup_free_ char *option = double_commas(path);

	strbuf_addf(
		out,
		"<qemu:arg value=\"-blockdev\"/>\n"
		"<qemu:arg value=\"driver=raw,node-name=%s,%s,file.driver=file,file.locking=off,"
		"file.filename=",
		name, node_options);
	int r = escape_xml(out, option);
	strbuf_addf(
		out,
		"\"/>\n<qemu:arg value=\"-device\"/>\n"
		"<qemu:arg value=\"virtio-blk-pci,id=disk-%s,drive=%s,serial=%s,num-queues=1,ioeventfd=off,"
		"werror=report,rerror=report,bus=pcie.0,addr=0x%x\"/>\n",
		name, name, serial, pci_slot);
	return r;
}

static int disks(const struct machine_options *options, char **ret_text, struct error *err)
{
	const struct template_definition *definition = options->definition;
	_cleanup_(strbuf_done) struct strbuf out = {};
	int r = 0;

	if (definition->scratch_mib > 0)
		r = add_disk(&out, options, DISKS_SCRATCH, GUEST_DISK_SCRATCH, DISKS_SCRATCH,
			     DISKS_PCI_SLOT,
			     "discard=unmap,cache.no-flush=on,file.discard=unmap,"
			     "file.cache.no-flush=on");
	for (unsigned i = 0; r == 0 && i < definition->block_slots; i++) {
		_cleanup_free_ char *name = xasprintf(DISKS_SLOT_NODE, (size_t)i);
		_cleanup_free_ char *serial = xasprintf(GUEST_DISK_SLOT, (size_t)i);
		r = add_disk(&out, options, name, serial, DISKS_SLOT, DISKS_PCI_SLOT + 1 + i,
			     "read-only=on,file.read-only=on");
	}
	if (r < 0)
		return error_set(err, EINVAL, "the path %s cannot be written in XML", options->dir);
	*ret_text = xstrdup(strbuf_text(&out));
	return 0;
}

/* room: what all images take up in the guest's address space. */
static int fill_in(const struct machine_options *options, const char *text, uint64_t image_bytes,
		   uint64_t room, char **ret_xml, struct error *err)
{
	const struct template_definition *definition = options->definition;
	bool kvm = options->host->accelerator == ACCELERATOR_KVM;
	uint64_t memory_kib = definition->memory_mib * 1024;
	uint64_t max_memory_kib = definition->max_memory_mib * 1024;
	uint64_t all_vcpus = definition->vcpus + definition->spare_vcpus;
	char random[ID_HEX_SIZE];

	id_random_hex(random);
	_cleanup_free_ char *name = xasprintf(LAYOUT_DOMAIN_PREFIX "%.*s", MACHINE_SHORT_ID,
					      options->id);
	_cleanup_free_ char *uuid = uuid_from_hex(options->id);
	_cleanup_free_ char *genid = uuid_from_hex(random);
	_cleanup_free_ char *vcpus = number(all_vcpus);
	_cleanup_free_ char *last_vcpu = number(all_vcpus - 1);
	_cleanup_free_ char *memory = number(memory_kib);
	_cleanup_free_ char *max_memory = number(max_memory_kib + room / 1024);
	_cleanup_free_ char *params = kernel_params(definition);
	_cleanup_free_ char *image = number(image_bytes);
	_cleanup_free_ char *image_option = double_commas(options->image);
	const struct placeholder values[] = {
		{ "domain_type", kvm ? "kvm" : "qemu" },
		{ "cpu_mode", kvm ? "host-passthrough" : "maximum" },
		{ "fast_strings", kvm ? "optional" : "disable" },
		{ "name", name },
		{ "uuid", uuid },
		{ "genid", genid },
		{ "emulator", options->host->qemu_binary },
		{ "vcpus", vcpus },
		{ "last_vcpu", last_vcpu },
		{ "memory_kib", memory },
		{ "max_memory_kib", max_memory },
		{ "kernel", definition->kernel },
		{ "initrd", definition->initrd },
		{ "kernel_params", params },
		{ "image", options->image },
		{ "image_bytes", image },
		{ "image_option", image_option },
		{ "agent_socket", options->agent_socket },
		{ "share_dir", options->share_dir },
		{ "console_log", options->console_log },
	};

	return placeholder_expand(text, values, ARRAY_SIZE(values), escape_xml, ret_xml, err);
}

/* Markup, so it is put in before the values are, which are escaped. What it is for is told where
 * the definition of the machine has no place for it. */
static int insert_markup(char **text, const char *place, const char *markup, const char *purpose,
			 struct error *err)
{
	const char *at = strstr(*text, place);

	if (!at && !str_empty(markup))
		return error_set(err, EINVAL, "%s needs %s in it", purpose, place);
	if (at) {
		char *whole = xasprintf("%.*s%s%s", (int)(at - *text), *text, markup,
					at + strlen(place));
		free(*text);
		*text = whole;
	}
	return 0;
}

/* ret_bytes: the room that the images need in the guest's address space. */
static int insert_devices(const struct machine_options *options, char **text, uint64_t *ret_bytes,
			  struct error *err)
{
	_cleanup_free_ char *memory = memory_device(options->definition);
	_cleanup_free_ char *port = volumes_port(options->definition);
	_cleanup_free_ char *cards = network_cards(options);
	_cleanup_free_ char *channel = vsock(options->host);
	_cleanup_free_ char *balloon = reporting(options->definition);
	_cleanup_free_ char *images = NULL, *disk_devices = NULL;

	int r = insert_markup(text, MEMORY_DEVICE, memory, "max_memory_mib", err);
	if (r == 0)
		r = insert_markup(text, VOLUMES, strstr(*text, VOLUMES) ? port : "", "virtio-fs",
				  err);
	if (r == 0)
		r = insert_markup(text, VSOCK, strstr(*text, VSOCK) ? channel : "", "vsock", err);
	if (r == 0)
		r = insert_markup(text, REPORTING, strstr(*text, REPORTING) ? balloon : "",
				  "free_page_reporting", err);
	if (r == 0)
		r = insert_markup(text, NETWORK_CARDS_PLACE, cards,
				  "network_cards of the template (0: none)", err);
	if (r == 0)
		r = disks(options, &disk_devices, err);
	if (r == 0)
		r = insert_markup(text, DISKS, disk_devices,
				  "scratch_mib or block_slots of the template (0: none)", err);
	if (r == 0)
		r = image_devices(options, &images, ret_bytes, err);
	return r < 0 ? r
		     : insert_markup(text, IMAGE_DEVICES, images,
				     "images or dax_windows of the template (0: none)", err);
}

int machine_xml(const struct machine_options *options, char **ret_xml, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	uint64_t image_bytes = 0, carried_bytes = 0;

	int r = file_read(options->definition->machine, XML_SIZE_MAX, &text, NULL, err);
	if (r == 0)
		r = insert_devices(options, &text, &carried_bytes, err);
	if (r == 0)
		r = image_size(options->image, &image_bytes, err);
	if (r == 0)
		r = fill_in(options, text, image_bytes, image_bytes + PMEM_ALIGN + carried_bytes,
			    ret_xml, err);
	return r < 0 ? error_wrap(err, "machine definition %s", options->definition->machine) : 0;
}
