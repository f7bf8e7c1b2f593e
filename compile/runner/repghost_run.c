/* repghost-run: checks, verifies, measures and uses a bundle on the device it lies on.
 *
 * Results are JSON, one object a line, on standard output; errors are sentences on standard error.
 * model.so is loaded only after every file of the bundle matched its digest.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __APPLE__
#include <mach-o/dyld.h>
#endif

#include "bundle/bundle.h"
#include "commands/camera.h"
#include "commands/classify.h"
#include "commands/detect.h"
#include "commands/machine.h"
#include "commands/measure.h"
#include "commands/stream.h"
#include "inference/model.h"
#include "bundle/text.h"
#include "bundle/vectors.h"
#include "commands/watch.h"
#include "images/decode.h"

#define PROGRAM_VERSION "0.1.0" /* of the package that made the bundle */

static const char usage[] =
    "usage: repghost-run COMMAND [OPTIONS] [PICTURE...]\n"
    "  --info               what the bundle holds and which instruction set this core uses\n"
    "  --verify             check every digest, then replay the recorded pictures\n"
    "  --bench              measure the latency of one inference\n"
    "  --profile            measure each step; needs a profiling build (repghost bench --per-layer)\n"
    "  --classify           name what is on each PICTURE: JPEG, PNG, binary PPM or PGM, or raw bytes of the input\n"
    "  --detect             find the objects on each PICTURE, where the network is a detector\n"
    "  --watch DIR          classify the pictures that arrive in a folder until it is ended\n"
    "  --stream             infer the pictures of standard input, raw bytes of the input one after the other\n"
    "  --camera DEVICE      name what a camera sees, e.g. /dev/video0, until it is ended\n"
    "  --version            what this program calls itself, and the C interface it knows\n"
    "options:\n"
    "  --bundle DIR         the bundle; default: the folder of this program\n"
    "  --variant NAME       use this instruction set instead of the best one\n"
    "  --threads N          1 to 64 threads; default 1\n"
    "  --vectors FILE       with --verify, --bench and --profile: other recorded pictures\n"
    "  --runs N             with --bench and --profile: measured inferences, 1 to 1000000; default 100\n"
    "  --warmup N           with --bench, --profile and --stream: inferences before, 0 to 1000000; default 10\n"
    "  --seconds N          with --bench: measure so long instead, 1 to 3600, and print the curve\n"
    "  --cores LIST         stay on these cores, e.g. 4-7 or 0,2\n"
    "  --turns              with --bench: for each line of standard input, a count, measure so many inferences\n"
    "  --top N              with --classify, --watch and --camera: how many classes to name; default 5\n"
    "  --draw FILE          with --detect and one picture: write it as a PPM file with its boxes\n"
    "                       that have a score of at least 0.3; all are printed\n"
    "  --max-pixels N       with pictures: refuse larger ones; default 16777216, which takes 400 MB of\n"
    "                       memory at worst, up to 89478485\n"
    "  --interval N         with --watch: milliseconds between two looks into the folder, 10 to 60000; default 500;\n"
    "                       with --camera: at least so many between two frames\n"
    "  --frame WxH          with --camera: pixels of a frame to ask for; default 640x480\n"
    "  --existing           with --watch: also the pictures that are there already\n"
    "  --count N            with --watch and --camera: end after so many pictures\n"
    "exit codes: 0 done, 2 wrong usage, 4 this machine cannot run it, 5 a camera fails,\n"
    "6 a digest or a recorded picture did not match\n";

struct options {
  const char *command, *bundle, *variant, *vectors, *cores, *source, *draw;
  int threads, runs, warmup, seconds, top, max_pixels, turns, interval_ms, existing, most, width, height;
  char **pictures;
  const char **given; /* the options, in their order */
  int picture_count, given_count;
};

/* Which commands read an option; bundle, variant, threads and cores are for all. */
static const struct {
  const char *option, *commands;
} readers[] = {
    {"--vectors", "--verify, --bench and --profile"},
    {"--runs", "--bench and --profile"},
    {"--warmup", "--bench, --profile and --stream"},
    {"--seconds", "--bench"},
    {"--turns", "--bench"},
    {"--top", "--classify, --watch and --camera"},
    {"--draw", "--detect"},
    {"--max-pixels", "--classify, --detect, --watch and --camera"},
    {"--interval", "--watch and --camera"},
    {"--frame", "--camera"},
    {"--existing", "--watch"},
    {"--count", "--watch and --camera"},
};

static int whole_number(const char *option, const char *text, long low, long high) {
  char *end;
  errno = 0;
  long value = strtol(text, &end, 10);
  if (errno || *end || end == text || value < low || value > high)
    stop(EXIT_USAGE, "%s takes a whole number from %ld to %ld, not '%s'", option, low, high, text);
  return (int)value;
}

static void read_frame(struct options *o, const char *text) {
  char *end, width[8] = "";
  size_t digits = strcspn(text, "x");
  if (!text[digits] || digits >= sizeof width) stop(EXIT_USAGE, "--frame takes a size like 640x480, not '%s'", text);
  memcpy(width, text, digits);
  end = (char *)text + digits + 1;
  o->width = whole_number("--frame", width, 1, 1 << 14), o->height = whole_number("--frame", end, 1, 1 << 14);
}

static void read_option(struct options *o, const char *name, const char *value) {
  if (!value) stop(EXIT_USAGE, "%s needs a value\n%s", name, usage);
  if (!strcmp(name, "--bundle")) o->bundle = value;
  else if (!strcmp(name, "--variant")) o->variant = value;
  else if (!strcmp(name, "--vectors")) o->vectors = value;
  else if (!strcmp(name, "--threads")) o->threads = whole_number(name, value, 1, 64);
  else if (!strcmp(name, "--runs")) o->runs = whole_number(name, value, 1, 1000000);
  else if (!strcmp(name, "--warmup")) o->warmup = whole_number(name, value, 0, 1000000);
  else if (!strcmp(name, "--seconds")) o->seconds = whole_number(name, value, 1, 3600);
  else if (!strcmp(name, "--cores")) o->cores = value;
  else if (!strcmp(name, "--draw")) o->draw = value;
  else if (!strcmp(name, "--interval")) o->interval_ms = whole_number(name, value, 10, 60000);
  else if (!strcmp(name, "--frame")) read_frame(o, value);
  else if (!strcmp(name, "--count")) o->most = whole_number(name, value, 1, 1 << 30);
  else if (!strcmp(name, "--max-pixels")) o->max_pixels = whole_number(name, value, 1, MOST_PIXELS);
  else if (!strcmp(name, "--top")) o->top = whole_number(name, value, 1, 1 << 20);
  else stop(EXIT_USAGE, "unknown option %s\n%s", name, usage);
}

/* Refuses options that the command does not read: whoever gives one expects that it does something. */
static void check_options(const struct options *o) {
  for (int i = 0; i < o->given_count; i++) {
    for (size_t j = 0; j < sizeof readers / sizeof readers[0]; j++) {
      if (!strcmp(o->given[i], readers[j].option) && !strstr(readers[j].commands, o->command))
        stop(EXIT_USAGE, "%s belongs to %s, not to %s", o->given[i], readers[j].commands, o->command);
    }
  }
}

static int is_command(const char *name) {
  static const char *const commands[] = {"--info", "--verify", "--bench", "--profile", "--classify", "--detect",
                                        "--watch", "--camera", "--stream"};
  for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
    if (!strcmp(name, commands[i])) return 1;
  }
  return 0;
}

/* The commands that go on, and are told where pictures come from. */
static int takes_source(const char *command) { return !strcmp(command, "--watch") || !strcmp(command, "--camera"); }

static void choose_command(struct options *o, const char *name, const char *next) {
  if (o->command) stop(EXIT_USAGE, "%s and %s were given; one command at a time", o->command, name);
  o->command = name;
  if (!takes_source(name)) return;
  if (!next) stop(EXIT_USAGE, "%s needs a %s", name, strcmp(name, "--watch") ? "device, e.g. /dev/video0" : "folder");
  o->source = next;
}

/* Reads one option and returns how many words it took; `next` is null after the last one. */
static int take_option(struct options *o, const char *name, const char *next) {
  int *flag = !strcmp(name, "--turns") ? &o->turns : !strcmp(name, "--existing") ? &o->existing : NULL;
  if (!strcmp(name, "--help")) {
    fputs(usage, stdout);
    exit(EXIT_DONE);
  }
  if (!strcmp(name, "--version")) {
    printf("repghost-run %s, C interface %d\n", PROGRAM_VERSION, RG_ABI);
    exit(EXIT_DONE);
  }
  if (!is_command(name)) o->given[o->given_count++] = name;
  if (flag) return *flag = 1;
  if (!is_command(name)) return read_option(o, name, next), 2;
  choose_command(o, name, next);
  return takes_source(name) ? 2 : 1;
}

/* Options and pictures may stand in any order; what follows "--" is a picture whatever it looks like. */
static struct options read_options(int count, char **arguments) {
  struct options o = {.threads = 1, .runs = 100, .warmup = 10, .top = 5, .max_pixels = USUAL_PIXELS};
  o.width = 640, o.height = 480;
  o.pictures = allocate((size_t)count * sizeof *o.pictures);
  o.given = allocate((size_t)count * sizeof *o.given);
  for (int i = 1, ended = 0; i < count;) {
    const char *word = arguments[i];
    if (ended || strncmp(word, "--", 2)) o.pictures[o.picture_count++] = arguments[i++];
    else if (!strcmp(word, "--")) ended = 1, i++;
    else i += take_option(&o, word, i + 1 < count ? arguments[i + 1] : NULL);
  }
  if (!o.command) stop(EXIT_USAGE, "a command is missing\n%s", usage);
  check_options(&o);
  int detect = !strcmp(o.command, "--detect"), reads = detect || !strcmp(o.command, "--classify");
  if (reads && o.picture_count == 0) stop(EXIT_USAGE, "%s needs a picture", o.command);
  if (!reads && o.picture_count) stop(EXIT_USAGE, "%s takes no '%s'", o.command, o.pictures[0]);
  if (o.draw && o.picture_count != 1) stop(EXIT_USAGE, "--draw belongs to --detect with one picture");
  return o;
}

static char *own_folder(void) {
  char *path = allocate(PATH_MAX);
#ifdef __APPLE__
  uint32_t room = PATH_MAX;
  ssize_t size = _NSGetExecutablePath(path, &room) ? 0 : (ssize_t)strlen(path);
#else
  ssize_t size = readlink("/proc/self/exe", path, PATH_MAX - 1);
#endif
  if (size <= 0) stop(EXIT_USAGE, "cannot find the folder of this program; give the bundle with --bundle DIR");
  path[size] = 0;
  char *slash = strrchr(path, '/');
  if (slash) *slash = 0;
  return path;
}

static int verify(const struct options *o, const struct model *model, const char *vectors, int files) {
  struct replay r = replay_vectors(model, vectors);
  printf("{\"command\":\"verify\",\"ok\":%s,\"files\":%d,\"variant\":\"%s\",\"threads\":%d,\"pictures\":%u,\"mismatches\":%u,"
         "\"tolerance\":%.9g,\"largest_difference\":",
         r.mismatches ? "false" : "true", files, model->variant(), o->threads, r.count, r.mismatches, (double)r.tolerance);
  print_number(r.largest, 6);
  printf("}\n");
  if (r.mismatches)
    stop(EXIT_INTEGRITY, "%u of %u recorded pictures gave other scores than expected with the variant %s", r.mismatches,
         r.count, model->variant());
  return EXIT_DONE;
}

static int measure(const struct options *o, const struct model *model, const char *vectors) {
  const uint8_t *picture = first_picture(model, vectors);
  if (!strcmp(o->command, "--profile")) print_profile(model, picture, o->warmup, o->runs);
  else if (o->turns) print_turns(model, picture, o->warmup);
  else print_latency(model, picture, o->warmup, o->runs, o->seconds);
  return EXIT_DONE;
}

static int classify_all(const struct options *o, const struct model *model) {
  struct classifier classifier = new_classifier(model, "classify", o->bundle, o->top, o->max_pixels);
  int code = EXIT_DONE;
  for (int i = 0; i < o->picture_count; i++) {
    const char *problem = classify(&classifier, o->pictures[i]);
    if (!problem) continue;
    fflush(stdout);
    fprintf(stderr, "repghost-run: %s\n", problem);
    code = EXIT_USAGE;
  }
  return code;
}

static int detect_all(const struct options *o, const struct model *model) {
  struct detector detector = new_detector(model, o->bundle, o->max_pixels);
  int code = EXIT_DONE;
  for (int i = 0; i < o->picture_count; i++) {
    const char *problem = detect(&detector, o->pictures[i], o->draw);
    if (!problem) continue;
    fflush(stdout);
    fprintf(stderr, "repghost-run: %s\n", problem);
    code = EXIT_USAGE;
  }
  return code;
}

static int watch_folder(const struct options *o, const struct model *model) {
  struct classifier classifier = new_classifier(model, "watch", o->bundle, o->top, o->max_pixels);
  watch(&classifier, &(struct watch){o->source, o->interval_ms ? o->interval_ms : 500, o->existing, o->most});
  return EXIT_DONE;
}

static int read_camera(const struct options *o, const struct model *model) {
  if (keeps_bands(model)) stop(EXIT_USAGE, "a camera gives RGB, and the network takes pictures of %d bands", model->channels);
  struct classifier classifier = new_classifier(model, "camera", o->bundle, o->top, o->max_pixels);
  watch_camera(&classifier, &(struct camera_wish){o->source, o->width, o->height, o->interval_ms, o->most});
  return EXIT_DONE;
}

static int infer_stream(const struct options *o, const struct model *model) {
  stream(model, o->warmup);
  return EXIT_DONE;
}

static int information(const struct model *model, int files) {
  printf("{\"command\":\"info\",\"files\":%d,\"variant\":\"%s\",\"model\":%s}\n", files, model->variant(), model->info);
  return EXIT_DONE;
}

int main(int count, char **arguments) {
  struct options o = read_options(count, arguments);
  if (!o.bundle) o.bundle = own_folder();
  if (o.cores) use_cores(o.cores);
  int files = check_bundle(o.bundle), code = EXIT_DONE;
  struct model model = load_model(join(o.bundle, MODEL_FILE), o.variant, o.threads);
  if (model.several && (!strcmp(o.command, "--classify") || takes_source(o.command)))
    stop(EXIT_USAGE, "%s names classes, and this network gives several results; --detect shows what a detector finds",
         o.command);
  const char *vectors = o.vectors ? o.vectors : join(o.bundle, "vectors.bin");
  if (!strcmp(o.command, "--verify")) code = verify(&o, &model, vectors, files);
  else if (!strcmp(o.command, "--bench") || !strcmp(o.command, "--profile")) code = measure(&o, &model, vectors);
  else if (!strcmp(o.command, "--classify")) code = classify_all(&o, &model);
  else if (!strcmp(o.command, "--detect")) code = detect_all(&o, &model);
  else if (!strcmp(o.command, "--watch")) code = watch_folder(&o, &model);
  else if (!strcmp(o.command, "--stream")) code = infer_stream(&o, &model);
  else if (!strcmp(o.command, "--camera")) code = read_camera(&o, &model);
  else code = information(&model, files);
  send_output();
  return code;
}
