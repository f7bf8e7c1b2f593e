/* Commands that go on until they are ended. */
#ifndef RG_STOPPING_H
#define RG_STOPPING_H

/* From now on SIGTERM and Ctrl-C end no program, but let `stopped` say so; what waits in the system is interrupted. */
void stop_on_signals(void);

/* Whether one of them came. */
int stopped(void);

/* Waits so many milliseconds, or until a signal comes. */
void rest(int ms);

#endif
