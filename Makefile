# Kiln. `make help` lists what there is.

SHELL  := /bin/bash
BUILD  ?= build
PREFIX ?= /usr/local
# make presets CC to cc; a CC from the environment or the command line wins.
ifeq ($(origin CC),default)
CC := gcc
endif
V      ?= 0
# A job for each processor; -j on the command line wins. A make below this one has its jobs from it.
ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc)
endif
# Extra warnings are errors in CI and in `make check`; a user's newer compiler may warn more.
WERROR ?= $(if $(CI),1,0)

VERSION := 0.1.0

ifeq ($(V),0)
Q   := @
say  = @printf '  %-7s %s\n' $(1) $(2)
else
Q   :=
say  = @:
endif

WARNINGS := -Wall -Wextra -Wshadow -Wswitch-enum -Wstrict-prototypes -Wmissing-prototypes \
            -Wpointer-arith -Wwrite-strings -Wformat=2 -Wimplicit-fallthrough -Wundef -Wvla \
            $(if $(filter 1,$(WERROR)),-Werror)
# What the throwaway container of warming runs: a program without a library, in the guest's image.
REHEARSAL_PROGRAM := $(BUILD)/rehearsal-program

# gnu17 predefines `linux`, which is a field of grpc.Spec.
CPPFLAGS_ALL := -Ulinux -D_GNU_SOURCE -DKILN_VERSION='"$(VERSION)"' -DKILN_DATA_DIR='"$(PREFIX)/share/kiln"' \
                -DKILN_LIB_DIR='"$(PREFIX)/lib/kiln"' \
                -I. -I$(BUILD)/gen $(if $(filter 1,$(FAULTS)),-DKILN_FAULTS) $(CPPFLAGS)
CFLAGS  ?= -O2 -g
HARDEN  := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE
CFLAGS_ALL = -std=gnu17 $(WARNINGS) $(CFLAGS)
LDFLAGS_ALL := -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS)
ASAN    := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
FUZZED  := -fsanitize=address,undefined -fno-sanitize-recover=all

# ---------------------------------------------------------------- what is built from what

PROTOS    := $(wildcard proto/*.proto)
WELLKNOWN := any empty timestamp
GEN_C     := $(PROTOS:%.proto=$(BUILD)/gen/%.pb-c.c) \
             $(WELLKNOWN:%=$(BUILD)/gen/google/protobuf/%.pb-c.c)
GEN_H     := $(GEN_C:.c=.h)

SRC_base    := $(wildcard base/*.c)
SRC_proto   := $(wildcard proto/*.c)
SRC_vm      := $(foreach room,guest store jail vm cache client,$(wildcard factory/$(room)/*.c))
SRC_factory := $(foreach room,base bake pool images templates core api daemon,$(wildcard factory/$(room)/*.c))
SRC_jailer  := $(wildcard factory/jailer/*.c)
SRC_libvirt := $(wildcard factory/bake/libvirt/*.c)
SRC_shim    := $(wildcard shim/*.c)
SRC_agent   := $(wildcard agent/*.c)
# check and env read the factory's configuration as it does; metrics is served as its pages are.
SRC_ctl     := $(wildcard ctl/*.c) factory/base/config.c factory/base/collector.c factory/templates/definitions.c factory/api/http.c
SRC_bench   := $(wildcard bench/*.c)

BIN_factory := $(BUILD)/kiln-factory
BIN_jailer  := $(BUILD)/kiln-jailer
BIN_libvirt := $(BUILD)/kiln-libvirt
BIN_shim    := $(BUILD)/containerd-shim-kiln-v2
BIN_agent   := $(BUILD)/kiln-agent
BIN_ctl     := $(BUILD)/kiln-ctl
BIN_bench   := $(BUILD)/kiln-bench
BIN_init    := $(BUILD)/kiln-init
PRELOAD     := $(BUILD)/kiln-preload.so
# What stands for libraries that a clone's QEMU has no use for, by their names.
ABSENT      := $(BUILD)/kiln-no-capstone.so $(BUILD)/kiln-no-pmem.so
PROBE       := $(BUILD)/probe
FILES_WORK  := $(BUILD)/kiln-files-work
NET_WORK    := $(BUILD)/kiln-net-work
CRUN_WORK   := $(BUILD)/kiln-crun-work
# What the benchmark runs in containers.
BENCH_WORK  := $(FILES_WORK) $(NET_WORK) $(CRUN_WORK)
BINS := $(BIN_factory) $(BIN_jailer) $(BIN_libvirt) $(BIN_shim) $(BIN_agent) $(BIN_ctl) $(BIN_bench) $(BIN_init) $(PRELOAD) $(ABSENT)

LIBS_common  := -lprotobuf-c -ljansson -levent_core -lpthread -lm
LIBS_vm      := -lnettle
LIBS_factory := -levent_extra -lseccomp $(LIBS_vm)
LIBS_jailer  := -lseccomp $(LIBS_vm)
LIBS_libvirt := -lvirt -lvirt-qemu
LIBS_shim    := -lseccomp $(LIBS_vm)
LIBS_agent   := -lcap -lseccomp
LIBS_base    := -lseccomp
LIBS_proto   := -lseccomp
LIBS_ctl     := -levent_extra -lseccomp $(LIBS_vm)
LIBS_bench   := -lnghttp2 $(LIBS_vm)

obj  = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
aobj = $(patsubst %.c,$(BUILD)/asan/%.o,$(1))
zobj = $(patsubst %.c,$(BUILD)/fuzzed/%.o,$(1))
gobj = $(patsubst $(BUILD)/gen/%.c,$(BUILD)/$(1)/gen/%.o,$(GEN_C))

.PHONY: all
all: $(BINS)
.DEFAULT_GOAL := all

# On a fresh machine these goals install what they need before anything is compiled.
ifneq ($(filter check check-unit check-integration check-lives check-node check-node-install check-dashboard check-upgrade check-deb deb check-tarball tarball demo bench bench-quick bench-node,$(MAKECMDGOALS)),)
AUTO_DEPS := deps
endif

# ---------------------------------------------------------------- generated code

# protoc-c names a service's initialiser like the stub of a method called Init: it gives way.
$(BUILD)/gen/%.pb-c.c $(BUILD)/gen/%.pb-c.h &: %.proto | $(AUTO_DEPS)
	$(call say,PROTO,$<)
	$(Q)mkdir -p $(BUILD)/gen
	$(Q)protoc-c -I. -I/usr/include --c_out=$(BUILD)/gen $<
	$(Q)sed -i -E 's/__init \((\w+_Service \*)/__service_init (\1/' \
		$(BUILD)/gen/$*.pb-c.c $(BUILD)/gen/$*.pb-c.h

$(BUILD)/gen/google/protobuf/%.pb-c.c $(BUILD)/gen/google/protobuf/%.pb-c.h &: | $(AUTO_DEPS)
	$(call say,PROTO,google/protobuf/$*.proto)
	$(Q)mkdir -p $(BUILD)/gen
	$(Q)protoc-c -I/usr/include --c_out=$(BUILD)/gen google/protobuf/$*.proto

# ---------------------------------------------------------------- objects and libraries

$(BUILD)/obj/%.o: %.c | $(GEN_H) $(AUTO_DEPS)
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(HARDEN) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(BUILD)/obj/gen/%.o: $(BUILD)/gen/%.c | $(GEN_H)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(HARDEN) -std=gnu17 -w $(CFLAGS) -MMD -MP -c -o $@ $<

# Unit tests can have steps fail (base/fault.h).
$(BUILD)/asan/%.o: %.c | $(GEN_H) $(AUTO_DEPS)
	$(call say,CC+SAN,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS_ALL) -DKILN_FAULTS $(CFLAGS_ALL) $(ASAN) -MMD -MP -c -o $@ $<

$(BUILD)/asan/gen/%.o: $(BUILD)/gen/%.c | $(GEN_H)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS_ALL) -std=gnu17 -w $(ASAN) -MMD -MP -c -o $@ $<

$(BUILD)/fuzzed/%.o: %.c | $(GEN_H) $(AUTO_DEPS)
	$(call say,CC+FUZZ,$<)
	@mkdir -p $(@D)
	$(Q)clang $(CPPFLAGS_ALL) -std=gnu17 -w -O1 -g $(FUZZED) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<

$(BUILD)/fuzzed/gen/%.o: $(BUILD)/gen/%.c | $(GEN_H)
	@mkdir -p $(@D)
	$(Q)clang $(CPPFLAGS_ALL) -std=gnu17 -w -O1 -g $(FUZZED) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<

$(REHEARSAL_PROGRAM): factory/rehearsal/program.c | $(AUTO_DEPS)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS_ALL) -std=gnu17 $(WARNINGS) -Os -ffreestanding -fno-stack-protector -fno-pie \
		-fcf-protection=none -fno-asynchronous-unwind-tables -static -no-pie -nostdlib \
		-Wl,--build-id=none,--strip-all -o $@ $<

$(BUILD)/libbase.a: $(call obj,$(SRC_base))
$(BUILD)/libproto.a: $(call obj,$(SRC_proto)) $(call gobj,obj)
$(BUILD)/libvm.a: $(call obj,$(SRC_vm))
$(BUILD)/asan/libbase.a: $(call aobj,$(SRC_base))
$(BUILD)/asan/libproto.a: $(call aobj,$(SRC_proto)) $(call gobj,asan)
$(BUILD)/asan/libvm.a: $(call aobj,$(SRC_vm))
$(BUILD)/fuzzed/libbase.a: $(call zobj,$(SRC_base))
$(BUILD)/fuzzed/libproto.a: $(call zobj,$(SRC_proto)) $(call gobj,fuzzed)
$(BUILD)/fuzzed/libvm.a: $(call zobj,$(SRC_vm))
$(BUILD)/asan/libfactory.a: $(call aobj,$(filter-out factory/daemon/main.c factory/jailer/main.c,$(SRC_factory) $(SRC_jailer)))
$(BUILD)/asan/libshim.a: $(call aobj,$(filter-out shim/main.c,$(SRC_shim)))
$(BUILD)/asan/libagent.a: $(call aobj,$(filter-out agent/main.c,$(SRC_agent)))
$(BUILD)/asan/libctl.a: $(call aobj,$(filter-out ctl/main.c,$(SRC_ctl)))
$(BUILD)/asan/libbench.a: $(call aobj,$(filter-out bench/main.c,$(SRC_bench)))

%.a:
	$(call say,AR,$@)
	@mkdir -p $(@D)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

LIB_core := $(BUILD)/libproto.a $(BUILD)/libbase.a
LIB_vm   := $(BUILD)/libvm.a $(LIB_core)

# What is made anew when the command line says something else than last time depends on such a file.
$(BUILD)/%.args: FORCE
	@mkdir -p $(@D); echo '$(ARGS)' | cmp -s - $@ || echo '$(ARGS)' >$@
.PHONY: FORCE

# `make && make install PREFIX=...` is to install programs that look for their files there.
$(BUILD)/prefix.args: ARGS = $(PREFIX)
$(call obj,factory/base/config.c factory/jail/jail.c): $(BUILD)/prefix.args

# ---------------------------------------------------------------- programs

# With STATIC_LIBS=1 programs need no libraries but C's, which looks users up, and libvirt's.
comma := ,
DYNAMIC := -lvirt -lvirt-qemu -lpthread -lm
libs = $(if $(filter 1,$(STATIC_LIBS)),-Wl$(comma)-Bstatic $(filter-out $(DYNAMIC),$(1)) -Wl$(comma)-Bdynamic $(filter $(DYNAMIC),$(1)),$(1))

define link
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(filter %.o %.a,$^) $(call libs,$(1) $(LIBS_common))
endef

$(BIN_factory): $(call obj,$(SRC_factory)) $(LIB_vm)
	$(call link,$(LIBS_factory))
# Root's part of the factory: of its rooms, those that make machines, templates and images.
$(BIN_jailer): $(call obj,$(SRC_jailer) factory/daemon/activation.c factory/templates/definitions.c \
	$(foreach room,base bake images,$(wildcard factory/$(room)/*.c))) $(LIB_vm)
	$(call link,$(LIBS_jailer))
$(BIN_libvirt): $(call obj,$(SRC_libvirt)) $(LIB_core)
	$(call link,$(LIBS_libvirt))
$(BIN_ctl): $(call obj,$(SRC_ctl)) $(LIB_vm)
	$(call link,$(LIBS_ctl))
$(BIN_bench): $(call obj,$(SRC_bench)) $(LIB_vm)
	$(call link,$(LIBS_bench))

# containerd runs the shim twice a container: finding libraries would cost more than the rest of
# such a run. The linker would warn about name look-ups in libevent that nobody calls.
$(BIN_shim): $(call obj,$(SRC_shim)) $(LIB_vm)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(filter-out -pie,$(LDFLAGS_ALL)) -static-pie -Wl,--no-warnings -o $@ \
		$(filter %.o %.a,$^) $(LIBS_shim) $(LIBS_common)

# What runs in the guest is static: the image holds nothing else. The agent is at another address in
# each template that is baked.
$(BIN_agent): $(call obj,$(SRC_agent)) $(LIB_core)
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) $(filter-out -pie,$(LDFLAGS_ALL)) -static-pie -o $@ $(filter %.o %.a,$^) $(LIBS_agent) $(LIBS_common)
$(BIN_init): $(BUILD)/obj/templates/initramfs/init.o
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -static -o $@ $^

# What clones' QEMU is started with; it needs nothing but libc.
$(PRELOAD): $(wildcard factory/preload/*.c) factory/guest/dax_window.h factory/guest/large_ids.h | $(AUTO_DEPS)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -fPIC -shared -Wl,-z,relro,-z,now $(LDFLAGS) -o $@ $(filter %.c,$^)
$(BUILD)/kiln-no-capstone.so: SONAME := libcapstone.so.4
$(BUILD)/kiln-no-pmem.so: SONAME := libpmem.so.1
$(BUILD)/kiln-no-pmem.so: factory/preload/absent/pmem.map
$(ABSENT): $(BUILD)/kiln-no-%.so: factory/preload/absent/%.c | $(AUTO_DEPS)
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -fPIC -shared -Wl,-z,relro,-z,now -Wl,-soname,$(SONAME) \
		$(addprefix -Xlinker --version-script=,$(filter %.map,$^)) $(LDFLAGS) -o $@ $(filter %.c,$^)

# What tests run in containers to learn what a file system does for programs.
$(PROBE): $(call obj,$(wildcard tests/probe/*.c))
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -static -o $@ $^

# What the scenarios `files`, `pods-net` and `crun` measure; it runs in containers, and in a machine without one.
$(FILES_WORK): $(call obj,bench/work/work.c)
$(NET_WORK): $(call obj,bench/work/net.c)
$(CRUN_WORK): $(call obj,bench/work/crun.c)
$(BENCH_WORK):
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -static -o $@ $^

# A factory, a claimer and a shim that a test can kill at points of its choice (base/fault.h).
.PHONY: faults
faults: | $(AUTO_DEPS)
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/faults FAULTS=1 WERROR=$(WERROR) \
		$(BUILD)/faults/kiln-factory $(BUILD)/faults/kiln-jailer $(BUILD)/faults/kiln-libvirt $(BUILD)/faults/kiln-ctl \
		$(BUILD)/faults/containerd-shim-kiln-v2 \
		$(addprefix $(BUILD)/faults/,$(notdir $(PRELOAD) $(ABSENT)))

# ---------------------------------------------------------------- manual pages

MAN := $(patsubst man/%,$(BUILD)/man/%,$(wildcard man/*.[1-9]))

.PHONY: man
man: $(MAN) ## The manual pages (man -l build/man/kiln-ctl.1)

# Their tables of keys are what the programs print.
$(MAN): $(BUILD)/man/%: man/% man/expand $(BIN_factory) $(BIN_shim) $(BUILD)/prefix.args
	$(call say,MAN,$@)
	@mkdir -p $(@D)
	$(Q)man/expand $< $(BUILD) $(VERSION) $(PREFIX) >$@.new && mv $@.new $@

# ---------------------------------------------------------------- completion

# By the names under which the shells look for them.
COMPLETION := $(BUILD)/completion/bash/kiln-ctl $(BUILD)/completion/zsh/_kiln-ctl

$(COMPLETION): $(BUILD)/completion/%: $(BIN_ctl)
	$(call say,SHELL,$@)
	@mkdir -p $(@D)
	$(Q)$(BIN_ctl) completion $(firstword $(subst /, ,$*)) >$@.new && mv $@.new $@

# ---------------------------------------------------------------- guest image

IMAGE := $(BUILD)/image

.PHONY: image
image: $(IMAGE)/default.json ## Build the guest kernel, initramfs and root image (KERNEL=vmlinux or bzImage of your own; GUEST_MODULES: more modules)

$(IMAGE)/default.json: $(BIN_agent) $(BIN_init) $(REHEARSAL_PROGRAM) templates/build-image templates/default.json \
                       templates/machine.xml $(wildcard templates/module/*/*) $(KERNEL) $(BUILD)/image.args | $(AUTO_DEPS)
	$(Q)templates/build-image --out $(IMAGE) --agent $(BIN_agent) --init $(BIN_init) \
		--program $(REHEARSAL_PROGRAM) \
		$(if $(KERNEL),--kernel $(KERNEL)) $(if $(MODULES),--modules $(MODULES)) $(if $(GUEST_MODULES),--extra '$(GUEST_MODULES)')

# Another kernel than last time makes another image, and so do other modules.
$(BUILD)/image.args: ARGS = $(KERNEL) $(MODULES) $(GUEST_MODULES)

# ---------------------------------------------------------------- tests

UNIT_SRC  := $(wildcard tests/unit/*/test_*.c)
UNIT_BIN  := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/unit/%)
FUZZ_SRC  := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_BIN  := $(FUZZ_SRC:tests/fuzz/%.c=$(BUILD)/fuzz/%)

ALIB_core := $(BUILD)/asan/libproto.a $(BUILD)/asan/libbase.a
ALIB_base    :=
ALIB_proto   :=
ALIB_vm      := $(BUILD)/asan/libvm.a
ALIB_factory := $(BUILD)/asan/libfactory.a $(ALIB_vm)
ALIB_shim    := $(BUILD)/asan/libshim.a $(ALIB_vm)
ALIB_agent   := $(BUILD)/asan/libagent.a
ALIB_ctl     := $(BUILD)/asan/libctl.a $(ALIB_vm)
ALIB_bench   := $(BUILD)/asan/libbench.a $(ALIB_vm)

# One rule a room: tests/unit/ROOM/test_X.c is linked with that room and what it may use.
define unit_rule
$(BUILD)/unit/$(1)/%: $(BUILD)/asan/tests/unit/$(1)/%.o $(ALIB_$(1)) $(ALIB_core)
	$$(call say,LINK,$$@)
	@mkdir -p $$(@D)
	$(Q)$(CC) $(ASAN) -o $$@ $$^ -lcmocka $(LIBS_$(1)) -lnettle $(LIBS_common)
endef
$(foreach room,base proto vm factory shim agent ctl bench,$(eval $(call unit_rule,$(room))))

FUZZ_SECONDS ?= 5
LIBS_fuzz := $(LIBS_vm)
ZLIB_vm := $(addprefix $(BUILD)/fuzzed/,libvm.a libproto.a libbase.a)
$(BUILD)/fuzz/%: $(BUILD)/fuzzed/tests/fuzz/%.o $(ZLIB_vm)
	$(call say,FUZZER,$@)
	@mkdir -p $(@D)
	$(Q)clang $(FUZZED) -fsanitize=fuzzer -o $@ $(filter %.o,$^) $(ZLIB_vm) $(LIBS_fuzz) $(LIBS_proto) $(LIBS_common)
# What of a program's own these try, beside the libraries.
$(BUILD)/fuzz/fuzz_result: \
	$(call zobj,$(addprefix bench/,result.c series.c histogram.c stats.c targets.c compare.c))
$(BUILD)/fuzz/fuzz_http: $(call zobj,factory/api/http.c)
$(BUILD)/fuzz/fuzz_trace_batch: $(call zobj,factory/api/trace_batch.c)
$(BUILD)/fuzz/fuzz_http: LIBS_fuzz += -levent_extra
$(BUILD)/fuzz/fuzz_stats: $(call zobj,shim/stats.c shim/stats_rows.c)
$(BUILD)/fuzz/fuzz_mountinfo: $(call zobj,shim/mountinfo.c)
$(BUILD)/fuzz/fuzz_idmap: $(call zobj,shim/idmap.c)
$(BUILD)/fuzz/fuzz_modules: $(call zobj,agent/modules.c)
$(BUILD)/fuzz/fuzz_accounts: $(call zobj,agent/accounts.c agent/rootpath.c)
$(BUILD)/fuzz/fuzz_toml: $(call zobj,ctl/toml.c ctl/containerd_config.c)
$(BUILD)/fuzz/fuzz_sandbox_words: $(call zobj,ctl/bundle_words.c ctl/shim_process.c)
$(BUILD)/fuzz/fuzz_guest_metrics: $(call zobj,ctl/guest_metrics.c)
$(BUILD)/fuzz/fuzz_shim $(BUILD)/fuzz/fuzz_task: $(call zobj,$(filter-out shim/main.c,$(SRC_shim)))
$(BUILD)/fuzz/fuzz_shim $(BUILD)/fuzz/fuzz_task: LIBS_fuzz += -lcmocka
$(BUILD)/fuzz/fuzz_factory: $(call zobj,$(filter-out factory/daemon/main.c factory/jailer/main.c,$(SRC_factory) $(SRC_jailer)))
$(BUILD)/fuzz/fuzz_factory: LIBS_fuzz += -levent_extra
$(BUILD)/fuzz/fuzz_plans: $(call zobj,$(addprefix agent/,process_plan.c caps.c rootfs.c copy_up.c namespaces.c mount_options.c \
	mounts.c devices.c rootpath.c machine_id.c schedule.c spec_refused.c user.c accounts.c))
$(BUILD)/fuzz/fuzz_plans: LIBS_fuzz += $(LIBS_agent)

# Prometheus' own tool, of Debian's package, which is not installed: it would bring a server that runs.
PROMTOOL := $(or $(shell command -v promtool),$(BUILD)/promtool)

# What is quick enough to be part of every `make check`; clang-tidy takes longer.
LINT_CHECK := lint-format lint-docs lint-links lint-man lint-layers lint-shell lint-headers lint-clang lint-cppcheck lint-deploy lint-size
.PHONY: check check-unit check-integration fuzz
check: WERROR := 1
check: $(LINT_CHECK) $(UNIT_BIN) $(FUZZ_BIN) all image faults $(PROBE) $(BENCH_WORK) ## All tests: lint, units under ASan and UBSan, fuzzers, real QEMU and containerd
	$(Q)BUILD=$(BUILD) FUZZ_SECONDS=$(FUZZ_SECONDS) tests/run unit fuzz integration

check-unit: $(UNIT_BIN) $(PRELOAD) $(ABSENT) ## The unit tests only
	$(Q)BUILD=$(BUILD) tests/run unit

check-integration: all image faults $(PROBE) $(BENCH_WORK) $(PROMTOOL) ## The integration tests only (ONLY=name for one)
	$(Q)BUILD=$(BUILD) ONLY='$(ONLY)' tests/run integration

fuzz: $(FUZZ_BIN) ## Run each fuzzer for FUZZ_SECONDS
	$(Q)BUILD=$(BUILD) FUZZ_SECONDS=$(FUZZ_SECONDS) tests/run fuzz

# A line counts where a unit test has run it; what integration tests run is not counted. gcov leaves
# folders in the containers of agent/test_container, which that notices and fails by.
.PHONY: coverage
coverage: | $(AUTO_DEPS) ## Lines that the unit tests run, by room
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/coverage ASAN='-O0 -g --coverage' check-unit || true
	$(Q)tests/lint/coverage $(BUILD)/coverage/asan

.PHONY: conformance conformance-cri conformance-files conformance-kubernetes conformance-oci conformance-programs conformance-trace
conformance: conformance-cri conformance-files conformance-kubernetes conformance-oci conformance-programs conformance-trace ## The six below

conformance-cri: all image ## Kubernetes' critest by runc and by kiln, on the host's containerd and on version 2 (needs go; by hand)
	$(Q)BUILD=$(BUILD) tests/conformance/critest

conformance-files: all image ## The crate pjdfstest in containers by runc and by kiln (needs cargo; by hand)
	$(Q)BUILD=$(BUILD) tests/conformance/pjdfstest

conformance-kubernetes: all image ## Pods of a Kubernetes of one node by runc and by kiln (needs go; by hand)
	$(Q)BUILD=$(BUILD) tests/conformance/kubernetes $(NAMES)

conformance-oci: all image ## The OCI's validation programs by runc and by kiln (needs go; by hand)
	$(Q)BUILD=$(BUILD) ONLY='$(ONLY)' tests/conformance/oci

conformance-programs: all image ## PostgreSQL, fio and stress-ng in containers by runc and by kiln (by hand)
	$(Q)BUILD=$(BUILD) ONLY='$(ONLY)' tests/conformance/programs

conformance-trace: all image $(NET_WORK) ## Starts in the traces of a containerd of version 2 (needs go; by hand)
	$(Q)BUILD=$(BUILD) tests/conformance/trace

.PHONY: demo bench bench-quick
demo: all image $(BENCH_WORK) ## From nothing to a container in a pooled VM, with a table of times
	$(Q)BUILD=$(BUILD) bench/demo

bench: all image $(BENCH_WORK) ## Measure everything, half an hour; writes bench/out/, checks the baseline
	$(Q)BUILD=$(BUILD) bench/run full

bench-quick: all image $(BENCH_WORK) ## As bench, in three minutes, with less of it
	$(Q)BUILD=$(BUILD) bench/run quick

.PHONY: check-lives
check-lives: all image ## The agent's memory over 10000 lives of containers in one guest (LIVES=; minutes)
	$(Q)LIVES=$${LIVES:-10000} BUILD=$(BUILD) tests/integration/test_agent.sh test_it_does_not_grow_with_containers

# A browser is large, and no other target needs one.
.PHONY: check-dashboard
check-dashboard: DEBIAN_ALL += $(DEBIAN_BROWSER)
check-dashboard: all image | $(AUTO_DEPS) ## The dashboard's page in headless Chromium, with pictures in build/dashboard/ (as root)
	$(Q)BUILD=$(BUILD) tests/dashboard

# The older build is kept in the build folder.
.PHONY: check-upgrade
check-upgrade: all image | $(AUTO_DEPS) ## Pods while Kiln is upgraded and rolled back, with an older commit's programs (as root; REV=)
	$(Q)old=$$(tests/upgrade/build $(BUILD) $(REV)) && OLD=$$old NEW=$(BUILD) tests/upgrade/check $(NAMES)

# The node's disk is kept in the build folder; it needs packages of this host that no other target does.
on_node = disk=$$(tests/node/make-disk $(BUILD)/node $(DEBIAN_RUN) $(DEBIAN_NODE)) && \
          NODE_DISK=$$disk DEBIAN_RUN='$(DEBIAN_RUN)' BUILD=$(BUILD)

.PHONY: check-node check-node-install bench-node
check-node check-node-install bench-node: DEBIAN_ALL += $(DEBIAN_NODE_HOST)
check-node: all image faults $(PROBE) $(BENCH_WORK) man | $(AUTO_DEPS) ## Tests in a virtual machine with systemd, control groups v2 and KVM (TESTS=names; TIME_FACTOR=)
	$(Q)$(on_node) NODE_DEBS= tests/node/check

check-node-install: DEBIAN_ALL += $(DEBIAN_DEB)
check-node-install: all image faults man deb | $(AUTO_DEPS) ## The commands of docs/INSTALL.md, and the packages with a pod that runs, in such machines (TESTS=install or packages)
	$(Q)$(on_node) NODE_DEBS=$(DEB) tests/node/check

bench-node: all image faults $(BENCH_WORK) man | $(AUTO_DEPS) ## Boots, clones, claims, memory, measured in check-node's virtual machine (SET=; TIME_FACTOR=)
	$(Q)$(on_node) tests/node/bench

# ---------------------------------------------------------------- packages

# Made of a copy of the tree, in which what was compiled stays for the next time, with the kernel that is here already.
DEB := $(BUILD)/deb
TREE_FILES = $(if $(filter deb check-deb tarball check-tarball check-node-install,$(MAKECMDGOALS)),$(shell git -c safe.directory=* ls-files --cached --others --exclude-standard))

.PHONY: deb check-deb
deb tarball: DEBIAN_ALL = $(DEBIAN_BUILD) $(DEBIAN_IMAGE) $(DEBIAN_DEB)
deb: $(DEB)/kiln.changes ## Debian packages, in build/deb

$(DEB)/kiln.changes: $(TREE_FILES) | $(AUTO_DEPS)
	$(call say,DEB,$(@D))
	$(Q)mkdir -p $(DEB)/kiln/build/debian && rm -f $(DEB)/*kiln*.*
	$(Q)find $(DEB)/kiln -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} + && cp -p --parents -t $(DEB)/kiln $(TREE_FILES)
	$(Q)[ ! -d $(BUILD)/kernel ] || [ -d $(DEB)/kiln/build/debian/kernel ] || cp -al $(BUILD)/kernel $(DEB)/kiln/build/debian/
	$(Q)cd $(DEB)/kiln && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL dpkg-buildpackage -b -uc -us -nc \
		--changes-file=../kiln.changes >../log 2>&1 || { tail -n 40 ../log; exit 1; }

check-deb: deb ## The packages by lintian; installed, upgraded and purged in a bare root (as root)
	$(Q)tests/packages/check-deb $(DEB)

# Of this compiler's C library; what else it needs of a host says docs/INSTALL.md, which is in it.
TARBALL := $(BUILD)/kiln-$(VERSION).tar.zst
OPT := $(BUILD)/opt

.PHONY: tarball check-tarball
tarball: $(TARBALL) ## For other distributions: build/kiln-VERSION.tar.zst, unpacked in /opt/kiln

$(TARBALL): $(TREE_FILES) | $(AUTO_DEPS)
	$(Q)mkdir -p $(OPT) && rm -rf $(OPT)/root
	$(Q)[ ! -d $(BUILD)/kernel ] || [ -d $(OPT)/kernel ] || cp -al $(BUILD)/kernel $(OPT)/
	$(Q)$(MAKE) --no-print-directory BUILD=$(OPT) PREFIX=/opt/kiln STATIC_LIBS=1 SYSTEMD_VERSION=252 UNITDIR=/opt/kiln/lib/systemd/system \
		SYSUSERSDIR=/opt/kiln/lib/sysusers.d DESTDIR=$(abspath $(OPT))/root install >$(OPT)/log 2>&1 || { tail -n 40 $(OPT)/log; exit 1; }
	$(Q)strip $(OPT)/root/opt/kiln/*bin/*
	$(Q)install -D -m 644 -t $(OPT)/root/opt/kiln/share/doc/kiln docs/INSTALL.md CHANGELOG.md LICENSE debian/copyright
	$(call say,TARBALL,$@)
	$(Q)tar -C $(OPT)/root --sort=name --owner=0 --group=0 --numeric-owner --zstd -cf $@.new opt && mv $@.new $@

check-tarball: tarball ## The tarball in a bare root, and deploy/node/kiln-node with it (as root)
	$(Q)tests/packages/check-tarball $(TARBALL)

# ---------------------------------------------------------------- lint

C_FILES := $(wildcard base/*.[ch] proto/*.[ch] factory/*/*.[ch] factory/*/*/*.[ch] shim/*.[ch] \
             agent/*.[ch] ctl/*.[ch] bench/*.[ch] bench/work/*.c templates/*/*.[ch] tests/*/*.[ch] tests/*/*/*.[ch])
SH_FILES := $(wildcard templates/build-image tests/run tests/private.sh tests/dashboard tests/busybox-root tests/busybox-image tests/probe-image tests/oci-image tests/programs-root tests/lint/size tests/programs/*.sh $(filter-out %.py,$(wildcard tests/conformance/*)) tests/integration/*.sh bench/demo bench/run bench/daemons.sh bench/files-image bench/crun-folder $(filter-out %.py,$(wildcard tests/node/*)) tests/packages/* tests/upgrade/build tests/upgrade/check tests/debian-sources deploy/node/kiln-node debian/kiln-factory.postrm .ci/run)

.PHONY: lint $(LINT_CHECK) lint-tidy format
lint: $(LINT_CHECK) lint-tidy ## clang-format, documents' tables and links, manual pages, who includes whom, shellcheck, headers alone, clang's warnings, cppcheck, what deploy/ names, the agent's size, clang-tidy
$(LINT_CHECK): | $(AUTO_DEPS)

lint-format:
	$(call say,FORMAT,check)
	$(Q)clang-format --dry-run -Werror $(C_FILES)

format: ## Reformat all C files
	$(Q)clang-format -i $(C_FILES)

# The tables of keys are what the programs print.
lint-docs: $(BIN_factory) $(BIN_shim)
	$(call say,DOCS,docs/CONFIGURATION.md)
	$(Q)BUILD=$(BUILD) tests/lint/tables docs/CONFIGURATION.md

lint-links:
	$(call say,LINKS,check)
	$(Q)tests/lint/links

lint-man: $(MAN) $(BIN_jailer) $(BIN_ctl) $(BIN_bench)
	$(call say,MAN,check)
	$(Q)BUILD=$(BUILD) tests/lint/man

lint-layers:
	$(call say,LAYERS,check)
	$(Q)tests/lint/layers

$(BUILD)/promtool: | $(AUTO_DEPS)
	$(call say,FETCH,$@)
	$(Q)rm -rf $@.d && mkdir -p $@.d
	$(Q)cd $@.d && apt-get download -qq -o APT::Sandbox::User=root prometheus && dpkg-deb --fsys-tarfile *.deb | tar -x ./usr/bin/promtool
	$(Q)mv $@.d/usr/bin/promtool $@ && rm -rf $@.d

lint-deploy: $(PROMTOOL)
	$(call say,DEPLOY,check)
	$(Q)tests/lint/deploy $(PROMTOOL)

lint-size: $(BIN_agent)
	$(call say,SIZE,$(BIN_agent))
	$(Q)tests/lint/size $(BIN_agent)

lint-headers: $(GEN_H)
	$(call say,HEADERS,alone)
	$(Q)printf '%s\n' $(filter %.h,$(C_FILES)) | xargs -P$$(nproc) -I{} \
		$(CC) $(CPPFLAGS_ALL) -std=gnu17 -Wall -Werror -fsyntax-only -include {} -x c /dev/null

# The other compiler's opinion; gcc's is had by building. A table's fields that are left out are zero,
# and a fuzzer's entry has no header.
lint-clang: $(GEN_H)
	$(call say,CLANG,all)
	$(Q)printf '%s\n' $(filter %.c,$(C_FILES)) | xargs -P$$(nproc) -n8 \
		clang $(CPPFLAGS_ALL) -std=gnu17 $(WARNINGS) -Wno-missing-prototypes \
		-Wno-missing-field-initializers -Werror -fsyntax-only

lint-cppcheck: $(GEN_H)
	$(call say,CPPCHECK,all)
	$(Q)cppcheck -j$$(nproc) --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability \
		--inline-suppr --suppressions-list=.cppcheck -D_GNU_SOURCE -I. $(filter %.c,$(C_FILES))

lint-shell:
	$(call say,SHELL,check)
	$(Q)shellcheck -S warning $(SH_FILES)

lint-tidy: $(GEN_H)
	$(call say,TIDY,all)
	$(Q)printf '%s\n' $(filter-out tests/%,$(filter %.c,$(C_FILES))) | \
		xargs -P$$(nproc) -I{} clang-tidy --quiet --warnings-as-errors='*' {} -- $(CPPFLAGS_ALL) -std=gnu17

# ---------------------------------------------------------------- install

SBIN  := $(DESTDIR)$(PREFIX)/sbin
BIN   := $(DESTDIR)$(PREFIX)/bin
SHARE := $(DESTDIR)$(PREFIX)/share/kiln
LIB   := $(DESTDIR)$(PREFIX)/lib/kiln
MANDIR := $(DESTDIR)$(PREFIX)/share/man
BASH_COMPLETION := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
ZSH_COMPLETION := $(DESTDIR)$(PREFIX)/share/zsh/site-functions
# A page's place below it: man8/kiln-factory.8.
man_place = man$(subst .,,$(suffix $(1)))/$(notdir $(1))

# Where systemd looks for units, and which systemd it is: 253 is the first with notify-reload.
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
SYSTEMD_VERSION ?= $(shell systemctl --version 2>/dev/null | awk 'NR == 1 { print $$2 + 0 }')
UNITS_factory := kiln-factory.service kiln-factory.socket kiln-jailer.service kiln-jailer.socket
UNITS_ctl     := kiln-metrics.service
UNIT_EDITS := -e 's|@SBIN@|$(PREFIX)/sbin|' -e 's|@BIN@|$(PREFIX)/bin|' \
              $(shell [ 0$(SYSTEMD_VERSION) -lt 253 ] || echo "-e 's/^Type=notify$$/Type=notify-reload/' -e '/^ExecReload=/d'")

# What a component has is a Debian package of its own (debian/control): kiln-factory, kiln-shim, ...
COMPONENTS := factory shim ctl guest bench
PAGES_factory := kiln-factory.8 kiln-jailer.8 kiln-factory.json.5 kiln-template.json.5
PAGES_shim    := containerd-shim-kiln-v2.8
PAGES_ctl     := kiln-ctl.1
PAGES_bench   := kiln-bench.1

# put MODE FOLDER FILE...
put = install -d $(2) && install -m $(1) $(3) $(2)/
put_units = install -d $(DESTDIR)$(UNITDIR) $(foreach unit,$(1),&& sed $(UNIT_EDITS) templates/systemd/$(unit) >$(DESTDIR)$(UNITDIR)/$(unit) && \
            chmod 644 $(DESTDIR)$(UNITDIR)/$(unit))
put_pages = $(foreach page,$(1),$(call put,644,$(MANDIR)/$(dir $(call man_place,$(page))),$(BUILD)/man/$(page)) &&) true

.PHONY: install $(COMPONENTS:%=install-%) uninstall clean help deps
install: $(COMPONENTS:%=install-%) ## Install under PREFIX (DESTDIR is honoured; install-factory, -shim, -ctl, -guest, -bench: a part)

install-factory: $(BIN_factory) $(BIN_jailer) $(BIN_libvirt) $(PRELOAD) $(ABSENT) man
	$(call put,755,$(SBIN),$(BIN_factory) $(BIN_jailer) $(BIN_libvirt))
	$(call put,644,$(LIB),$(PRELOAD) $(ABSENT))
	$(call put_pages,$(PAGES_factory))
	$(call put_units,$(UNITS_factory))
	install -d $(DESTDIR)$(SYSUSERSDIR)
	install -m 644 templates/systemd/kiln-sysusers.conf $(DESTDIR)$(SYSUSERSDIR)/kiln.conf

install-shim: $(BIN_shim) man
	$(call put,755,$(BIN),$(BIN_shim))
	$(call put_pages,$(PAGES_shim))

install-ctl: $(BIN_ctl) man $(COMPLETION)
	$(call put,755,$(BIN),$(BIN_ctl))
	$(call put,644,$(BASH_COMPLETION),$(filter %/kiln-ctl,$(COMPLETION)))
	$(call put,644,$(ZSH_COMPLETION),$(filter %/_kiln-ctl,$(COMPLETION)))
	$(call put_pages,$(PAGES_ctl))
	$(call put_units,$(UNITS_ctl))

install-guest: image
	$(call put,644,$(SHARE),$(IMAGE)/*)

install-bench: $(BIN_bench) man
	$(call put,755,$(BIN),$(BIN_bench))
	$(call put_pages,$(PAGES_bench))

uninstall: ## Remove what install put there
	rm -f $(SBIN)/kiln-factory $(SBIN)/kiln-jailer $(SBIN)/kiln-libvirt $(addprefix $(BIN)/,$(notdir $(BIN_shim) $(BIN_ctl) $(BIN_bench)))
	rm -rf $(SHARE) $(LIB)
	rm -f $(foreach page,$(MAN),$(MANDIR)/$(call man_place,$(page)))
	rm -f $(BASH_COMPLETION)/kiln-ctl $(ZSH_COMPLETION)/_kiln-ctl
	rm -f $(addprefix $(DESTDIR)$(UNITDIR)/,$(UNITS_factory) $(UNITS_ctl)) $(DESTDIR)$(SYSUSERSDIR)/kiln.conf

clean: ## Remove the build folder
	rm -rf $(BUILD)

help: ## This list
	@echo 'Targets:'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | sort | expand -t 22
	@echo 'Variables: CC, CFLAGS, BUILD, PREFIX, DESTDIR, UNITDIR, SYSTEMD_VERSION, KERNEL, GUEST_MODULES, V=1, WERROR=1, FUZZ_SECONDS, ONLY, REV'

# ---------------------------------------------------------------- dependencies

# Debian 12 packages; docs/DEPENDENCIES.md has the reason of each.
DEBIAN_BUILD := gcc libc6-dev make git protobuf-c-compiler libprotobuf-c-dev libprotobuf-dev \
                libevent-dev libjansson-dev libvirt-dev nettle-dev libcap-dev libseccomp-dev libnghttp2-dev
DEBIAN_RUN   := qemu-system-x86 libvirt-daemon-system erofs-utils e2fsprogs procps libevent-core-2.1-7 libevent-extra-2.1-7 \
                libprotobuf-c1 libjansson4 libnettle8 libseccomp2 libvirt0 libnghttp2-14
DEBIAN_IMAGE := cpio xz-utils zstd lz4 busybox-static
DEBIAN_TEST  := libcmocka-dev clang libclang-rt-14-dev containerd runc iproute2 iptables containernetworking-plugins jq curl python3-prometheus-client openssh-client systemd zsh
DEBIAN_BENCH := gnuplot-nox crun
DEBIAN_LINT  := clang-format clang-tidy cppcheck mandoc python3-yaml shellcheck
# For packages and the tarball, with DEBIAN_BUILD and DEBIAN_IMAGE, and to check them.
DEBIAN_DEB   := build-essential debhelper dpkg-dev erofs-utils lintian mmdebstrap python3
# For make check-dashboard.
DEBIAN_BROWSER := chromium fonts-dejavu-core
# Of the host that makes a node's disk; what is on the disk beside DEBIAN_RUN, none of it of DEBIAN_BUILD.
DEBIAN_NODE_HOST := mmdebstrap openssh-client
DEBIAN_NODE  := linux-image-6.12-amd64 systemd-sysv systemd udev dbus kmod openssh-server containerd runc busybox-static iproute2 \
                iptables containernetworking-plugins ca-certificates jq procps curl perl python3-prometheus-client openssh-client crun
DEBIAN_ALL   := $(DEBIAN_BUILD) $(DEBIAN_RUN) $(DEBIAN_IMAGE) $(DEBIAN_TEST) $(DEBIAN_BENCH) $(DEBIAN_LINT)

deps: ## Install what is missing (Debian); elsewhere print the list
	@if ! command -v apt-get >/dev/null; then \
		echo 'No apt-get here. Kiln needs what Debian 12 calls:'; \
		printf '  %s\n' $(DEBIAN_ALL); exit 1; fi; \
	missing=; for p in $(DEBIAN_ALL); do \
		dpkg-query -W -f '$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || missing="$$missing $$p"; done; \
	if [ -z "$$missing" ]; then echo 'deps: all packages are installed'; exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then echo "deps: missing:$$missing"; \
		echo 'deps: run this as root, or install them yourself'; exit 1; fi; \
	echo "deps: installing$$missing"; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends $$missing >/dev/null

-include $(shell find $(BUILD) -name '*.d' -type f -not -path '$(BUILD)/node/*' -not -path '$(DEB)/*' -not -path '$(OPT)/*' 2>/dev/null)
.SECONDARY:
