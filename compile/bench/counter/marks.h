/* How the counted program tells the counter that a stretch begins or ends: a system call that does nothing. */
#ifndef RG_MARKS_H
#define RG_MARKS_H

#ifndef PRCTL
#define PRCTL 167 /* on arm64 */
#endif

enum {
  MARK_CALL = PRCTL,
  MARK_OPTION = 0x52474d4b, /* no option of prctl */
  MARK_START = 0,           /* what ran before does not count */
  MARK_WHOLE = 1,           /* one inference ran */
  MARK_FIRST_STEP = 2       /* and the numbers after it: one step ran */
};

#endif
