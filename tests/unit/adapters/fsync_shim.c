/* Counts fsync and fdatasync in the file that SHIM_COUNT names, and fails them while the file of SHIM_FAIL exists. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static int sync_or_fail(const char *name, int fd) {
    const char *fail = getenv("SHIM_FAIL"), *count = getenv("SHIM_COUNT");
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (fail && access(fail, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    int result = real(fd);
    if (count) {
        int log = open(count, O_WRONLY | O_APPEND | O_CREAT, 0600);
        if (log >= 0) {
            if (write(log, "x", 1) != 1) abort();
            close(log);
        }
    }
    return result;
}

int fsync(int fd) { return sync_or_fail("fsync", fd); }
int fdatasync(int fd) { return sync_or_fail("fdatasync", fd); }
