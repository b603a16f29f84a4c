/* The least that running scripts with capture can cost: posix_spawn, two files, wait, and nothing else.
 *
 *     floor WIDTH FOLDER PROGRAM <list        list: paths, each ended by a zero byte
 *
 * WIDTH at a time; what a script says goes to FOLDER/NAME.out and FOLDER/NAME.err. Exits 0 when all did.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;

static int wait_for_one(void)
{
    int status;
    return wait(&status) < 0 || status != 0;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fputs("usage: floor WIDTH FOLDER PROGRAM <list\n", stderr);
        return 2;
    }
    int width = atoi(argv[1]), running = 0, failed = 0;
    char *path = NULL, out[4096], err[4096];
    size_t room = 0;
    while (getdelim(&path, &room, 0, stdin) > 0) {
        if (running == width) {
            failed |= wait_for_one();
            running--;
        }
        char *slash = strrchr(path, '/');
        const char *name = slash ? slash + 1 : path;
        snprintf(out, sizeof out, "%s/%s.out", argv[2], name);
        snprintf(err, sizeof err, "%s/%s.err", argv[2], name);
        posix_spawn_file_actions_t files;
        posix_spawn_file_actions_init(&files);
        posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_addopen(&files, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0666);
        posix_spawn_file_actions_addopen(&files, 2, err, O_WRONLY | O_CREAT | O_TRUNC, 0666);
        char *command[] = {argv[3], path, NULL};
        pid_t pid;
        if (posix_spawn(&pid, argv[3], &files, NULL, command, environ) == 0)
            running++;
        else
            failed = 1;
        posix_spawn_file_actions_destroy(&files);
    }
    while (running--)
        failed |= wait_for_one();
    return failed;
}
