/* Where in a guest the agent listens for vsock. */
#pragma once

enum { AGENT_VSOCK_PORT = 1024 };
