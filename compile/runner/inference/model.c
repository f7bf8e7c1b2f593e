#include "inference/model.h"

#include <stdlib.h>
#include <string.h>

#include "bundle/bundle.h"
#include "bundle/json.h"
#include "inference/loader.h"

static void *symbol(void *library, const char *name) {
  void *address = loader_symbol(library, name);
  if (!address) stop(EXIT_INTEGRITY, "model.so has no function %s", name);
  return address;
}

static int positive(const struct json *value) {
  if (!value || value->kind != JSON_NUMBER || value->number < 1 || value->number > 1 << 26)
    stop(EXIT_INTEGRITY, "model.so describes itself wrongly: input or classes is missing");
  return (int)value->number;
}

static void read_info(struct model *model) {
  const char *error = NULL;
  const struct json *info = json_parse(model->info, strlen(model->info), &error);
  const struct json *input = json_member(info, "input");
  model->height = positive(json_member(input, "height"));
  model->width = positive(json_member(input, "width"));
  model->channels = positive(json_member(input, "channels"));
  if (model->channels > 4) stop(EXIT_INTEGRITY, "model.so takes pictures of %d channels, this runner knows 1 to 4", model->channels);
  model->classes = positive(json_member(info, "classes"));
}

/* What every core of a family lacks that none of its variants can run on. */
#if defined(__arm__)
#define RG_NEEDS ": it has no NEON, as those of the first Raspberry Pi and the first Pi Zero"
#elif defined(__riscv)
#define RG_NEEDS ": it has no vectors of RISC-V (RVV 1.0)"
#else
#define RG_NEEDS ""
#endif

struct model load_model(const char *path, const char *variant, int threads) {
  struct model model = {0};
  const char *problem;
  void *library = loader_open(path, &problem);
  if (!library) stop(EXIT_UNSUPPORTED, "cannot load %s: %s", path, problem);
  int abi = ((int (*)(void))symbol(library, "rg_abi"))();
  if (abi != RG_ABI && abi != RG_ABI_RESULTS)
    stop(EXIT_INTEGRITY, "model.so has interface version %d, this runner knows %d and %d", abi, RG_ABI, RG_ABI_RESULTS);
  model.several = abi == RG_ABI_RESULTS;
  model.info = ((const char *(*)(void))symbol(library, "rg_info"))();
  model.variant = (const char *(*)(void))symbol(library, "rg_variant");
  *(void **)&model.prepare_bytes = symbol(library, "rg_prepare_bytes");
  *(void **)&model.prepare = symbol(library, "rg_prepare");
  *(void **)&model.infer = symbol(library, "rg_infer");
  *(void **)&model.infer_parallel = symbol(library, "rg_infer_parallel");
  int (*steps)(void) = (int (*)(void))loader_symbol(library, "rg_steps");
  if (steps) model.steps = steps(), *(void **)&model.run_step = symbol(library, "rg_run_step");
  int status = ((int (*)(const char *))symbol(library, "rg_select"))(variant);
  if (status == RG_UNKNOWN_VARIANT) stop(EXIT_USAGE, "no variant '%s'; this model describes itself as %s", variant, model.info);
  if (status) stop(EXIT_UNSUPPORTED, "this core cannot run %s" RG_NEEDS "; the model is %s", variant ? variant : "any variant", model.info);
  read_info(&model);
  size_t bytes = ((size_t(*)(void))symbol(library, "rg_workspace_bytes"))();
  if (posix_memalign(&model.workspace, RG_WORKSPACE_ALIGNMENT, bytes ? bytes : 1))
    stop(EXIT_OTHER, "out of memory: the workspace needs %zu bytes", bytes);
  model.threads = threads;
  if (threads > 1) model.pool = pool_start(threads);
  return model;
}

void infer(const struct model *model, const uint8_t *rgb, float *logits) {
  int status = model->pool ? model->infer_parallel(rgb, logits, model->workspace, pool_run, model->pool, model->threads)
                           : model->infer(rgb, logits, model->workspace);
  if (status) stop(EXIT_OTHER, "the inference failed with status %d (see rg_status in repghost.h)", status);
}
