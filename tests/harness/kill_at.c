/* Preloaded into the program: counts the calls by which it makes things last, and dies by KILL at a chosen one.

   KILL_COUNTS names a file of counters that all processes share: a row for the server, one for the workers, in the
   order of `kinds`. KILL_AT is "ROLE KIND N WHEN", where WHEN is before, torn (half of a write) or after. Scripts
   inherit the library too, but it acts only in the server and in workers, which it knows by their arguments, and not in
   what these fork. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const kinds[] = {"commit", "checkpoint", "rename", "fsync", "unlink",
                                    "zip",    "send",       "journal", "spawn"};
enum { COMMIT, CHECKPOINT, RENAME, FSYNC, UNLINK, ZIP, SEND, JOURNAL, SPAWN, KINDS };
enum { NOBODY = -1, SERVER, WORKER };
enum { BEFORE, TORN, AFTER };

static uint64_t *counters;
static int role = NOBODY, chosen = -1, when;
static uint64_t number;
static pid_t self;

__attribute__((constructor)) static void begin(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *program = strrchr(argv[i], '/');
        if (program && program - argv[i] > 4 && !strncmp(program - 4, "/run", 4) &&
            (!strcmp(program, "/worker.py") || !strcmp(program, "/warm.py")))
            role = WORKER;
        else if (i > 1 && !strcmp(argv[i - 1], "buildrunner") && (!strcmp(argv[i], "run") || !strcmp(argv[i], "resume")))
            role = SERVER;
    }
    const char *path = getenv("KILL_COUNTS"), *at = getenv("KILL_AT");
    int fd = role == NOBODY || !path ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *shared = mmap(NULL, 2 * KINDS * sizeof *counters, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (shared == MAP_FAILED)
        return;
    counters = (uint64_t *)shared + role * KINDS;
    self = getpid();
    char whose[16], kind[16], moment[16];
    unsigned long n;
    if (!at || sscanf(at, "%15s %15s %lu %15s", whose, kind, &n, moment) != 4)
        return;
    if (strcmp(whose, role == SERVER ? "server" : "worker"))
        return;
    for (int i = 0; i < KINDS; i++)
        if (!strcmp(kind, kinds[i]))
            chosen = i;
    number = n;
    when = !strcmp(moment, "before") ? BEFORE : !strcmp(moment, "torn") ? TORN : AFTER;
}

/* Count a call; whether it is the chosen one. */
static int counted(int kind)
{
    if (!counters || kind < 0 || getpid() != self)
        return 0;
    return __atomic_add_fetch(counters + kind, 1, __ATOMIC_SEQ_CST) == number && kind == chosen;
}

static void die(void)
{
    kill(self, SIGKILL);
    for (;;)
        pause();
}

static int ends_with(const char *text, ssize_t length, const char *end)
{
    ssize_t n = strlen(end);
    return length >= n && !memcmp(text + length - n, end, n);
}

/* What is written to this descriptor, -1 for what does not count. */
static int kind_of(int fd)
{
    if (!counters)
        return -1;
    struct stat info;
    if (fstat(fd, &info))
        return -1;
    if (S_ISSOCK(info.st_mode))
        return SEND;
    if (!S_ISREG(info.st_mode))
        return -1;
    char link[32], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path);
    if (length < 0)
        return -1;
    if (ends_with(path, length, "-wal"))
        return COMMIT;
    if (ends_with(path, length, "/ledger.db"))
        return CHECKPOINT;
    if (ends_with(path, length, ".journal"))
        return JOURNAL;
    return memmem(path, length, "/.buildrunner-", 14) || ends_with(path, length, ".zip") ? ZIP : -1;
}

static void *real(const char *name, void **kept)
{
    if (!*kept)
        *kept = dlsym(RTLD_NEXT, name);
    return *kept;
}

#define REAL(name) ((__typeof__(&name))real(#name, &real_##name))

/* Around a call that may be the chosen one; HALF is the same call for half of what it was to write. */
#define CALL(kind, result, whole, half)                                                                                \
    do {                                                                                                               \
        int ours = counted(kind);                                                                                      \
        if (ours && when == TORN)                                                                                      \
            (void)!(half);                                                                                             \
        if (ours && when != AFTER)                                                                                     \
            die();                                                                                                     \
        result = whole;                                                                                                \
        if (ours)                                                                                                      \
            die();                                                                                                     \
    } while (0)

static void *real_write, *real_pwrite, *real_pwrite64, *real_rename, *real_renameat, *real_fsync, *real_fdatasync,
    *real_unlink, *real_unlinkat, *real_rmdir, *real_posix_spawn, *real_fork;

ssize_t write(int fd, const void *data, size_t size)
{
    ssize_t result;
    CALL(kind_of(fd), result, REAL(write)(fd, data, size), REAL(write)(fd, data, size / 2));
    return result;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    ssize_t result;
    CALL(kind_of(fd), result, REAL(pwrite)(fd, data, size, at), REAL(pwrite)(fd, data, size / 2, at));
    return result;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    ssize_t result;
    CALL(kind_of(fd), result, REAL(pwrite64)(fd, data, size, at), REAL(pwrite64)(fd, data, size / 2, at));
    return result;
}

int rename(const char *from, const char *to)
{
    int result;
    CALL(RENAME, result, REAL(rename)(from, to), 0);
    return result;
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    int result;
    CALL(RENAME, result, REAL(renameat)(from_fd, from, to_fd, to), 0);
    return result;
}

int fsync(int fd)
{
    int result;
    CALL(FSYNC, result, REAL(fsync)(fd), 0);
    return result;
}

int fdatasync(int fd)
{
    int result;
    CALL(FSYNC, result, REAL(fdatasync)(fd), 0);
    return result;
}

int unlink(const char *path)
{
    int result;
    CALL(UNLINK, result, REAL(unlink)(path), 0);
    return result;
}

int unlinkat(int fd, const char *path, int flags)
{
    int result;
    CALL(UNLINK, result, REAL(unlinkat)(fd, path, flags), 0);
    return result;
}

int rmdir(const char *path)
{
    int result;
    CALL(UNLINK, result, REAL(rmdir)(path), 0);
    return result;
}

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *how,
                char *const argv[], char *const envp[])
{
    int result;
    CALL(SPAWN, result, REAL(posix_spawn)(pid, path, actions, how, argv, envp), 0);
    return result;
}

/* A warm worker's way to start a script: what is forked is nobody's to strike. */
pid_t fork(void)
{
    int ours = counted(SPAWN);
    if (ours && when != AFTER)
        die();
    pid_t pid = REAL(fork)();
    if (ours && pid)
        die();
    return pid;
}
