/* Counts the calls that change files below a folder, and kills the process or fails the k-th one.
   Loaded by LD_PRELOAD; armed in a forked process by faults_arm(folder, k, mode). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { COUNT, KILL, NO_SPACE, IO_ERROR };
static char folder[4096];
static long calls, at;
static int mode, armed;

void faults_arm(const char *path, long k, int new_mode) {
    strncpy(folder, path, sizeof folder - 1);
    calls = 0; at = k; mode = new_mode; armed = 1;
}
long faults_count(void) { return calls; }
void faults_disarm(void) { armed = 0; }

static int below(const char *path) {
    if (!armed || !path) return 0;
    if (path[0] == '/') return !strncmp(path, folder, strlen(folder));
    char here[4096];
    return getcwd(here, sizeof here) && !strncmp(here, folder, strlen(folder));
}
static int fd_below(int fd) {
    if (!armed) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return !strncmp(path, folder, strlen(folder));
}
static int fault(int writes) {  /* 1: the call fails with errno set */
    if (++calls != at) return 0;
    if (mode == KILL) kill(getpid(), SIGKILL);
    if (mode == NO_SPACE && writes) { errno = ENOSPC; return 1; }
    if (mode == IO_ERROR && writes) { errno = EIO; return 1; }
    return 0;
}
#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)
#define BY_FD(type, name, params, args, ...) type name params { REAL(type, name, __VA_ARGS__); \
    if (fd_below(fd) && fault(1)) { return (type)-1; } \
    return real args; }
#define BY_PATH(type, name, params, args, writes, ...) type name params { \
    REAL(type, name, __VA_ARGS__); if (below(path) && fault(writes)) return -1; return real args; }

BY_FD(ssize_t, write, (int fd, const void *b, size_t n), (fd, b, n), int, const void *, size_t)
BY_FD(ssize_t, pwrite, (int fd, const void *b, size_t n, off_t o), (fd, b, n, o), int, const void *, size_t, off_t)
BY_FD(ssize_t, pwrite64, (int fd, const void *b, size_t n, off_t o), (fd, b, n, o), int, const void *, size_t, off_t)
BY_FD(int, ftruncate, (int fd, off_t n), (fd, n), int, off_t)
BY_FD(int, ftruncate64, (int fd, off_t n), (fd, n), int, off_t)
BY_FD(int, fsync, (int fd), (fd), int)
BY_FD(int, fdatasync, (int fd), (fd), int)
int posix_fallocate(int fd, off_t o, off_t n) {
    REAL(int, posix_fallocate, int, off_t, off_t);
    return fd_below(fd) && fault(1) ? errno : real(fd, o, n);
}
int posix_fallocate64(int fd, off_t o, off_t n) {
    REAL(int, posix_fallocate64, int, off_t, off_t);
    return fd_below(fd) && fault(1) ? errno : real(fd, o, n);
}
BY_PATH(int, truncate, (const char *path, off_t n), (path, n), 1, const char *, off_t)
BY_PATH(int, truncate64, (const char *path, off_t n), (path, n), 1, const char *, off_t)
BY_PATH(int, rename, (const char *path, const char *to), (path, to), 1, const char *, const char *)
BY_PATH(int, unlink, (const char *path), (path), 0, const char *)
BY_PATH(int, rmdir, (const char *path), (path), 0, const char *)
BY_PATH(int, mkdir, (const char *path, mode_t m), (path, m), 1, const char *, mode_t)
#define OPENED(name, params, args, ...) int name params { \
    REAL(int, name, __VA_ARGS__, ...); mode_t m = 0; \
    if (flags & O_CREAT) { va_list list; va_start(list, flags); m = va_arg(list, mode_t); va_end(list); } \
    if (flags & (O_CREAT | O_TRUNC) && below(path) && fault(1)) return -1; return real args; }
OPENED(open, (const char *path, int flags, ...), (path, flags, m), const char *, int)
OPENED(open64, (const char *path, int flags, ...), (path, flags, m), const char *, int)
OPENED(openat, (int at_fd, const char *path, int flags, ...), (at_fd, path, flags, m), int, const char *, int)
OPENED(openat64, (int at_fd, const char *path, int flags, ...), (at_fd, path, flags, m), int, const char *, int)
