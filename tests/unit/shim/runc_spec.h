/* A config.json as `runc spec` 1.1 writes it, shortened where entries repeat, with the things a
 * CRI adds that matter here. MOUNTS and NAMESPACES are spliced in by the test. */
#pragma once

#define SPEC_JSON(annotations_, mounts_, namespaces_)                                              \
	"{\"ociVersion\":\"1.0.2-dev\","                                                           \
	"\"process\":{\"terminal\":true,\"user\":{\"uid\":1,\"gid\":2,\"additionalGids\":[3,4]},"  \
	"\"args\":[\"sh\",\"-c\",\"true\"],\"env\":[\"PATH=/bin\",\"TERM=xterm\"],\"cwd\":\"/\","  \
	"\"capabilities\":{\"bounding\":[\"CAP_KILL\"],\"effective\":[\"CAP_KILL\"]},"             \
	"\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"hard\":18446744073709551615,\"soft\":1024}],"  \
	"\"noNewPrivileges\":true,\"oomScoreAdj\":-5},"                                            \
	"\"root\":{\"path\":\"rootfs\",\"readonly\":true},\"hostname\":\"runc\","                  \
	"\"annotations\":{" annotations_ "},"                                                      \
	"\"mounts\":[{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"}" mounts_    \
	"],"                                                                                       \
	"\"hooks\":{\"poststart\":[]},"                                                            \
	"\"linux\":{\"resources\":{\"devices\":[{\"allow\":false,\"access\":\"rwm\"}],"            \
	"\"memory\":{\"limit\":1048576},\"cpu\":{\"shares\":1024}},"                               \
	"\"devices\":[{\"path\":\"/dev/sda\",\"type\":\"b\",\"major\":8,\"minor\":0},"             \
	"{\"path\":\"/dev/fuse\",\"type\":\"c\",\"major\":10,\"minor\":229}],"                     \
	"\"cgroupsPath\":\"system.slice:cri:1\","                                                  \
	"\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"ipc\"},{\"type\":\"network\"},{\"type\":"  \
	"\"mount\"}" namespaces_ "],"                                                              \
	"\"maskedPaths\":[\"/proc/kcore\"],\"readonlyPaths\":[\"/proc/bus\"]}}"
