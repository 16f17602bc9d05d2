/* A bake that uses KVM has to be able to, and from one that does not it is hidden.
 *
 * libvirt asks a QEMU what it can do that has the right to open any file, and so finds KVM where
 * /dev/kvm is root's alone (mode 0600). It then sees that QEMU's user may not open the device,
 * takes what it has learned for outdated, and asks again at each of some twenty look-ups, four
 * seconds each. (virQEMUCapsIsValid() in libvirt's src/qemu/qemu_capabilities.c.) */
#pragma once

#include <sys/types.h>

#include "base/error.h"

/* -EACCES: this user may not open /dev/kvm. Before there are threads that hold locks: it forks. */
_must_check_ int kvm_check(uid_t uid, gid_t gid, struct error *err);

/* From here on this thread and its children have a mount namespace of their own, in which
 * /dev/kvm is a file that is no device and nobody may open: those of the calling thread, so before
 * libvirt makes others. Nothing where the host has no /dev/kvm. */
_must_check_ int kvm_hide(const char *run_dir, struct error *err);
