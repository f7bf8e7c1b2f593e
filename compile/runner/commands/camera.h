/* Naming what a camera sees. */
#ifndef RG_CAMERA_H
#define RG_CAMERA_H

#include "commands/classify.h"

struct camera_wish {
  const char *device;      /* e.g. /dev/video0 */
  int32_t width, height;   /* of a frame; the camera gives what comes closest */
  int interval_ms;         /* at least so long between two frames that are classified */
  int most;                /* end after so many; 0: never */
};

/* Prints a JSON object when it begins and one for each frame, the newest there is. Returns when `most` is reached or the
 * program is asked to end; ends the program when there is no such camera, or it gives nothing that can be used any more. */
void watch_camera(const struct classifier *classifier, const struct camera_wish *wish);

#endif
