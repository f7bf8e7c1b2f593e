/* What the machine does while it measures: the cores in use, their clock, its temperature. */
#ifndef RG_MACHINE_H
#define RG_MACHINE_H

/* -1 where the kernel does not say. */
struct machine_state {
  long clock_khz;       /* of the fastest core this program may use */
  double temperature_c; /* of the hottest sensor, degrees Celsius */
};

struct machine_state machine_state(void);

/* Keeps this program and the threads it will start on the cores of a list like "4-7" or "0,2"; ends the program when
 * the list is none or names a core that this machine does not have. */
void use_cores(const char *list);

/* Prints the cores this program may use as a JSON string like "0-3,6". */
void print_cores(void);

/* Prints a state as a JSON object. */
void print_state(struct machine_state state);

#endif
