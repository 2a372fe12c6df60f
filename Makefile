# slugnet: `make` builds the program, the Lua module and the library from the same objects. `make help` lists the targets.
BUILD ?= build
PREFIX ?= /usr/local
CC ?= cc
CFLAGS ?= -g
NPROC := $(shell nproc)
# As many jobs as there are processors, unless make is told a number.
ifeq ($(MAKELEVEL)$(findstring -j,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(NPROC)
endif
# V=1 shows whole commands.
say = $(if $(V),,@printf '  %-4s %s\n' $(1) $@;)
SN_WARN = -Wall -Wextra -Wshadow -Wconversion -Wdouble-promotion -Wmissing-prototypes -Wstrict-prototypes -Wno-pass-failed
SN_OPT = -O2
SN_KERNEL_OPT = -O2 $(if $(findstring clang,$(CC)),,-falign-jumps=1 -fno-ipa-cp-clone)
# Small rather than fast: the kernels of an instruction set that nobody is left with who has a choice, and the upper floors but the
# files (HOT) that every eager call or replay goes through, or that loop over elements.
SN_SMALL_OPT = -Os
HOT = args backward convert create csv func gather idx index join map matmul number op pad prog program reduce reduce_run run scope select sort tape tensor view
# So that the module can leave out what it does not call. Not with sanitizers, of whose many pieces of data the linker makes gigabytes.
SN_SECTIONS = -ffunction-sections
# The project's own flags; CFLAGS is the user's (or LuaRocks') and comes after them.
SN_CFLAGS = -std=c11 -D_GNU_SOURCE -ffp-contract=off $(SN_WARN) $(SN_OPT) -fPIC -fvisibility=hidden $(SN_SECTIONS) -pthread -Isrc -I$(BUILD)/gen
LUA_INCDIR ?= /usr/include/lua5.4
LUA_CFLAGS = -isystem $(LUA_INCDIR)
LUA_STATIC := $(firstword $(wildcard /usr/lib/*/liblua5.4.a /usr/lib/liblua5.4.a /usr/local/lib/liblua5.4.a))
LUA_LIB = $(if $(LUA_STATIC),$(LUA_STATIC),-llua5.4)
LIBS = -lz -lm -pthread
# Addresses filled in at start take 24 bytes each in a file, or about a bit where linker and C library (glibc from 2.36) can do that: tried.
RELR = $(shell echo 'int x, *p = &x; int main(void) { return *p; }' | $(CC) -x c - -fPIE -pie -Wl,-z,pack-relative-relocs,--fatal-warnings \
  -o $(BUILD)/relr 2>/dev/null && $(BUILD)/relr && echo -Wl,-z,pack-relative-relocs)

ISA_avx2 = -mavx2 -mfma -mf16c
ISA_avx512 = -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c
ISAS := baseline $(if $(filter x86_64 i686,$(shell uname -m)),avx2 avx512)
OPT_baseline = $(if $(word 2,$(ISAS)),$(SN_SMALL_OPT),$(SN_KERNEL_OPT))
OPT_avx2 = $(SN_KERNEL_OPT)
OPT_avx512 = $(SN_KERNEL_OPT)

PLAIN := $(filter-out %.isa.c %.bf16.c,$(wildcard src/base/*.c src/calc/*.c src/core/*.c src/diff/*.c src/exec/*.c src/file/*.c src/nn/*.c src/slugnet.c))
ISASRC := $(wildcard src/calc/*.isa.c)
BF16SRC := $(if $(filter x86_64,$(shell uname -m)),$(wildcard src/calc/*.bf16.c))
ISA_bf16 = $(ISA_avx512) -mavx512bf16 -mamx-tile -mamx-bf16
SCRIPT := $(wildcard src/script/*.c)
SHELLC := $(wildcard src/shell/*.c)
LUASRC := $(wildcard lua/slugnet/*.lua)
obj = $(patsubst src/%.c,$(BUILD)/obj/%.o,$(1))
LIBOBJ := $(call obj,$(PLAIN)) $(foreach i,$(ISAS),$(patsubst src/%.isa.c,$(BUILD)/obj/%.$(i).o,$(ISASRC))) \
  $(call obj,$(BF16SRC))
SCRIPTOBJ := $(call obj,$(SCRIPT)) $(if $(SCRIPT),$(BUILD)/obj/gen/docs.o)
SHELLOBJ := $(call obj,$(SHELLC)) $(if $(SHELLC),$(BUILD)/obj/gen/embed.o)
DOCSRC := $(wildcard src/*/*.c src/*/*.def lua/slugnet/*.lua)
CTESTS := $(patsubst tests/c/%.c,$(BUILD)/tests/%,$(wildcard tests/c/*_test.c))

PRODUCTS := $(BUILD)/lib/libslugnet.a $(if $(SCRIPT),$(BUILD)/lib/slugnet/core.so)
ifneq ($(SHELLC),)
PRODUCTS += $(BUILD)/bin/slugnet $(BUILD)/lib/libslugnet.so
endif

all: $(PRODUCTS) ## build the program, the Lua module and the library into build/

$(BUILD)/lib/libslugnet.a: $(LIBOBJ)
	@mkdir -p $(@D)
	@rm -f $@
	$(call say,AR)ar rcs $@ $^
$(BUILD)/lib/libslugnet.so: $(LIBOBJ)
	@mkdir -p $(@D)
	$(call say,LD)$(CC) -shared $(RELR) $(SN_LDFLAGS) -o $@ $^ $(LDFLAGS) $(LIBS)
$(BUILD)/lib/slugnet/core.so: $(SCRIPTOBJ) $(LIBOBJ)
	@mkdir -p $(@D)
	$(call say,LD)$(CC) -shared -Wl,-z,nodelete -Wl,-z,noseparate-code -Wl,--gc-sections $(RELR) $(SN_LDFLAGS) -o $@ $^ $(LDFLAGS) $(LIBS)
$(BUILD)/bin/slugnet: $(SHELLOBJ) $(SCRIPTOBJ) $(LIBOBJ)
	@mkdir -p $(@D)
	$(call say,LD)$(CC) -Wl,-E $(RELR) $(SN_LDFLAGS) -o $@ $^ $(LUA_LIB) $(LDFLAGS) $(LIBS) -ledit -ldl

$(BUILD)/obj/%.o: src/%.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(SN_CFLAGS) $(LUA_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/obj/gen/%.o: $(BUILD)/gen/%.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(SN_CFLAGS) $(CFLAGS) -c -o $@ $<

# LuaRocks' -O2 must not make the kernels slower; any other level is what the user wants.
define isa_rule
$(BUILD)/obj/%.$(1).o: src/%.isa.c
	@mkdir -p $$(@D)
	$$(call say,CC)$$(CC) $$(SN_CFLAGS) $$(OPT_$(1)) -DSNK_ISA=$(1) $$(ISA_$(1)) $$(filter-out -O2,$$(CFLAGS)) -MMD -MP -c -o $$@ $$<
endef
$(foreach i,$(ISAS),$(eval $(call isa_rule,$(i))))
$(BUILD)/obj/%.bf16.o: src/%.bf16.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(SN_CFLAGS) $(SN_KERNEL_OPT) -DSNK_ISA=bf16 $(ISA_bf16) $(filter-out -O2,$(CFLAGS)) -MMD -MP -c -o $@ $<
# Outside the kernels nothing gains from loops and jumps at multiples of 16, which take 6 % of the code.
$(call obj,$(PLAIN) $(SCRIPT)): SN_CFLAGS += $(if $(findstring clang,$(CC)),,-falign-functions=1 -falign-jumps=1 -falign-labels=1 -falign-loops=1)
# No exception passes through the library: only script/ calls Lua.
$(LIBOBJ): SN_CFLAGS += -fno-asynchronous-unwind-tables
$(call obj,$(filter-out $(HOT:%=\%/%.c),$(wildcard src/diff/*.c src/exec/*.c src/file/*.c src/nn/*.c src/script/*.c))): SN_OPT = $(SN_SMALL_OPT)

$(BUILD)/gen/embed.c: src/embed.awk $(LUASRC)
	@mkdir -p $(@D)
	$(call say,GEN)LC_ALL=C awk -f src/embed.awk $(LUASRC) >$@.tmp && mv $@.tmp $@
$(BUILD)/gen/docs.txt: src/docs.awk $(DOCSRC)
	@mkdir -p $(@D)
	$(call say,GEN)LC_ALL=C awk -f src/docs.awk $(DOCSRC) >$@.tmp && mv $@.tmp $@
# Packed: a third of the size, and few programs ask for help.
$(BUILD)/gen/docs.gz: $(BUILD)/gen/docs.txt
	$(call say,GEN)gzip -9nc $< >$@.tmp && mv $@.tmp $@
$(BUILD)/gen/docs.c: $(BUILD)/gen/docs.gz
	$(call say,GEN){ printf '%s\n' '#include "script/gen.h"' 'const unsigned char sn_docs[] = {'; od -An -v -tu1 $< | sed 's/[0-9][0-9]*/&,/g'; \
	  printf '%s\n' '};' 'const size_t sn_docs_bytes = sizeof sn_docs;'; } >$@.tmp && mv $@.tmp $@

# A host of several lua_States links what the program links, but its shell.
$(BUILD)/tests/states_test: tests/c/states_test.c $(SCRIPTOBJ) $(BUILD)/lib/libslugnet.a
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(SN_CFLAGS) $(LUA_CFLAGS) -Itests/c $(CFLAGS) $(SN_LDFLAGS) -Wl,-E -o $@ $^ $(LUA_LIB) $(LDFLAGS) $(LIBS) -ldl
$(BUILD)/tests/%: tests/c/%.c $(BUILD)/lib/libslugnet.a
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(SN_CFLAGS) -Itests/c $(CFLAGS) $(SN_LDFLAGS) -o $@ $< $(BUILD)/lib/libslugnet.a $(LDFLAGS) $(LIBS)

test: deps ## install what is missing, build, run the whole suite
	@$(MAKE) --no-print-directory check
check: all $(CTESTS)
	@BUILD=$(BUILD) tests/run

demo: deps ## install what is missing, build, train a network on Fashion-MNIST
	@$(MAKE) --no-print-directory all
	$(BUILD)/bin/slugnet examples/fashion_mnist.lua

asan: ## build with AddressSanitizer and UBSan into build-asan/ and run the suite
	@WALK_QUICK=1 ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=1:thread_local_quarantine_size_kb=64 $(MAKE) --no-print-directory BUILD=build-asan SN_SECTIONS= SN_OPT=-O1 SN_KERNEL_OPT=-O1 SN_SMALL_OPT=-O1 CFLAGS="-g -Wno-maybe-uninitialized -Wno-array-bounds -Wno-stringop-overflow -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer" SN_LDFLAGS="-fsanitize=address,undefined" check
tsan: ## build with ThreadSanitizer into build-tsan/; run the C tests and a script that trains on several threads
	@$(MAKE) --no-print-directory BUILD=build-tsan SN_SECTIONS= SN_OPT=-O1 SN_KERNEL_OPT=-O1 SN_SMALL_OPT=-O1 CFLAGS="-g -fsanitize=thread -Wno-maybe-uninitialized -Wno-array-bounds -Wno-stringop-overflow" SN_LDFLAGS="-fsanitize=thread" tsan-run
tsan-run: all $(CTESTS)
	@$(if $(SHELLC),TSAN_OPTIONS=halt_on_error=1:die_after_fork=0 $(BUILD)/bin/slugnet tests/threads.lua)
	@TSAN_OPTIONS=halt_on_error=1:die_after_fork=0 C_ONLY=1 ISAS= BUILD=$(BUILD) tests/run
hard: ## build with NaN-filled memory into build-hard/ and run the suite
	@$(MAKE) --no-print-directory BUILD=build-hard CFLAGS="-g -DSN_HARD" check
clang: ## build with clang into build-clang/, warnings are errors
	@$(MAKE) --no-print-directory BUILD=build-clang CC=clang CFLAGS="-g -Werror" all

DEBS = lua5.4 liblua5.4-dev zlib1g-dev libedit-dev lua-busted lua-check luarocks gcc make strace dataset-fashion-mnist
deps: ## install missing Debian packages when root, else say which
	@missing=""; for p in $(DEBS); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing; \
	  else echo "missing packages; run: sudo apt-get install$$missing"; exit 1; fi; fi

install: all ## install under PREFIX (/usr/local)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/lua/5.4/slugnet $(DESTDIR)$(PREFIX)/share/lua/5.4/slugnet $(DESTDIR)$(PREFIX)/lib $(DESTDIR)$(PREFIX)/include
	install -m 755 $(BUILD)/bin/slugnet $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(BUILD)/lib/slugnet/core.so $(DESTDIR)$(PREFIX)/lib/lua/5.4/slugnet/
	install -m 644 $(LUASRC) $(DESTDIR)$(PREFIX)/share/lua/5.4/slugnet/
	install -m 644 $(BUILD)/lib/libslugnet.a $(BUILD)/lib/libslugnet.so $(DESTDIR)$(PREFIX)/lib/
	install -m 644 src/slugnet.h $(DESTDIR)$(PREFIX)/include/

module: $(BUILD)/lib/slugnet/core.so
install-rock: module
	install -d $(ROCK_LIBDIR)/slugnet $(ROCK_LUADIR)/slugnet
	install -m 755 $(BUILD)/lib/slugnet/core.so $(ROCK_LIBDIR)/slugnet/
	install -m 644 $(LUASRC) $(ROCK_LUADIR)/slugnet/

docs: all ## write docs/reference from the sources
	$(BUILD)/bin/slugnet docs/reference.lua
# With BENCH="--docs" the tables go into the documentation as well. Other words in BENCH are for compare.lua, and nothing else is run.
bench: all ## every workload beside PyTorch, JAX and onnxruntime (make bench-setup first), jobs, growth, shares; to bench/results/
	$(BUILD)/bin/slugnet bench/compare.lua $(BENCH)
	$(if $(filter-out --docs,$(BENCH)),,$(foreach p,half jobs growth shares,$(BUILD)/bin/slugnet bench/$(p).lua $(BENCH) &&) true)
bench-half bench-jobs bench-growth bench-shares: bench-%: all ## only this part of make bench
	$(BUILD)/bin/slugnet bench/$*.lua $(BENCH)
bench-functions: all ## every function of tensors by itself beside PyTorch's, and whether both give the same numbers
	$(BUILD)/bin/slugnet bench/functions.lua $(BENCH)
bench-setup: ## put PyTorch, JAX and onnxruntime for the comparison into build/venv
	python3 -m venv $(BUILD)/venv && $(BUILD)/venv/bin/pip install -q torch==2.13.0 numpy jax==0.10.2 onnxruntime==1.32.0 onnx
lint: ## luacheck over the Lua sources
	luacheck -q lua examples tests docs bench
clean: ## remove everything built
	rm -rf build build-*
help: ## this list
	@awk -F ':.*## ' '/^[a-z -]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' Makefile

-include $(wildcard $(patsubst %.o,%.d,$(LIBOBJ) $(SCRIPTOBJ) $(SHELLOBJ)))
.PHONY: all bench bench-setup bench-half bench-jobs bench-growth bench-shares bench-functions test check demo asan tsan tsan-run hard clang deps install module install-rock docs lint clean help
.SECONDARY:
