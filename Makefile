# slugnet: `make` builds the program, the Lua module and the library from the same objects.
BUILD ?= build
CC ?= cc
CFLAGS ?= -O2 -g
SN_WARN = -Wall -Wextra -Wshadow -Wconversion -Wdouble-promotion -Wmissing-prototypes -Wstrict-prototypes
SN_CFLAGS = -std=c11 -D_GNU_SOURCE -ffp-contract=off $(SN_WARN) -O3 -fPIC -fvisibility=hidden -pthread -Isrc -I$(BUILD)/gen
LUA_INCDIR ?= /usr/include/lua5.4
LUA_CFLAGS = -I$(LUA_INCDIR)
LIBS = -lopenblas -lz -lm -pthread

ISA_avx2 = -mavx2 -mfma -mf16c
ISA_avx512 = -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c
ISAS := baseline $(if $(filter x86_64 i686,$(shell uname -m)),avx2 avx512)

PLAIN := $(filter-out %.isa.c,$(wildcard src/base/*.c src/calc/*.c src/core/*.c src/diff/*.c src/exec/*.c src/file/*.c src/nn/*.c src/slugnet.c))
ISASRC := $(wildcard src/calc/*.isa.c)
SCRIPT := $(wildcard src/script/*.c)
SHELLC := $(wildcard src/shell/*.c)
obj = $(patsubst src/%.c,$(BUILD)/obj/%.o,$(1))
LIBOBJ := $(call obj,$(PLAIN)) $(foreach i,$(ISAS),$(patsubst src/%.isa.c,$(BUILD)/obj/%.$(i).o,$(ISASRC)))

all: $(BUILD)/lib/libslugnet.a

$(BUILD)/lib/libslugnet.a: $(LIBOBJ)
	@mkdir -p $(@D)
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/obj/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(SN_CFLAGS) $(LUA_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

define isa_rule
$(BUILD)/obj/%.$(1).o: src/%.isa.c
	@mkdir -p $$(@D)
	$$(CC) $$(SN_CFLAGS) -DSNK_ISA=$(1) $$(ISA_$(1)) $$(CFLAGS) -MMD -MP -c -o $$@ $$<
endef
$(foreach i,$(ISAS),$(eval $(call isa_rule,$(i))))

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
.PHONY: all
