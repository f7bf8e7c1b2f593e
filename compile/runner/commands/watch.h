/* Classifying the pictures that arrive in a folder. */
#ifndef RG_WATCH_H
#define RG_WATCH_H

#include "commands/classify.h"

struct watch {
  const char *folder;
  int interval_ms; /* between two looks into the folder */
  int existing;    /* whether the pictures that are there already are classified too */
  int most;        /* end after so many pictures, readable or not; 0: never */
};

/* Prints a JSON object when it begins and one for each picture; a picture that cannot be read is named on standard
 * error. Returns when `most` is reached or the program is asked to end; ends the program when the folder cannot be listed. */
void watch(const struct classifier *classifier, const struct watch *wanted);

#endif
