/*
 * yardstick: shows how fast a chat server can be. It does the least that a server can do which
 * sends messages in batches: it knows the prompt, the welcome and messages, and nothing else. It
 * checks nothing, and has only the limits that it needs to run. It is not really a contender.
 *
 *     gcc -O2 -o yardstick yardstick.c && ./yardstick --port 8080
 *
 * One thread. All messages are appended to one log. Each client has a place in the log, and gets
 * what lies behind that place, except its own messages, by one writev in each round of the loop.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define LOG_SIZE    (16 * 1024 * 1024UL) /* bytes of the log that are kept; a power of two */
#define MAX_BEHIND  (LOG_SIZE / 2)       /* a client that is farther behind is dropped */
#define ROUND_SIZE  (LOG_SIZE / 8)       /* bytes appended in a round before they are sent */
#define READ_SIZE   (128 * 1024)
#define MAX_NAME    32
#define MAX_PIECES  64
#define EVENT_BATCH 256
#define BACKLOG     4096

#define PROMPT "Enter your screen name: "

/* A message of the client itself, which it does not get. */
struct own {
    uint64_t start, end;
};

struct client {
    int fd;
    uint32_t index;      /* its place among all clients */
    bool blocked;        /* the kernel takes no more until EPOLLOUT */
    bool gone;           /* to be freed at the end of the round */
    uint8_t name_length; /* 0: has not joined */
    char name[MAX_NAME + 2];
    uint32_t rest_length, own_first, own_count, own_capacity;
    char *rest;      /* the beginning of an incomplete line */
    uint64_t sent;   /* its place in the log */
    struct own *own; /* its messages behind that place, from own_first on */
};

static char *log_bytes; /* mapped twice in a row, so that bytes across its end are contiguous */
static uint64_t log_end, log_served;
static struct client **clients;
static uint32_t client_count, client_capacity, joined_count;
static struct client **gone;
static uint32_t gone_count;
static int listener, epoll_fd;

static _Noreturn void fail(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static void map_log(void)
{
    int fd = memfd_create("log", MFD_CLOEXEC);
    int both = PROT_READ | PROT_WRITE;
    if (fd < 0 || ftruncate(fd, LOG_SIZE) < 0)
        fail("yardstick: log");
    log_bytes = mmap(NULL, 2 * LOG_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (log_bytes == MAP_FAILED ||
        mmap(log_bytes, LOG_SIZE, both, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ||
        mmap(log_bytes + LOG_SIZE, LOG_SIZE, both, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
        fail("yardstick: log");
    close(fd);
}

static char *log_at(uint64_t offset)
{
    return log_bytes + offset % LOG_SIZE;
}

/* ---- Sending --------------------------------------------------------------------------------- */

static void mark_gone(struct client *client)
{
    if (!client->gone)
        gone[gone_count++] = client;
    client->gone = true;
}

static void watch(struct client *client, int operation, bool writable)
{
    struct epoll_event event = {.events = EPOLLIN | (writable ? (uint32_t)EPOLLOUT : 0),
                                .data.ptr = client};
    epoll_ctl(epoll_fd, operation, client->fd, &event);
    client->blocked = writable;
}

/* The bytes that a client must get, in pieces between its own messages. */
static int pieces_of(const struct client *client, struct iovec *pieces)
{
    uint64_t at = client->sent;
    uint32_t i = client->own_first;
    int count = 0;
    while (at < log_end && count < MAX_PIECES) {
        uint64_t end = i < client->own_count ? client->own[i].start : log_end;
        if (end > at)
            pieces[count++] = (struct iovec){log_at(at), end - at};
        at = i < client->own_count ? client->own[i++].end : end;
    }
    return count;
}

/* Moves the place of a client over the sent bytes and over its own messages after them. */
static void advance(struct client *client, size_t length)
{
    while (client->own_first < client->own_count &&
           length >= client->own[client->own_first].start - client->sent) {
        struct own *own = &client->own[client->own_first++];
        length -= own->start - client->sent;
        client->sent = own->end;
    }
    client->sent += length;
    if (client->own_first == client->own_count)
        client->own_first = client->own_count = 0;
}

static void serve(struct client *client)
{
    struct iovec pieces[MAX_PIECES];
    bool again = true;
    while (again && client->sent < log_end) {
        int count = pieces_of(client, pieces);
        size_t length = 0;
        for (int i = 0; i < count; i++)
            length += pieces[i].iov_len;
        ssize_t taken = count ? writev(client->fd, pieces, count) : 0;
        if (taken < 0 && errno != EAGAIN) {
            mark_gone(client);
            return;
        }
        advance(client, taken > 0 ? (size_t)taken : 0);
        again = (size_t)(taken > 0 ? taken : 0) == length;
    }
    if (client->blocked == again)
        watch(client, EPOLL_CTL_MOD, !again);
}

static void serve_all(void)
{
    if (log_served == log_end)
        return;
    for (uint32_t i = 0; i < client_count; i++) {
        struct client *client = clients[i];
        if (!client->name_length || client->gone)
            continue;
        if (!client->blocked)
            serve(client);
        if (log_end - client->sent > MAX_BEHIND)
            mark_gone(client);
    }
    log_served = log_end;
}

/* ---- Lines ----------------------------------------------------------------------------------- */

static void append(const char *bytes, size_t length)
{
    memcpy(log_at(log_end), bytes, length);
    log_end += length;
}

static void add_own(struct client *client, struct own own)
{
    uint32_t count = client->own_count;
    if (count && client->own[count - 1].end == own.start) {
        client->own[count - 1].end = own.end;
        return;
    }
    if (client->own_count == client->own_capacity) {
        client->own_capacity = client->own_capacity ? 2 * client->own_capacity : 8;
        client->own = realloc(client->own, client->own_capacity * sizeof own);
        if (!client->own)
            fail("yardstick");
    }
    client->own[client->own_count++] = own;
}

static void join(struct client *client, const char *name, size_t length)
{
    char line[128];
    if (length > MAX_NAME)
        length = MAX_NAME;
    memcpy(client->name, name, length);
    memcpy(client->name + length, ": ", 2);
    client->name_length = (uint8_t)(length + 2);
    client->sent = log_end;
    int count = snprintf(line, sizeof line, "Welcome, %.*s (%u online). Type /help for commands.\n",
                         (int)length, name, ++joined_count);
    if (send(client->fd, line, (size_t)count, MSG_NOSIGNAL) != count)
        mark_gone(client);
}

/* Acts on all complete lines, and returns their length in bytes. */
static size_t take_lines(struct client *client, const char *text, size_t length)
{
    const char *line = text, *end = text + length, *line_end;
    for (; (line_end = memchr(line, '\n', (size_t)(end - line))); line = line_end + 1) {
        if (!client->name_length) {
            join(client, line, (size_t)(line_end - line));
            continue;
        }
        uint64_t start = log_end;
        append(client->name, client->name_length);
        append(line, (size_t)(line_end + 1 - line));
        add_own(client, (struct own){start, log_end});
    }
    return (size_t)(line - text);
}

static void keep(struct client *client, const char *text, size_t length)
{
    free(client->rest);
    client->rest = length ? malloc(length) : NULL;
    if (client->rest)
        memcpy(client->rest, text, length);
    client->rest_length = (uint32_t)length;
}

static void on_readable(struct client *client)
{
    static char buffer[2 * READ_SIZE];
    size_t length = client->rest_length;
    if (length > READ_SIZE) {
        mark_gone(client); /* its line is too long */
        return;
    }
    if (client->rest)
        memcpy(buffer, client->rest, length);
    ssize_t count = recv(client->fd, buffer + length, READ_SIZE, 0);
    if (count <= 0) {
        if (count == 0 || errno != EAGAIN)
            mark_gone(client);
        return;
    }
    length += (size_t)count;
    size_t taken = take_lines(client, buffer, length);
    if (client->rest || taken < length)
        keep(client, buffer + taken, length - taken);
}

/* ---- Connections ----------------------------------------------------------------------------- */

static void add_client(int fd)
{
    struct client *client = calloc(1, sizeof *client);
    if (client_count == client_capacity) {
        client_capacity = client_capacity ? 2 * client_capacity : 64;
        clients = realloc(clients, client_capacity * sizeof(struct client *));
        gone = realloc(gone, client_capacity * sizeof(struct client *));
    }
    if (!client || !clients || !gone)
        fail("yardstick");
    client->fd = fd;
    client->index = client_count;
    clients[client_count++] = client;
    watch(client, EPOLL_CTL_ADD, false);
    if (send(fd, PROMPT, strlen(PROMPT), MSG_NOSIGNAL) < 0)
        mark_gone(client);
}

static void accept_all(void)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        add_client(fd);
    }
}

/* Frees clients after a round, since events of the round may still refer to them. */
static void reap(void)
{
    for (uint32_t i = 0; i < gone_count; i++) {
        struct client *client = gone[i], *last = clients[--client_count];
        clients[client->index] = last;
        last->index = client->index;
        joined_count -= client->name_length > 0;
        close(client->fd);
        free(client->rest);
        free(client->own);
        free(client);
    }
    gone_count = 0;
}

static void on_event(struct client *client, uint32_t events)
{
    if (client->gone)
        return;
    if (events & ~(uint32_t)EPOLLOUT)
        on_readable(client);
    if (events & EPOLLOUT && !client->gone)
        serve(client);
    if (log_end - log_served > ROUND_SIZE)
        serve_all();
}

static void run(void)
{
    struct epoll_event events[EVENT_BATCH];
    for (;;) {
        int count = epoll_wait(epoll_fd, events, EVENT_BATCH, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr)
                on_event(events[i].data.ptr, events[i].events);
            else
                accept_all();
        }
        serve_all();
        reap();
    }
}

/* ---- Start ----------------------------------------------------------------------------------- */

/* Unknown options have a value; both are skipped. */
static struct sockaddr_in read_arguments(char **arguments)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(8080)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (; arguments[0] && arguments[1]; arguments++) {
        if (!strcmp(arguments[0], "--port"))
            address.sin_port = htons((uint16_t)atoi(arguments[1]));
        if (!strcmp(arguments[0], "--host"))
            inet_pton(AF_INET, arguments[1], &address.sin_addr);
    }
    return address;
}

static void listen_on(struct sockaddr_in address)
{
    int on = 1;
    socklen_t length = sizeof address;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, BACKLOG) < 0)
        fail("yardstick: listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("Listening on %s:%u\n", inet_ntoa(address.sin_addr), ntohs(address.sin_port));
    fflush(stdout);
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
    struct epoll_event accepting = {.events = EPOLLIN}; /* not of a client */
    (void)argc;
    signal(SIGPIPE, SIG_IGN); /* a write to a closed connection fails instead */
    raise_descriptor_limit();
    map_log();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    listen_on(read_arguments(argv + 1));
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &accepting);
    run();
}
