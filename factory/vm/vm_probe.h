/* A cheap question to a parked machine, or to a spare: does its monitor still say "paused"?
 *
 * A dead process is seen at once by its pidfd (vm.c); this finds the one that lives and does
 * not answer: stopped, spinning, or waiting for the host for ever.
 */
#pragma once

#include "factory/vm/vm.h"

#define VM_PROBE_TIMEOUT_MS 5000

/* number 0: it answered, and is paused. */
typedef void (*vm_probe_fn)(struct vm *vm, int number, const struct error *err, void *userdata);

/* Asks a PARKED machine or a SPARE; fn is called once, from the loop, unless the machine was
 * claimed or taken, has ended or was freed before the answer: then nobody wants to know any more.
 * The machine itself is not touched: what a failure means is the caller's decision. */
void vm_probe(struct vm *vm, vm_probe_fn fn, void *userdata);
