/* The scratch disk as the guest has it: what only the guest uses is below. */
#pragma once

#define GUEST_SCRATCH "/run/kiln/scratch"
