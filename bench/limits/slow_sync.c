// For LD_PRELOAD: makes every sync take $SLOW_SYNC_US microseconds longer, as on a slower disk.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int later(const char *name, int file) {
    const char *wait = getenv("SLOW_SYNC_US");
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    usleep(wait ? (useconds_t)atol(wait) : 0);
    return sync(file);
}

int fsync(int file) { return later("fsync", file); }

int fdatasync(int file) { return later("fdatasync", file); }
