# SPDX-License-Identifier: MIT
#
# minivmm. `make help` lists the targets. Everything built lands in $(BUILD), but the binary.

VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unreleased)
ARCH    ?= $(shell uname -m)
PREFIX  ?= /usr/local
CC      := $(if $(filter default,$(origin CC)),gcc,$(CC))

# SAN=address,undefined or SAN=thread: an instrumented build in a folder of its own.
comma   := ,
BUILD   := build$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))
BIN     := $(if $(SAN),$(BUILD)/minivmm,minivmm)

CFLAGS  ?= -O2 -g
override CFLAGS   += -std=gnu11 -Wall -Wextra -Wmissing-prototypes -Wvla -pthread \
                     $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all)
override CPPFLAGS += -D_GNU_SOURCE -Iinclude -I. -DMINIVMM_VERSION='"$(VERSION)"' \
                     -DMINIVMM_DATA_DIR='"$(PREFIX)/share/minivmm"'
override LDFLAGS  += -pthread -Wl,-z,now $(if $(SAN),-fsanitize=$(SAN))
override LDLIBS   += -luring

# The program is vmm/ (with the board of this architecture), arch/ (this architecture), devices/.
SRCS := $(filter-out vmm/board_%,$(wildcard vmm/*.c)) vmm/board_$(ARCH).c \
        $(wildcard arch/$(ARCH)/*.c) $(wildcard devices/*/*.c)
OBJS := $(SRCS:%.c=$(BUILD)/%.o)
# All of it but main(), for the unit tests and fuzz targets.
LIB  := $(filter-out $(BUILD)/vmm/main.o,$(OBJS))

.PHONY: all help deps demo test unit fuzz bench bench-startup bench-boot bench-ring initramfs install \
        clean format format-check
all: $(BIN) initramfs

help:
	@echo 'make                build ./minivmm and its initramfs'
	@echo 'make demo           set everything up and boot a Linux guest to a shell (SMOKE=1: just once)'
	@echo 'make test           set everything up and run all tests (SUITES="unit guest ..." for some)'
	@echo 'make deps           install what is missing from Debian packages'
	@echo 'make unit           the unit tests alone'
	@echo 'make fuzz           run the fuzz targets, FUZZ_TIME=60 seconds each'
	@echo 'make bench-startup  time from exec to the first KVM_RUN, and memory, beside QEMU'
	@echo 'make bench          all data paths beside QEMU, with a report (BENCH=--quick: in 5 minutes);'
	@echo '                    bench-net, bench-blk: only those'
	@echo 'make build-for-bench  what tests/bench/bench needs, without measuring'
	@echo 'make bench-vhost-user  the device daemon beside DPDK'
	@echo 'make bench-boot     time to init in the lab host, beside QEMU'
	@echo 'make bench-switch   how long nobody serves a device that is moved to another data path'
	@echo 'make bench-ring     nanoseconds and instructions a chain on the device side of a virtqueue'
	@echo 'make install        into PREFIX=/usr/local'
	@echo 'make format         format the sources; format-check: only look'
	@echo 'make clean          remove what was built'
	@echo 'SAN=address,undefined or SAN=thread with make or make unit: an instrumented build; V=1: the commands'

# V=1 shows the commands.
Q := $(if $(V),,@)

$(BIN): $(OBJS)
	@echo '  LD  $@'
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo '  CC  $@'
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# The version is in one object only.
$(BUILD)/vmm/config.o: $(BUILD)/version
$(BUILD)/version: FORCE
	@mkdir -p $(@D)
	@echo '$(VERSION) $(PREFIX)' | cmp -s - $@ || echo '$(VERSION) $(PREFIX)' > $@
FORCE:

# Quick when nothing has changed. Without a static busybox there is just no initramfs.
initramfs:
	@if command -v busybox >/dev/null; then guests/linux/build build/initramfs; \
	else echo "no busybox-static, so no initramfs of our own: 'make deps' installs it"; fi

deps:
	tests/deps

demo:
	@tests/deps
	@$(MAKE) --no-print-directory all
	@SMOKE=$(or $(SMOKE),0) tests/demo

include guests/Makefile.inc
include tests/Makefile.inc
include tests/bench/Makefile.inc

install: all
	install -D -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/minivmm
	install -d $(DESTDIR)$(PREFIX)/share/minivmm
	for f in build/initramfs/*.cpio; do \
		[ ! -e "$$f" ] || install -m 644 "$$f" $(DESTDIR)$(PREFIX)/share/minivmm; done

FORMATTED := $(shell git ls-files '*.c' '*.h' 2>/dev/null)
format:
	clang-format -i $(FORMATTED)
format-check:
	clang-format --dry-run -Werror $(FORMATTED)

clean:
	rm -rf build minivmm

-include $(OBJS:.o=.d)
