/* Preloaded into a process, sets its wall clock off by CLOCK_OFFSET seconds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

typedef int (*reader)(clockid_t, struct timespec *);

int clock_gettime(clockid_t clock, struct timespec *time) {
    static reader real;
    static long offset;
    if (!real) {
        const char *text = getenv("CLOCK_OFFSET");
        offset = text ? atol(text) : 0;
        real = (reader)dlsym(RTLD_NEXT, "clock_gettime");
    }
    int result = real(clock, time);
    if (result == 0 && clock == CLOCK_REALTIME) {
        time->tv_sec += offset;
    }
    return result;
}
