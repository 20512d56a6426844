/*
 * bare: plays a dialogue of programs on terminals with the least work. It types, waits for output
 * and signals, and does nothing else. The harness is measured against it (see harness.py).
 *
 *     bare TIMES < dialogue        prints the nanoseconds of each play
 *
 * A dialogue has a line for each step: words with tabs between them, texts in hexadecimal digits:
 *
 *     start NAME PROGRAM ARGUMENT...   on a terminal, standard error on a pipe; @ is the port
 *     ready NAME TEXT                  the next line is TEXT and then the port
 *     type NAME TEXT
 *     see NAME TEXT                    these bytes come next
 *     err NAME TEXT                    these bytes come next on standard error
 *     signal NAME NUMBER
 *     exit NAME STATUS                 both outputs end, and the program ends with this status
 *
 * Exit status: 0; 1 if a step did not come true; 2 if the dialogue cannot be read.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define MAX_ACTORS  8
#define MAX_WORDS   64
#define MAX_STEPS   1024
#define MAX_TEXT    4096
#define WAIT_MILLIS 10000 /* for each output to come */

struct step {
    char *words[MAX_WORDS + 1];
    char text[MAX_TEXT];
    size_t length;
};

struct actor {
    char name[64];
    pid_t pid;
    int terminal, errors;
};

extern char **environ;

static struct step steps[MAX_STEPS];
static size_t step_count;
static struct actor actors[MAX_ACTORS];
static size_t actor_count;
static char port[16];

/* --- Ends ------------------------------------------------------------------------------------ */

__attribute__((noreturn, format(printf, 2, 3))) static void fail(int status, const char *format,
                                                                 ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("bare: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    for (size_t i = 0; i < actor_count; i++)
        if (actors[i].pid > 0)
            kill(-actors[i].pid, SIGKILL);
    exit(status);
}

static int checked(int result, const char *what)
{
    if (result < 0)
        fail(1, "%s: %s", what, strerror(errno));
    return result;
}

/* --- Reading the dialogue -------------------------------------------------------------------- */

static void read_text(struct step *step, const char *digits)
{
    unsigned byte;
    for (; sscanf(digits, "%2x", &byte) == 1 && step->length < MAX_TEXT; digits += 2)
        step->text[step->length++] = (char)byte;
}

static void read_step(char *line)
{
    struct step *step = &steps[step_count++];
    size_t count = 0;
    for (char *word = strtok(line, "\t"); word && count < MAX_WORDS; word = strtok(NULL, "\t"))
        step->words[count++] = word;
    if (count < 3)
        fail(2, "a step of %zu words", count);
    if (strstr("ready type see err", step->words[0]))
        read_text(step, step->words[2]);
}

static void read_dialogue(void)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t length;
    while ((length = getline(&line, &size, stdin)) > 0) {
        if (step_count == MAX_STEPS)
            fail(2, "more than %d steps", MAX_STEPS);
        line[strcspn(line, "\n")] = '\0';
        read_step(strdup(line));
    }
    free(line);
}

/* --- Actors ---------------------------------------------------------------------------------- */

static struct actor *find_actor(const char *name)
{
    for (size_t i = 0; i < actor_count; i++)
        if (strcmp(actors[i].name, name) == 0)
            return &actors[i];
    fail(2, "%s has not started", name);
}

/* A terminal without echo and without changes of line ends, as in the harness. */
static int open_terminal(char path[64], int *other)
{
    struct termios settings;
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    int ours;
    checked(openpty(&ours, other, path, NULL, &size), "openpty");
    tcgetattr(*other, &settings);
    settings.c_oflag &= ~(tcflag_t)OPOST;
    settings.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(*other, TCSANOW, &settings);
    fcntl(ours, F_SETFD, FD_CLOEXEC);
    fcntl(*other, F_SETFD, FD_CLOEXEC);
    return ours;
}

static pid_t spawn(const char *path, int errors, char **words)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    pid_t pid;
    int error;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, path, O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&actions, 0, 1);
    posix_spawn_file_actions_adddup2(&actions, errors, 2);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    error = posix_spawnp(&pid, words[0], &actions, &attributes, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (error)
        fail(1, "%s: %s", words[0], strerror(error));
    return pid;
}

static void start(const struct step *step)
{
    struct actor *actor = &actors[actor_count++];
    char *words[MAX_WORDS], path[64];
    int other, errors[2];
    size_t i;
    for (i = 2; step->words[i]; i++)
        words[i - 2] = strcmp(step->words[i], "@") == 0 ? port : step->words[i];
    words[i - 2] = NULL;
    snprintf(actor->name, sizeof actor->name, "%s", step->words[1]);
    actor->terminal = open_terminal(path, &other);
    checked(pipe2(errors, O_CLOEXEC), "pipe");
    actor->pid = spawn(path, errors[1], words);
    close(other);
    close(errors[1]);
    actor->errors = errors[0];
}

/* Reads what comes from a descriptor, up to a limit; 0 at its end. */
static size_t take(int fd, char *into, size_t most)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    ssize_t count;
    if (poll(&one, 1, WAIT_MILLIS) != 1)
        fail(1, "nothing came");
    count = read(fd, into, most);
    return count > 0 ? (size_t)count : 0; /* EIO: no process has the terminal open any more */
}

static void see(const struct step *step, int fd)
{
    char seen[MAX_TEXT];
    size_t length = 0;
    while (length < step->length) {
        size_t count = take(fd, seen + length, step->length - length);
        if (count == 0 || memcmp(seen + length, step->text + length, count) != 0)
            fail(1, "%s: not what was to come: %s", step->words[1], step->words[2]);
        length += count;
    }
}

static void get_ready(const struct step *step, int fd)
{
    size_t length = 0;
    see(step, fd);
    do
        if (length == sizeof port - 1 || take(fd, port + length, 1) == 0)
            fail(1, "no port");
    while (port[length++] != '\n');
    port[length - 1] = '\0';
}

static void see_exit(const struct step *step, struct actor *actor)
{
    char rest;
    int status;
    if (take(actor->terminal, &rest, 1) != 0 || take(actor->errors, &rest, 1) != 0)
        fail(1, "%s said more", actor->name);
    checked(waitpid(actor->pid, &status, 0), "waitpid");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != atoi(step->words[2]))
        fail(1, "%s: another status", actor->name);
    actor->pid = 0;
    close(actor->terminal);
    close(actor->errors);
}

static void perform(const struct step *step)
{
    const char *verb = step->words[0];
    struct actor *actor;
    if (strcmp(verb, "start") == 0) {
        start(step);
        return;
    }
    actor = find_actor(step->words[1]);
    if (strcmp(verb, "ready") == 0)
        get_ready(step, actor->terminal);
    else if (strcmp(verb, "type") == 0)
        checked((int)write(actor->terminal, step->text, step->length), "write");
    else if (strcmp(verb, "see") == 0)
        see(step, actor->terminal);
    else if (strcmp(verb, "err") == 0)
        see(step, actor->errors);
    else if (strcmp(verb, "signal") == 0)
        kill(actor->pid, atoi(step->words[2]));
    else if (strcmp(verb, "exit") == 0)
        see_exit(step, actor);
    else
        fail(2, "no such step: %s", verb);
}

/* --- The plays ------------------------------------------------------------------------------- */

static long long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(int argc, char **argv)
{
    int times = argc == 2 ? atoi(argv[1]) : 0;
    if (times < 1)
        fail(2, "usage: bare TIMES < dialogue");
    read_dialogue();
    for (int play = 0; play < times; play++) {
        long long began = now();
        actor_count = 0;
        for (size_t i = 0; i < step_count; i++)
            perform(&steps[i]);
        printf("%lld\n", now() - began);
        fflush(stdout);
    }
    return 0;
}
