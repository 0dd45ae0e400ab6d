# `make` alone prints the targets. bake and test do all of their set-up themselves.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PROFILE  ?= edge-rpi-debian-12
OUT      ?= out
BAKE     ?=
FUZZTIME ?= 20s
CUTS     ?= 20
BOARDS   ?= raspi3b
TESTS    ?= ./...
# For how long make test runs each fuzz test.
FUZZSMOKE := 2s

GO       ?= go
LINT     := $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
export CGO_ENABLED := 0

# What baking and booting need, and what the tests compare with.
BAKE_PACKAGES := qemu-system-arm qemu-system-x86 ovmf
TEST_PACKAGES := $(BAKE_PACKAGES) qemu-efi-aarch64 qemu-utils e2fsprogs mtools dosfstools gdisk fdisk parted \
	xz-utils zstd lz4 cpio gpgv gnupg python3 cloud-init busybox-static device-tree-compiler shellcheck systemd-journal-remote xorriso netplan.io wpasupplicant openssh-client sudo file procps iproute2 grub-common grub-pc-bin curl openssl

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo "Variables: PROFILE=$(PROFILE) OUT=$(OUT) BAKE=\"--flags of bake\" TESTS=$(TESTS) FUZZTIME=$(FUZZTIME) CUTS=$(CUTS) BOARDS=\"$(BOARDS)\""

.PHONY: build
build: go ## build bin/edgebake, one static binary
	$(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/edgebake ./cmd/edgebake

.PHONY: bake
bake: bake-packages build ## bake PROFILE, boot it in QEMU, print the verdict and where the image is
	@# No lock, a stale one, or one whose packages no archive serves any more: lock anew.
	bin/edgebake fetch $(PROFILE) || bin/edgebake lock $(PROFILE)
	bin/edgebake bake $(PROFILE) -o $(OUT)/$(PROFILE) $(BAKE)

# Tests run in three parts, so that boots do not compete with the others for the processor: tests and the
# seeds of fuzz tests, each fuzz test for a moment with new inputs, and boots. Two
# boots at a time: each has phases in which it needs one processor, or waits.
BOOT_TESTS := ^Test(Boot|Bake|Reproducible)

.PHONY: test
test: setup ## run every test, each fuzz test for a moment; the tests that bake and boot come last
	@status=0; { \
	  $(GO) test -json -timeout 25m -skip '$(BOOT_TESTS)' $(TESTS) || status=1; \
	  $(GO) run ./test/fuzz -json -time $(FUZZSMOKE) $(TESTS) || status=1; \
	  $(GO) test -json -timeout 85m -count=1 -parallel 2 -run '$(BOOT_TESTS)' ./test || status=1; \
	  exit $$status; \
	} 2>&1 | $(GO) run ./test/count

.PHONY: check
check: go ## gofmt, go vet, golangci-lint, shellcheck
	@unformatted=$$(gofmt -l builder cmd test $(wildcard overlays profiles cloudinit)); \
	if [ -n "$$unformatted" ]; then echo "gofmt -w these files:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(LINT) run
	shellcheck .ci/run

.PHONY: powercut
powercut: setup ## cut the power of a node's first boot at CUTS random moments; one boot for each, hours on a slow machine
	EDGEBAKE_POWERCUTS=$(CUTS) $(GO) test -v -timeout 12h -count=1 -run 'TestBakeKubeEdgeRaspberryPi/power' ./test

.PHONY: boards
boards: setup ## boot the Raspberry Pi image on QEMU's BOARDS with all its checks
	EDGEBAKE_BOARDS="$(BOARDS)" $(GO) test -v -timeout 2h -count=1 -run TestBakeEdgeRaspberryPi ./test

.PHONY: bench
bench: go ## run the Go benchmarks
	@# Go's ten minutes for a package would end the bakes in ./test.
	$(GO) test -run '^$$' -bench . -benchmem -timeout 3h $(TESTS)

.PHONY: fuzz
fuzz: go ## run every fuzz test for FUZZTIME; what is found is kept in testdata/fuzz
	$(GO) run ./test/fuzz -time $(FUZZTIME) -cache "$$($(GO) env GOCACHE)/fuzz" $(TESTS)

.PHONY: clean
clean: ## remove bin and out; the store stays (edgebake gc cleans that)
	rm -rf bin out

.PHONY: setup
setup: go ## install what the tests need
	@$(call need,$(TEST_PACKAGES))

.PHONY: bake-packages
bake-packages: go
	@$(call need,$(BAKE_PACKAGES))

.PHONY: go
go:
	@command -v $(GO) >/dev/null || { echo "Go is missing: install the version that go.mod names, see https://go.dev/dl/"; exit 1; }

# need installs the packages that dpkg does not have, or says how.
define need
	missing=; for p in $(1); do \
	  dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	else \
	  echo "Packages are missing. Run this line, then make again:"; \
	  echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends$$missing"; exit 1; \
	fi
endef
