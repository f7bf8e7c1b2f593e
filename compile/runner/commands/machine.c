#include "commands/machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bundle/bundle.h"
#include "commands/affinity.h"

enum { MOST_ZONES = 64, TEXT_BYTES = 64, UNKNOWN = -1 };

/* Reads a whole number from a file of the kernel; returns UNKNOWN when there is none. */
static long kernel_number(const char *path) {
  char text[TEXT_BYTES];
  FILE *file = fopen(path, "r");
  if (!file) return UNKNOWN;
  char *line = fgets(text, sizeof text, file);
  fclose(file);
  char *end = NULL;
  long value = line ? strtol(line, &end, 10) : UNKNOWN;
  return end && end != line && value >= 0 ? value : UNKNOWN;
}

static cpu_set_t allowed(void) {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set)) CPU_ZERO(&set);
  return set;
}

/* Virtual machines and some boards have no cpufreq; x86-64 kernels then still name the clock in /proc/cpuinfo. */
static long cpuinfo_khz(void) {
  char line[512];
  double fastest = 0, megahertz;
  FILE *file = fopen("/proc/cpuinfo", "r");
  while (file && fgets(line, sizeof line, file)) {
    const char *value = strncmp(line, "cpu MHz", 7) ? NULL : strchr(line, ':');
    if (value && sscanf(value + 1, "%lf", &megahertz) == 1 && megahertz > fastest) fastest = megahertz;
  }
  if (file) fclose(file);
  return fastest > 0 && fastest < 1e6 ? (long)(fastest * 1000) : UNKNOWN;
}

static long clock_khz(void) {
  cpu_set_t set = allowed();
  long fastest = UNKNOWN;
  for (int core = 0; core < CPU_SETSIZE; core++) {
    char path[96];
    if (!CPU_ISSET(core, &set)) continue;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq", core);
    long found = kernel_number(path);
    if (found > fastest) fastest = found;
  }
  return fastest > 0 ? fastest : cpuinfo_khz();
}

static double temperature_c(void) {
  long hottest = UNKNOWN;
  for (int zone = 0; zone < MOST_ZONES; zone++) {
    char path[64];
    snprintf(path, sizeof path, "/sys/class/thermal/thermal_zone%d/temp", zone);
    long found = kernel_number(path);
    if (found > hottest) hottest = found;
  }
  return hottest > 0 ? (double)hottest / 1000 : UNKNOWN;
}

struct machine_state machine_state(void) { return (struct machine_state){clock_khz(), temperature_c()}; }

static void no_list(const char *list) {
  stop(EXIT_USAGE, "--cores takes a list like 4-7 or 0,2, not '%s'", list);
}

static int core_number(const char *list, const char **at) {
  char *end;
  if (**at < '0' || **at > '9') no_list(list);
  long value = strtol(*at, &end, 10);
  if (value >= CPU_SETSIZE) no_list(list);
  *at = end;
  return (int)value;
}

void use_cores(const char *list) {
  cpu_set_t set, before = allowed();
  CPU_ZERO(&set);
  for (const char *at = list;; at++) {
    int first = core_number(list, &at), last = first;
    if (*at == '-') at++, last = core_number(list, &at);
    if (last < first) no_list(list);
    for (int core = first; core <= last; core++) {
      if (!CPU_ISSET(core, &before)) stop(EXIT_USAGE, "--cores %s: there is no core %d for this program", list, core);
      CPU_SET(core, &set);
    }
    if (!*at) break;
    if (*at != ',') no_list(list);
  }
  if (sched_setaffinity(0, sizeof set, &set)) stop(EXIT_USAGE, "--cores %s: %s", list, strerror(errno));
}

void print_cores(void) {
  cpu_set_t set = allowed();
  const char *comma = "";
  putchar('"');
  for (int core = 0; core < CPU_SETSIZE; core++) {
    int last = core;
    if (!CPU_ISSET(core, &set)) continue;
    while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, &set)) last++;
    if (last > core) printf("%s%d-%d", comma, core, last);
    else printf("%s%d", comma, core);
    comma = ",", core = last;
  }
  putchar('"');
}

void print_state(struct machine_state state) {
  if (state.clock_khz > 0) printf("{\"clock_khz\":%ld,", state.clock_khz);
  else printf("{\"clock_khz\":null,");
  if (state.temperature_c > 0) printf("\"temperature_c\":%.4g}", state.temperature_c);
  else printf("\"temperature_c\":null}");
}
