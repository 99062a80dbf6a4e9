# Reeve. `make help` lists what there is.
SHELL := /bin/bash
BIN := .cache/bin
GO ?= go

.PHONY: help test race vet lint vuln generate check build bench demo e2e golden
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

build: ## build everything without a C compiler
	CGO_ENABLED=0 $(GO) build ./...

test: ## run the tests
	$(GO) test ./...

race: ## run the tests with the race detector
	$(GO) test -race ./...

vet: ## go vet
	$(GO) vet ./...

$(BIN)/%: tools/go.mod tools/go.sum
	@mkdir -p $(BIN)
	cd tools && $(GO) build -o ../$(BIN)/ $$(sed -n 's/^\t\(.*\/cmd\/$*\)$$/\1/p' go.mod)

lint: $(BIN)/golangci-lint $(BIN)/staticcheck ## staticcheck and golangci-lint
	$(BIN)/staticcheck ./...
	$(BIN)/golangci-lint run ./...

vuln: $(BIN)/govulncheck ## govulncheck; REEVE_VULNDB names an unpacked folder of OSV records
	$(BIN)/govulncheck $${REEVE_VULNDB:+-db file://$$REEVE_VULNDB} ./...

generate: $(BIN)/protoc-gen-go $(BIN)/protoc-gen-go-grpc ## make generated code anew; needs protoc
	PATH="$(CURDIR)/$(BIN):$$PATH" $(GO) generate ./...

golden: ## write golden files anew; review the diff
	$(GO) test ./examples/server/... -run Golden -update

check: build vet lint test ## what a change must pass

e2e: ## the browser journeys; needs Chromium and Node
	cd internal/e2e && npm install --no-audit --no-fund --silent
	REEVE_TEST_BROWSER=$$(command -v chromium) $(GO) test ./internal/e2e/ -count=1 -v -timeout 20m

bench: ## benchmarks that print ratios measured in the same run
	$(GO) run ./internal/bench

demo: ## run the demo
	$(GO) run ./examples/server demo
