# Two commands matter: `make run` and `make test`.

CLIENT_VERSION := 4.8.4
CLIENT := target/client/node_modules/socket.io-client/dist
LISTEN ?= 127.0.0.1:3000

.PHONY: run test matrix autobahn drills bench report lint fuzz

# Builds the server, brings the JavaScript client for the page, serves http://127.0.0.1:3000.
run: $(CLIENT)/socket.io.min.js
	cargo build --release --bin fanfare
	@echo "a page to try it: http://$(LISTEN)"
	target/release/fanfare --listen $(LISTEN) --client $(CLIENT)

$(CLIENT)/socket.io.min.js:
	npm install --silent --no-fund --no-audit --prefix target/client socket.io-client@$(CLIENT_VERSION)

# Sets up what the tests need, then runs all of them.
test:
	tests/setup.sh
	cargo test --all-features
	FANFARE_DRIVER=epoll cargo test --all-features --test server --test socket --test log
	cargo test --bench '*'
	cargo test --manifest-path tests/models/Cargo.toml
	cargo test --manifest-path perf/limit/Cargo.toml
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features
	cargo build --release --bin fanfare --example conformance --example golden --example websocket_echo
	FANFARE_SERVER=target/release/examples/conformance node tests/clients/run.js
	FANFARE_SERVER=target/release/examples/golden node --test tests/golden/golden.test.mjs
	node --test --test-reporter=spec tests/autobahn/autobahn.test.mjs
	node --test tests/clients/matrix/verdict.test.js
	$(MAKE) matrix
	FANFARE_SERVER="target/release/fanfare --client tests/clients/node_modules/socket.io-client/dist" \
		node --test tests/browser/chat.test.js
	node --test perf/harness/*.test.mjs
	perf/peers/run --install ws-plain
	node --test perf/peers/contract/*.test.mjs

# Clients of every version, language and browser against the server: a part of `test`, which takes two
# minutes by itself.
matrix:
	tests/setup.sh
	cargo build --release --example conformance
	cargo build --locked --offline --manifest-path tests/clients/matrix/rust/Cargo.toml
	FANFARE_SERVER=target/release/examples/conformance node tests/clients/matrix/run.js

# Autobahn|Testsuite against the server, with its 216 cases of compression, twice: a quarter of an hour.
# `test` runs the 301 others. It is written for Python 2.7, and skipped where there is none.
autobahn:
	cargo build --release --example websocket_echo
	AUTOBAHN=all node --test --test-reporter=spec tests/autobahn/autobahn.test.mjs

# What takes minutes, root, or other programs; each of them says what it lacks. DRILLS="m05" runs those
# whose files begin so. What they have seen is written into tests/drills/results.md.
drills:
	tests/setup.sh
	cargo build --release --workspace --bins --examples
	node tests/drills/run.js $(DRILLS)

# Times of single layers, and their instructions, which do not depend on what else the machine does:
# these are compared with perf/instructions.json, which BLESS=1 writes.
bench:
	cargo bench --no-fail-fast

# Measures fanfare and its peers in rounds and writes perf/report. Takes about two hours of a quiet
# machine; goes on where it was interrupted. REPORT="--quick" tries it, REPORT="--help" says more.
report:
	node perf/report.mjs $(REPORT)

# Ten million inputs for the doors of the codecs, chosen by what code they reach: some ten minutes.
# FUZZ="http json" are those alone. What was seen is written into tests/fuzz/results.md.
fuzz:
	node tests/fuzz/run.js $(FUZZ)

lint:
	cargo fmt --check
	cargo fmt --check --manifest-path perf/limit/Cargo.toml
	cargo fmt --check --manifest-path tests/clients/matrix/rust/Cargo.toml
	cargo fmt --check --manifest-path tests/models/Cargo.toml
	cargo clippy --all-targets --all-features -- -D warnings
	cargo clippy --manifest-path perf/limit/Cargo.toml --all-targets -- -D warnings
	cargo clippy --manifest-path tests/clients/matrix/rust/Cargo.toml -- -D warnings
	cargo clippy --manifest-path tests/models/Cargo.toml --all-targets -- -D warnings
