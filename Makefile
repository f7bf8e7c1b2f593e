# RepGhostNet on small devices. The two commands a newcomer needs:
#   make compile TARGET=arm64    build, verify and report on the int8 network for 64-bit ARM
#   make test                    run the tests
# Both create .venv from pyproject.toml first. No root is needed.

PYTHON ?= python3
VENV ?= .venv
# TORCH=cpu installs PyTorch without CUDA: a small part of the download.
TORCH ?=
TORCH_INDEX ?= https://download.pytorch.org/whl/$(TORCH)

# What to compile; an empty variable means the program's default (see 'repghost compile --help').
TARGET ?=
WIDTH ?=
MODEL ?=
SIZE ?=
WEIGHTS ?=
DATA ?=
PREPROCESS ?=
CLASS_ORDER ?=
CLASS_MAP ?=
VAL_SHARE ?=
PRECISION ?=
CONFIG ?=
IMAGES ?=
TEST_IMAGES ?=
THREADS ?=
MAX_DROP ?=
WIDTHS ?=
COMPARE ?=
# For TARGET=jetson: 5, 6 or 7.
JETPACK ?=
OUTPUT ?= build
# Ends the name of the run's folder; only from the command line, because some systems give every shell a NAME.
NAME ?=
ifeq ($(origin NAME),environment)
NAME :=
endif

# How many fuzzers run side by side, and how many processes of tests, which wait for boards, children and files about as
# long as they compute.
JOBS ?= 2
PROCESSES ?= 4

BIN := $(VENV)/bin
# Messages then name the variables of make, not the options that they become.
REPGHOST := REPGHOST_STARTED_BY=make $(BIN)/repghost
STAMP := $(VENV)/.installed$(if $(TORCH),-$(TORCH))
DEV_STAMP := $(VENV)/.installed-dev
SITE_STAMP := $(VENV)/.installed-site
CONVERTERS := $(VENV)/torch-tensorrt
CONVERTERS_STAMP := $(CONVERTERS)/.installed
PACKAGES := repghost calib compile benchmarks runtime tests assets

option = $(if $($(1)),--$(2) "$($(1))")
OPTIONS = $(call option,WIDTH,width) $(call option,MODEL,model) $(call option,SIZE,size) $(call option,WEIGHTS,weights) $(call option,DATA,data) \
	$(call option,PREPROCESS,preprocess) $(call option,PRECISION,precision) $(call option,CONFIG,config) \
	$(call option,IMAGES,images) $(call option,TEST_IMAGES,test-images) $(call option,THREADS,threads) \
	$(call option,CLASS_ORDER,class-order) $(call option,CLASS_MAP,class-map) $(call option,VAL_SHARE,val-share) \
	$(call option,MAX_DROP,max-drop) $(call option,JETPACK,jetpack) $(call option,NAME,name) $(call option,OUTPUT,output)

.DELETE_ON_ERROR:
.PHONY: help compile train wheel demo site report front bars network-bars counts compile-time train-bars jetson-check baselines baseline-latency rival-counts widths accuracy qat-bench test test-fast fuzz check lint imports duplicates types format doctor setup clean distclean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -n 4
	@echo "  make wheel                   repghost-runtime, which runs bundles on a board with Python, into build/wheels"
	@echo "  make demo                    a page that runs the networks in the browser and measures them there, into build/demo"
	@echo "  make report                  one page: which width, at which precision, for which machine"
	@echo "  make front                   docs/figures.md and the README's boards, from the JSON of docs"
	@echo "  make site                    the pages of docs/ as a site, into build/site; no link in it is broken"
	@echo "  make test-fast               the tests that take less than a second: under three minutes"
	@echo "  make fuzz                    fuzz the runner, SECONDS=20 for each of its readers; needs clang"
	@echo "  make check                   lint, import order, duplicates and types"
	@echo "  make bars                    measure this host against other runtimes, into docs/performance.md"
	@echo "  make network-bars            measure other mobile networks on this host against other runtimes, likewise"
	@echo "  make counts                  count arm64 instructions under emulation, into docs/performance.md"
	@echo "  make baselines               build and count other mobile networks, of random weights, into docs/baselines.json"
	@echo "  make baseline-latency        measure what 'make baselines' built, where the machine was busy then"
	@echo "  make rival-counts            count what other runtimes execute on emulated arm64 cores"
	@echo "  make compile-time            measure how long compiling takes, into docs/performance.md"
	@echo "  make train-bars              measure a training step and epoch, into docs/training-bars.md"
	@echo "  make train                   train a network: DATA, WIDTH, RECIPE, GPUS; more options in ARGS"
	@echo "  make widths                  train and quantize a list of widths, into runs/widths"
	@echo "  make accuracy                measure every way to quantize on the same pictures, into docs/accuracy.md"
	@echo "  make qat-bench               measure a step of training under quantization, into docs/qat.md"
	@echo "  make jetson-check            what is proven for Jetson without one, into docs/jetson.md"
	@echo "  make doctor                  what this machine has and lacks"
	@echo "  make clean                   remove build/; 'make distclean' also removes $(VENV)"

compile: $(STAMP)
	@$(if $(TARGET),:,echo "error: which target? make compile TARGET=arm64, or android, armv7, riscv64, macos, host, x86-64, web, jetson" >&2; exit 2)
	@$(REPGHOST) compile --target "$(TARGET)" $(OPTIONS)

# The package for devices, from a copy, so that nothing is left beside its sources.
wheel: $(STAMP)
	@rm -rf "$(OUTPUT)/runtime" && mkdir -p "$(OUTPUT)" && cp -rL runtime "$(OUTPUT)/runtime"
	@$(BIN)/pip wheel --quiet --no-deps --wheel-dir "$(OUTPUT)/wheels" "$(OUTPUT)/runtime"
	@rm -rf "$(OUTPUT)/runtime"; ls "$(OUTPUT)"/wheels/repghost_runtime-*.whl

# Plain files for any web server: python -m http.server -d build/demo. The carried network, and every width of random
# weights to be timed; other bundles for browsers in the same folder are shown, too. WIDTHS: separated by commas.
comma := ,
DEMO_WIDTHS = $(or $(subst $(comma), ,$(WIDTHS)),0.5 0.58 0.8 1.0 1.11 1.3 1.5 2.0)
demo: $(STAMP)
	@$(REPGHOST) compile --target web --no-host --output "$(OUTPUT)"
	@for width in $(DEMO_WIDTHS); do $(REPGHOST) compile --target web --no-host --weights random --width "$$width" \
	$(call option,SIZE,size) --output "$(OUTPUT)" || exit; done
	@$(REPGHOST) demo "$(OUTPUT)" --output "$(OUTPUT)/demo"

# WIDTHS: separated by commas. WEIGHTS may also be a folder of checkpoints, one per width. A finished width is not repeated.
MEASURED := $(wildcard $(addprefix docs/,performance.json baselines.json accuracy.json jetson.json rivals/*.json boards/*.json))
report: $(STAMP)
	@$(REPGHOST) report "$(OUTPUT)" $(MEASURED) --build --target "$(or $(TARGET),arm64)" \
	$(call option,WEIGHTS,weights) $(call option,DATA,data) $(call option,SIZE,size) $(call option,WIDTHS,widths) \
	$(call option,IMAGES,images) $(call option,TEST_IMAGES,test-images) $(call option,MAX_DROP,max-drop) \
	$(call option,CLASS_ORDER,class-order) $(call option,CLASS_MAP,class-map) $(call option,VAL_SHARE,val-share) $(call option,COMPARE,compare) --output "$(OUTPUT)/report"

# docs/figures.md, from docs/accuracy.json and docs/performance.json; docs/boards.md and the README's boards with it.
front: $(STAMP)
	@$(BIN)/python -m benchmarks.badges
	@$(BIN)/python -m benchmarks.readme_figures
	@$(BIN)/python -m benchmarks.boards

# About 110 MB of packages, which nothing else needs. To look at it: python -m http.server -d build/site
site: $(SITE_STAMP)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir "$(abspath $(OUTPUT))/site"

# Where the environment forbids Python to keep bytecode, every process of a test would compile all sources again.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(PROCESSES) --dist loadscope --no-loadscope-reorder

test: $(DEV_STAMP) $(if $(TORCH),,$(CONVERTERS_STAMP))
	@$(BIN)/python -m tests.support.fetch
	$(PYTEST)

# Without the tests that build, train or deploy whole networks (marked slow).
test-fast: PROCESSES = auto
test-fast: $(DEV_STAMP)
	$(PYTEST) -m "not slow"

# Harnesses and corpora: tests/fuzz; without clang it says so. Then as long: bundles that are changed after signing.
SECONDS ?= 20
fuzz: $(DEV_STAMP)
	@$(BIN)/python -m tests.support.fuzzers --seconds "$(SECONDS)" --jobs "$(JOBS)" --output "$(OUTPUT)/fuzz"
	@REPGHOST_FUZZ_SECONDS="$(SECONDS)" $(BIN)/python -m pytest -q tests/compile/deploy/test_signing.py -k mutated

check: lint imports duplicates types

lint: $(DEV_STAMP)
	$(BIN)/ruff check $(PACKAGES)
	$(BIN)/ruff format --check $(PACKAGES)

# The order of the packages and no circles: see [tool.importlinter] in pyproject.toml.
imports: $(DEV_STAMP)
	$(BIN)/lint-imports --no-cache

# Lines of code that stand in two places; imports and docstrings are not counted.
SAME_LINES := 7
duplicates: $(DEV_STAMP)
	@found="$$($(BIN)/symilar --duplicates $(SAME_LINES) --ignore-imports --ignore-docstrings --ignore-comments \
	--ignore-signatures $$(find repghost calib compile benchmarks -name '*.py'))" || exit; \
	case "$$found" in *"similar lines in"*) echo "$$found" >&2; exit 1;; *) echo "no duplicates of $(SAME_LINES) lines";; esac

types: $(DEV_STAMP)
	$(BIN)/mypy

format: $(DEV_STAMP)
	$(BIN)/ruff check --fix $(PACKAGES)
	$(BIN)/ruff format $(PACKAGES)

# PEERS_PYTHON: an interpreter that has the runtimes to compare with; .venv with the extra [peers] by default.
# Both go on where they were interrupted.
bars: $(STAMP)
	@$(BIN)/python -m benchmarks.host --output "$(OUTPUT)" $(if $(PEERS_PYTHON),--python "$(PEERS_PYTHON)")

network-bars: $(STAMP)
	@$(BIN)/python -m benchmarks.host --networks --output "$(OUTPUT)" $(if $(PEERS_PYTHON),--python "$(PEERS_PYTHON)")

# Needs qemu-user with plugins. Goes on where it was interrupted; what did not change is not counted again.
counts: $(STAMP)
	@$(BIN)/python -m benchmarks.arm64 --output "$(OUTPUT)"

# What the kernels of earlier runs save is left out: each run starts without any.
compile-time: $(STAMP)
	@$(BIN)/python -m benchmarks.compile_time --docs docs

# TRAIN_DATA: the set of pictures to train on; the carried ones by default.
train-bars: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.training --data "$(or $(TRAIN_DATA),repghost/bundled/fashion-mnist)" \
	--output docs

# The authors' `distributed_train.sh 8 ...` is `make train GPUS=8 DATA=DIR WIDTH=0.5 ARGS="..."`: a process for each GPU.
train: $(STAMP)
	@$(if $(DATA),:,echo "error: which pictures? make train DATA=DIR" >&2; exit 2)
	@$(REPGHOST) train $(call option,DATA,data) $(call option,WIDTH,width) $(call option,RECIPE,recipe) \
	$(call option,EPOCHS,epochs) $(call option,GPUS,processes) $(call option,THREADS,threads) $(ARGS)

# WIDTHS, DATA; RECIPE, EPOCHS, QAT (fused, reparam or both), AMP=bfloat16 on a GPU, AT_ONCE: how many widths at the
# same time. What is finished is not repeated.
EPOCHS ?=
AT_ONCE ?=
QAT ?=
RUNS ?= runs/widths
widths: $(STAMP)
	@$(BIN)/python -m benchmarks.widths --widths "$(or $(WIDTHS),0.5)" $(call option,DATA,data) --recipe "$(or $(RECIPE),demo)" \
	$(call option,EPOCHS,epochs) $(call option,AMP,amp-dtype) $(call option,THREADS,threads) $(call option,IMAGES,images) \
	$(call option,AT_ONCE,at-once) $(addprefix --qat ,$(QAT)) --output "$(RUNS)"

# CHECKPOINTS: of `make widths` by default. ADD=1 keeps the other networks of docs/accuracy.json.
# PEERS_PYTHON: interpreters that have onnxruntime, nncf, nvidia-modelopt.
CHECKPOINTS ?= $(wildcard $(RUNS)/*/model.safetensors)
accuracy: $(STAMP)
	@$(if $(CHECKPOINTS),:,echo "error: which networks? make accuracy CHECKPOINTS=... DATA=..." >&2; exit 2)
	@OMP_NUM_THREADS=1 $(REPGHOST) accuracy $(CHECKPOINTS) $(call option,DATA,data) $(call option,PREPROCESS,preprocess) \
	$(call option,IMAGES,images) $(call option,TEST_IMAGES,test-images) $(call option,CLASS_ORDER,class-order) $(call option,CLASS_MAP,class-map) $(call option,VAL_SHARE,val-share) $(addprefix --python ,$(PEERS_PYTHON)) \
	$(if $(ADD),--add) --cells "$(OUTPUT)/accuracy" --output docs

qat-bench: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.qat_step $(call option,WEIGHTS,weights) \
	$(call option,DATA,data) --output docs

# Other networks, of random weights: build/<network>-224px-random/, and docs/baselines.json. BASELINES: timm's names, by commas.
BASELINES ?=
baselines: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.other_networks --docs docs $(call option,OUTPUT,output) \
	$(call option,BASELINES,networks)

# Only the milliseconds that are missing in docs/baselines.json, on a quiet machine; compiles nothing, takes a minute.
baseline-latency: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.other_networks --latency-only --docs docs $(call option,OUTPUT,output)

# Other runtimes' executed arm64 instructions, for networks of random weights: build/rivals/<width>-<core>.json.
# What was counted for the same bundle is not counted again. PEERS_PYTHON as for bars.
RIVALS ?= onnxruntime,openvino,ncnn,mnn,litert
RIVAL_WIDTHS ?= 0.5,1.0
rival-counts: $(STAMP)
	@$(BIN)/python -m benchmarks.other_runtimes --runtimes "$(RIVALS)" --widths "$(RIVAL_WIDTHS)" --output "$(OUTPUT)" \
	$(if $(PEERS_PYTHON),--python "$(PEERS_PYTHON)")

# What is proven for Jetson without one, into docs/jetson.md. RTX_PYTHON: an interpreter with the extra [tensorrt-rtx];
# TORCH_TENSORRT_PYTHON: one with [torch-tensorrt-rtx]; JETSON_REPORTS: jetson.json of trained networks.
jetson-check: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.tensorrt.checked $(JETSON_REPORTS) --output "$(OUTPUT)" \
	$(if $(RTX_PYTHON),--rtx-python "$(RTX_PYTHON)") \
	$(if $(TORCH_TENSORRT_PYTHON),--torch-tensorrt-python "$(TORCH_TENSORRT_PYTHON)")

doctor: $(STAMP)
	@$(REPGHOST) doctor

setup: $(DEV_STAMP)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "error: Python 3.11 or newer is needed, \
	this is " + sys.version.split()[0] + "; name another one: make PYTHON=python3.11 ...")'
	@$(PYTHON) -m venv $(VENV) || { \
	echo "error: $(PYTHON) has no venv module; on Debian or Ubuntu: apt install python3-venv" >&2; rm -rf $(VENV); exit 4; }

$(STAMP): pyproject.toml | $(BIN)/python
	@echo "setting up $(VENV); the first time this downloads PyTorch and TVM"
	@$(if $(TORCH),$(BIN)/pip install --quiet torch torchvision --index-url $(TORCH_INDEX))
	@$(BIN)/pip install --quiet --editable .
	@touch $@

$(DEV_STAMP): pyproject.toml $(STAMP)
	@$(BIN)/pip install --quiet --editable ".[dev]"
	@$(if $(TORCH),:,$(BIN)/pip install --quiet --editable ".[tensorrt-rtx]" || \
	echo "TensorRT for RTX is not to be had here; the tests that need it are skipped")
	@touch $@

$(SITE_STAMP): pyproject.toml $(STAMP)
	@$(BIN)/pip install --quiet --editable ".[docs]"
	@touch $@

# torch-tensorrt wants another TensorRT for RTX than the other tests; the rest it finds in the first environment.
$(CONVERTERS_STAMP): pyproject.toml $(DEV_STAMP)
	@$(BIN)/python -m venv $(CONVERTERS)
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > $(CONVERTERS)/beside.pth
	@mv $(CONVERTERS)/beside.pth "$$($(CONVERTERS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	@$(CONVERTERS)/bin/pip install --quiet --editable ".[torch-tensorrt-rtx]" || \
	echo "torch-tensorrt is not to be had here; the test that needs it is skipped"
	@touch $@

clean:
	rm -rf $(OUTPUT) .pytest_cache .ruff_cache .mypy_cache .hypothesis

distclean: clean
	rm -rf $(VENV) *.egg-info
