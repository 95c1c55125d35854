/* A service that tells what happens to it: tests/units.
 *
 *   worker DIR NAME [hang | once]
 *
 * DIR/log gets one line for each event, in the order in which they happened, with everybody who lives at that moment:
 *
 *   start NAME PID OTHERS...      it runs; it says READY=1 behind that
 *   refuse NAME PID OTHERS...     it was started and fails at once, because DIR/refuse-NAME is there
 *   term NAME PID OTHERS...       it was asked to stop
 *
 * To live is to hold the lock on DIR/alive/NAME, so an end is seen however it came. SIGTERM ends it, but not if it hangs;
 * SIGUSR1 is a calm end, SIGUSR2 exit status 3. With `once` it does its work, which is nothing, and ends. Slashes in names
 * are written as `!`. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char name[256];

static void must(int result, const char *what) {
    if (result < 0) {
        perror(what);
        exit(9);
    }
}

/* The line is written while nobody else writes, so what it says of the others holds. */
static void event(const char *kind) {
    char line[4096];
    int order = open("order", O_RDWR | O_CREAT | O_CLOEXEC, 0666), log = open("log", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    must(order, "order");
    must(log, "log");
    must(flock(order, LOCK_EX), "flock");
    int length = snprintf(line, sizeof line, "%s %s %d", kind, name, getpid());
    DIR *all = opendir("alive");
    for (struct dirent *entry; all && (entry = readdir(all));) {
        if (entry->d_name[0] == '.' || !strcmp(entry->d_name, name)) continue;
        struct flock asked = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int other = openat(dirfd(all), entry->d_name, O_RDWR | O_CLOEXEC);
        if (other >= 0 && fcntl(other, F_OFD_GETLK, &asked) == 0 && asked.l_type != F_UNLCK)
            length += snprintf(line + length, sizeof line - length, " %s", entry->d_name);
        close(other);
    }
    length += snprintf(line + length, sizeof line - length, "\n");
    must(write(log, line, length), "write");
    close(log);
    close(order);
}

static void ready(void) {
    const char *path = getenv("NOTIFY_SOCKET");
    if (!path) return;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    if (length >= sizeof to.sun_path) exit(9);
    memcpy(to.sun_path, path, length);
    if (*path == '@') to.sun_path[0] = 0;
    int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    must(sendto(s, "READY=1", 7, MSG_NOSIGNAL, (struct sockaddr *)&to, offsetof(struct sockaddr_un, sun_path) + length), "READY=1");
    close(s);
}

int main(int count, char **words) {
    const char *how = count > 3 ? words[3] : "";
    char file[300];
    sigset_t asked;
    sigemptyset(&asked);
    sigaddset(&asked, SIGTERM);
    sigaddset(&asked, SIGUSR1);
    sigaddset(&asked, SIGUSR2);
    sigprocmask(SIG_BLOCK, &asked, NULL);
    if (count < 3) return 9;
    must(chdir(words[1]), words[1]);
    snprintf(name, sizeof name, "%s", words[2]);
    for (char *c = name; *c; c++)
        if (*c == '/') *c = '!';
    snprintf(file, sizeof file, "refuse-%s", name);
    if (access(file, F_OK) == 0) {
        event("refuse");
        return 1;
    }
    snprintf(file, sizeof file, "alive/%s", name);
    int alive = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    must(alive, file);
    event(fcntl(alive, F_OFD_SETLK, &lock) == 0 ? "start" : "twice");
    if (!strcmp(how, "once")) return 0;
    ready();
    for (int signal;;) {
        sigwait(&asked, &signal);
        if (signal == SIGUSR1) return 0;
        if (signal == SIGUSR2) return 3;
        event("term");
        if (strcmp(how, "hang")) return 0;
    }
}
