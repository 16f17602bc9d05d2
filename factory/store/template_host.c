#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/spawn.h"
#include "factory/store/template.h"
#include "factory/store/template_priv.h"

#define CPUINFO     "/proc/cpuinfo"
#define CPUINFO_MAX (16 * 1024 * 1024) /* some thousand processors */
#define KVM_DEVICE  "/dev/kvm"
/* Anybody can see whether a module is loaded; only root opens its device. */
#define VSOCK_CLASS      "/sys/class/misc/vhost-vsock"
#define VSOCK_DEVICE     "/dev/vhost-vsock"
#define VHOST_NET_CLASS  "/sys/class/misc/vhost-net"
#define VHOST_NET_DEVICE "/dev/vhost-net"
#define QEMU_DEFAULT     "qemu-system-x86_64"
#define QEMU_PACKAGE     "install Debian's package qemu-system-x86"
#define PATH_DEFAULT     "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const char *const accelerator_names[] = {
	[ACCELERATOR_TCG] = "tcg",
	[ACCELERATOR_KVM] = "kvm",
};
DEFINE_STRING_TABLE(accelerator, enum accelerator, accelerator_names)

static const char *const channel_names[] = {
	[CHANNEL_SERIAL] = "serial",
	[CHANNEL_VSOCK] = "vsock",
};
DEFINE_STRING_TABLE(channel, enum channel, channel_names)

/* The value of a "key<blanks>: value" line, copied to its end of line, or NULL. */
static char *cpuinfo_value(const char *line, const char *key)
{
	const char *rest = str_after(line, key);

	if (!rest)
		return NULL;
	rest += strspn(rest, " \t");
	if (*rest != ':')
		return NULL;
	rest += 1;
	rest += strspn(rest, " \t");
	return xstrndup(rest, strcspn(rest, "\n"));
}

static bool has_word(const char *text, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = text; (at = strstr(at, word)); at += len) {
		if ((at == text || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0'))
			return true;
	}
	return false;
}

/* Only the first processor's block is read: those of one host do not differ in what counts. */
void cpu_facts_parse(const char *cpuinfo, struct cpu_facts *ret)
{
	_cleanup_free_ char *name = NULL, *flags = NULL;
	char hex[DIGEST_HEX_SIZE];

	for (const char *line = cpuinfo; line && *line && *line != '\n';) {
		if (!name)
			name = cpuinfo_value(line, "model name");
		if (!flags)
			flags = cpuinfo_value(line, "flags");
		line = strchr(line, '\n');
		if (line)
			line++;
	}

	_cleanup_(digest_free_cleanup) struct digest *d = digest_new();
	digest_add_string(d, flags ?: "");
	digest_finish(d, hex);
	ret->virtualization = flags && (has_word(flags, "vmx") || has_word(flags, "svm"));
	ret->model = xasprintf("%s, flags %.12s", name ?: "unknown processor", hex);
}

static int kvm_open(struct error *err)
{
	_cleanup_close_ int fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot open " KVM_DEVICE);
	return 0;
}

/* Machines are users of their own, in the device's group: kiln-jailer, which is root, must not take
 * for usable what they cannot open. */
static int kvm_try(struct error *err)
{
	struct stat st;

	if (stat(KVM_DEVICE, &st) == 0 && (st.st_mode & 060) != 060 && (st.st_mode & 06) != 06)
		return error_set(err, EACCES,
				 KVM_DEVICE " is open to its owner alone (as udev has it: chgrp "
					    "kvm " KVM_DEVICE ", chmod 660 " KVM_DEVICE ")");
	return kvm_open(err);
}

/* "auto": never an error, but a word about a processor that could do better. */
static void accelerator_find(struct template_host *host)
{
	_cleanup_(error_done) struct error err = {};

	host->accelerator = ACCELERATOR_TCG;
	if (!host->virtualization)
		return;
	if (kvm_try(&err) == 0)
		host->accelerator = ACCELERATOR_KVM;
	else
		host->kvm_obstacle = xstrdup(error_message(&err));
}

static int choose_accelerator(struct template_host *host, const char *accel, struct error *err)
{
	free(steal_ptr(host->kvm_obstacle));
	if (str_equal(accel, "auto")) {
		accelerator_find(host);
		return 0;
	}
	int value = accelerator_from_string(accel);
	if (value < 0)
		return error_set(err, EINVAL, "accelerator \"%s\" is not one of auto, tcg, kvm",
				 accel);
	if (value == ACCELERATOR_KVM) {
		int r = kvm_open(err);
		if (r < 0) {
			error_wrap(err, "accelerator kvm");
			return r;
		}
	}
	host->accelerator = value;
	return 0;
}

static int choose_channel(struct template_host *host, const char *channel, struct error *err)
{
	bool there = path_exists(VSOCK_CLASS) && path_exists(VSOCK_DEVICE);
	int value = str_equal(channel, "auto") ? (there ? CHANNEL_VSOCK : CHANNEL_SERIAL)
					       : channel_from_string(channel);

	if (value < 0)
		return error_set(err, EINVAL, "channel \"%s\" is not one of auto, vsock, serial",
				 channel);
	if (value == CHANNEL_VSOCK && !there)
		return error_set(err, ENOENT,
				 "channel vsock: there is no " VSOCK_DEVICE
				 " (modprobe vhost_vsock)");
	host->channel = value;
	return 0;
}

/* libvirt does not give it to a machine that is emulated. */
static int choose_vhost_net(struct template_host *host, const char *vhost_net, struct error *err)
{
	bool there = path_exists(VHOST_NET_CLASS) && path_exists(VHOST_NET_DEVICE);
	bool has_kvm = host->accelerator == ACCELERATOR_KVM;

	host->vhost_net = there && has_kvm && !str_equal(vhost_net, "no");
	if (str_equal(vhost_net, "auto") || str_equal(vhost_net, "no"))
		return 0;
	if (!str_equal(vhost_net, "yes"))
		return error_set(err, EINVAL, "vhost_net \"%s\" is not one of auto, yes, no",
				 vhost_net);
	if (!there)
		return error_set(err, ENOENT,
				 "vhost_net yes: there is no " VHOST_NET_DEVICE
				 " (modprobe vhost_net)");
	return has_kvm ? 0
		       : error_set(err, EOPNOTSUPP, "vhost_net yes: machines have it by KVM alone");
}

int template_host_choose(struct template_host *host, const struct template_host_choice *choice,
			 struct error *err)
{
	int r = choose_accelerator(host, choice->accelerator, err);

	if (r == 0)
		r = choose_channel(host, choice->channel, err);
	return r < 0 ? r : choose_vhost_net(host, choice->vhost_net, err);
}

static bool is_program(const char *path)
{
	return access(path, X_OK) == 0;
}

/* Absolute path of the QEMU to use; libvirt wants one. */
static int qemu_find(const char *binary, char **ret_path, struct error *err)
{
	const char *search = getenv("PATH");

	if (strchr(binary, '/')) {
		char *absolute = is_program(binary) ? realpath(binary, NULL) : NULL;
		if (!absolute)
			return error_set_errno(err, errno, "QEMU %s (" QEMU_PACKAGE ")", binary);
		*ret_path = absolute;
		return 0;
	}
	_cleanup_free_ char *folders = xstrdup(str_empty(search) ? PATH_DEFAULT : search);
	char *rest = folders;
	for (const char *folder; (folder = strsep(&rest, ":"));) {
		_cleanup_free_ char *path = path_join(folder, binary);
		if (*folder == '/' && is_program(path)) {
			*ret_path = steal_ptr(path);
			return 0;
		}
	}
	return error_set(err, ENOENT, "no %s on PATH: " QEMU_PACKAGE, binary);
}

static int qemu_version_ask(char *binary, char **ret_version, struct error *err)
{
	_cleanup_free_ char *output = NULL;
	char *argv[] = { binary, (char[]){ "--version" }, NULL };

	int r = spawn_and_wait(argv, &output, err);
	if (r < 0)
		return r;
	if (!str_after(output, "QEMU "))
		return error_set(err, EPROTO, "%s is not QEMU: its --version says \"%.60s\"",
				 binary, output);
	*ret_version = xstrndup(output, strcspn(output, "\n"));
	return 0;
}

static int host_fill(struct template_host *host, const char *qemu_binary,
		     const struct template_host_choice *choice, struct error *err)
{
	_cleanup_free_ char *cpuinfo = NULL;
	struct cpu_facts cpu;
	int r;

	r = file_read(CPUINFO, CPUINFO_MAX, &cpuinfo, NULL, err);
	if (r < 0)
		return r;
	struct utsname name;
	if (uname(&name) < 0)
		return error_set_errno(err, errno, "cannot read the kernel's release");
	host->kernel_release = xstrdup(name.release);
	cpu_facts_parse(cpuinfo, &cpu);
	host->cpu_model = cpu.model;
	host->virtualization = cpu.virtualization;
	r = template_host_choose(host, choice, err);
	if (r < 0)
		return r;
	r = qemu_find(qemu_binary, &host->qemu_binary, err);
	if (r < 0)
		return r;
	r = input_stamp_take(host->qemu_binary, &host->qemu_stamp, err);
	return r < 0 ? r : qemu_version_ask(host->qemu_binary, &host->qemu_version, err);
}

int template_host_probe(const char *qemu_binary, const struct template_host_choice *choice,
			struct template_host *ret_host, struct error *err)
{
	struct template_host host = {};

	if (str_empty(qemu_binary))
		qemu_binary = QEMU_DEFAULT;
	int r = host_fill(&host, qemu_binary, choice, err);
	if (r < 0) {
		template_host_done(&host);
		return r;
	}
	*ret_host = host;
	return 0;
}

int template_host_refresh(struct template_host *host, const char *qemu_binary,
			  const struct template_host_choice *choice, struct error *err)
{
	_cleanup_free_ char *path = NULL;
	struct template_host now;
	struct input_stamp stamp;

	int r = qemu_find(str_empty(qemu_binary) ? QEMU_DEFAULT : qemu_binary, &path, err);
	if (r == 0)
		r = input_stamp_take(path, &stamp, err);
	if (r < 0)
		return r;
	if (str_equal(path, host->qemu_binary) && input_stamp_equal(&stamp, &host->qemu_stamp))
		return template_host_choose(host, choice, err);
	r = template_host_probe(qemu_binary, choice, &now, err);
	if (r < 0)
		return r;
	template_host_done(host);
	*host = now;
	return 0;
}

void template_host_done(struct template_host *host)
{
	free(steal_ptr(host->qemu_binary));
	free(steal_ptr(host->qemu_version));
	free(steal_ptr(host->cpu_model));
	free(steal_ptr(host->kernel_release));
	free(steal_ptr(host->kvm_obstacle));
}

void template_host_copy(const struct template_host *host, struct template_host *ret_copy)
{
	*ret_copy = (struct template_host){
		.accelerator = host->accelerator,
		.channel = host->channel,
		.vhost_net = host->vhost_net,
		.qemu_binary = xstrdup(host->qemu_binary),
		.qemu_version = xstrdup(host->qemu_version),
		.qemu_stamp = host->qemu_stamp,
		.cpu_model = xstrdup(host->cpu_model),
		.kernel_release = xstrdup(host->kernel_release),
		.virtualization = host->virtualization,
		.kvm_obstacle = host->kvm_obstacle ? xstrdup(host->kvm_obstacle) : NULL,
	};
}
