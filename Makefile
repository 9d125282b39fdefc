# make help prints the targets
GO       ?= go
BIN      := bin/orderlog
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.1.4

.DEFAULT_GOAL := help
.PHONY: help build demo run test test-kafka test-observability race crash faults bench lint verify docs dashboards clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## compile bin/orderlog
	$(GO) build -o $(BIN) ./cmd/orderlog

demo: build ## the whole pipeline on an embedded broker with real orders, proven at the end
	$(BIN) demo

run: build ## the same, kept running in ./data
	$(BIN) up --data data

test: ## all tests
	$(GO) test ./...

test-kafka: ## the tests that need Apache Kafka, which Maven fetches once
	@if [ -z "$$ORDERLOG_TEST_BROKERS" ] && ! { command -v java && command -v mvn; } >/dev/null; \
	then echo "test-kafka: skipped: needs Java 17 and Maven, or ORDERLOG_TEST_BROKERS=host:port,..."; \
	else ORDERLOG_TEST_KAFKA=1 $(GO) test -count=1 -p 2 -timeout 15m ./kgoka $$($(GO) list ./test/... | grep -v /observability) && \
	ORDERLOG_TEST_KAFKA=1 $(GO) test -count=1 ./internal/cli -run 'TestRedrive|TestRetries'; fi

test-observability: ## every query of dashboards and alerts, asked of a real Prometheus: Debian's package; on Apache Kafka, too, where that can be had
	@if ! { command -v prometheus && command -v promtool; } >/dev/null; \
	then echo "test-observability: skipped: needs prometheus and promtool (apt-get install prometheus)"; \
	else ORDERLOG_TEST_OBSERVABILITY=1 ORDERLOG_TEST_KAFKA=$$(command -v java >/dev/null && command -v mvn >/dev/null && echo 1) $(GO) test -count=1 -timeout 10m ./test/observability; fi

race: ## tests under the race detector: without the longest, and without what has one goroutine, only reads, watches others or kills another binary
	$(GO) test -race -short $$($(GO) list ./... | grep -vE '/internal/(check|crash|superstore|sim|scenario|snapshot|hindsight|verify|why|workload|demo|bench|barelimit)$$|/test/')

crash: ## 20 times kill -9 during 50,000 orders, during sending, and while rules panic
	$(GO) test ./internal/crash -run TestKill -crash.kills=20 -crash.orders=50000 -crash.effects=off -v -timeout 30m -count=1

faults: ## every fault for longer, on Apache Kafka of one node and of three; needs Java and Maven
	ORDERLOG_TEST_KAFKA=1 ORDERLOG_TEST_FAULTS=long $(GO) test ./test/faults -run TestFaults -v -timeout 45m -count=1
	ORDERLOG_TEST_KAFKA=1 ORDERLOG_TEST_LONG=1 $(GO) test ./test/replay -v -timeout 15m -count=1

bench: build ## orders/s, latency, CPU per order, beside the bare limit
	$(BIN) bench

lint: ## gofmt, vet, staticcheck, govulncheck where they can be had
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "not gofmt-ed"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	@GOBIN=$(CURDIR)/bin $(GO) install $(GOVULNCHECK) && { bin/govulncheck ./...; code=$$?; \
		test $$code -eq 0 || echo "govulncheck ended with $$code (3: findings, 1: its database is out of reach)"; test $$code -ne 3; }

docs: build ## write docs/cli.md from the commands
	$(BIN) docs docs

dashboards: ## write deploy/grafana/dashboards from internal/dashboards
	$(GO) generate ./internal/dashboards

verify: docs dashboards ## fail if a generated file is stale
	git diff --exit-code docs/cli.md deploy/grafana/dashboards
	@test -z "$$(git ls-files --others --exclude-standard deploy/grafana/dashboards)" || { echo "a dashboard is not committed"; exit 1; }

clean: ## remove bin and data
	rm -rf bin data
