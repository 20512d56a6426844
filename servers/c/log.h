/*
 * log.h: standard output and the log. Lines for them never hold up the chat: what is not taken at
 * once waits, up to a bound, and beyond that it is lost (LOG-4, LOG-5).
 *
 *     open_sink, open_log                     standard output; the log
 *     sink_put, sink_flush, sink_finish       a line; to write what waits; to write the last
 *     log_event, log_error                    a line of the log, as JSON
 *     reopen                                  the log anew
 *
 * A sink that takes no more is watched by an epoll, whose event has the sink as its data; `blocked`
 * is to be cleared then. Needs `die`, `formatted`, `now_ns`, `decode` and `is_control`.
 */
#include <poll.h>
#include <sys/stat.h>

#define MAX_PENDING (1024 * 1024) /* bytes of lines that may wait */
#define MAX_LOGGED  (8 * 1024)    /* bytes of a line of the log: MAX_FORMATTED as \uXXXX fits */
#define MAX_TIME    32            /* bytes of a time of day */

/* Where lines go. */
struct sink {
    const char *name; /* as it is called when lines are lost; the path of the log */
    int fd;           /* what is written to; -1: there is none */
    int epoll_fd;     /* tells when it takes more */
    bool is_shared;   /* may block: a socket, or what could not be opened a second time */
    bool blocked;     /* takes no more; EPOLLOUT will tell */
    bool said;        /* it has been said that lines are lost */
    bool inside;      /* what was written last is a part of a line; the rest waits, or is lost */
    size_t length;    /* bytes that wait */
    char pending[MAX_PENDING];
};

/* A pipe or a terminal is opened a second time: to make the given descriptor non-blocking would
 * change it for all processes that share it. */
static void open_sink(struct sink *sink, const char *name, int fd, int epoll_fd)
{
    struct stat about;
    char path[32];
    sink->name = name;
    sink->fd = fd;
    sink->epoll_fd = epoll_fd;
    if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode))
        return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    sink->is_shared = own < 0;
    if (own >= 0)
        sink->fd = own;
}

/* What is shared is asked before; a pipe or a socket with room takes PIPE_BUF bytes at once. */
static ssize_t sink_write(const struct sink *sink)
{
    struct pollfd room = {.fd = sink->fd, .events = POLLOUT};
    if (!sink->is_shared)
        return write(sink->fd, sink->pending, sink->length);
    if (poll(&room, 1, 0) > 0)
        return write(sink->fd, sink->pending, MIN(sink->length, PIPE_BUF));
    errno = EAGAIN;
    return -1;
}

/* Says once on standard error that lines are lost, as soon as that takes it without waiting. */
static void report_loss(struct sink *sink, const char *reason)
{
    struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
    char line[MAX_FORMATTED];
    if (sink->said || poll(&room, 1, 0) <= 0)
        return;
    int length = snprintf(line, sizeof line, "chat-server: lines for %.1000s are lost: %s\n",
                          sink->name, reason);
    sink->said = write(STDERR_FILENO, line, (size_t)length) > 0;
}

static void watch_sink(struct sink *sink)
{
    struct epoll_event event = {.events = EPOLLOUT | EPOLLONESHOT, .data.ptr = sink};
    sink->blocked = epoll_ctl(sink->epoll_fd, EPOLL_CTL_MOD, sink->fd, &event) == 0 ||
                    epoll_ctl(sink->epoll_fd, EPOLL_CTL_ADD, sink->fd, &event) == 0;
}

static void sink_advance(struct sink *sink, size_t length)
{
    sink->inside = sink->pending[length - 1] != '\n';
    sink->length -= length;
    memmove(sink->pending, sink->pending + length, sink->length);
}

/* Writes what waits. An error loses it all. */
static void sink_flush(struct sink *sink)
{
    while (sink->length > 0 && !sink->blocked) {
        ssize_t written = sink_write(sink);
        if (written > 0) {
            sink_advance(sink, (size_t)written);
        } else if (written < 0 && errno == EAGAIN) {
            watch_sink(sink);
            return;
        } else if (written == 0 || errno != EINTR) {
            sink->length = 0;
            report_loss(sink, strerror(errno));
        }
    }
}

/* Takes a line, to be written at the end of the round; or loses it, where too much waits. */
static void sink_put(struct sink *sink, const char *line, size_t length)
{
    if (sink->length + length + 1 > MAX_PENDING)
        sink_flush(sink);
    if (sink->length + length + 1 > MAX_PENDING) {
        report_loss(sink, "not read");
        return;
    }
    if (sink->inside && sink->length == 0)
        sink->pending[sink->length++] = '\n'; /* the rest of that line is lost (LOG-6) */
    memcpy(sink->pending + sink->length, line, length);
    sink->length += length;
}

/* Writes the last lines, as long as they are taken, up to a moment that now_ns will reach. */
static void sink_finish(struct sink *sink, int64_t until)
{
    struct pollfd room = {.fd = sink->fd, .events = POLLOUT};
    int64_t left;
    sink_flush(sink);
    while (sink->length > 0 && (left = until - now_ns()) > 0 &&
           poll(&room, 1, (int)(left / MILLISECOND) + 1) != 0) {
        sink->blocked = false;
        sink_flush(sink);
    }
    if (sink->length > 0)
        report_loss(sink, "not read");
}

/* A line of the log that is being written. */
struct record {
    size_t length;
    char bytes[MAX_LOGGED];
};

static void add(struct record *record, const char *bytes, size_t length)
{
    length = MIN(length, sizeof record->bytes - record->length);
    memcpy(record->bytes + record->length, bytes, length);
    record->length += length;
}

static void add_text(struct record *record, const char *text)
{
    add(record, text, strlen(text));
}

/* A field, where there is a value. Only a path can hold what is not UTF-8; U+FFFD replaces it. */
static void add_field(struct record *record, const char *key, const char *value)
{
    char escaped[8];
    uint32_t code;
    if (!value)
        return;
    add_text(record, record->length == 0 ? "{\"" : "\",\"");
    add_text(record, key);
    add_text(record, "\":\"");
    for (size_t length, left = strlen(value); left > 0; left -= length, value += length) {
        length = decode(value, left, &code);
        if (length == 0) {
            length = 1;
            add_text(record, "\xEF\xBF\xBD");
        } else if (code == '"' || code == '\\' || code == '\t' || is_control(code)) {
            snprintf(escaped, sizeof escaped, is_control(code) ? "\\u%04x" : "\\%c",
                     code == '\t' ? 't' : code);
            add_text(record, escaped);
        } else {
            add(record, value, length);
        }
    }
}

/* The time of day as RFC 3339 writes it, in UTC. */
static void format_time(char text[MAX_TIME])
{
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t length = strftime(text, MAX_TIME, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text + length, MAX_TIME - length, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

static const char *level_of(const char *msg)
{
    return strcmp(msg, "error") == 0 ? "ERROR" : strcmp(msg, "refuse") == 0 ? "WARN" : "INFO";
}

/* A line for the log, where there is one: keys and values in the order of LOG-2, then NULL. A field
 * whose value is NULL is left out. */
static void __attribute__((sentinel)) log_event(struct sink *log, const char *msg, ...)
{
    struct record record;
    char time[MAX_TIME];
    const char *key;
    va_list fields;
    if (log->fd < 0)
        return;
    record.length = 0;
    format_time(time);
    add_field(&record, "time", time);
    add_field(&record, "level", level_of(msg));
    add_field(&record, "msg", msg);
    va_start(fields, msg);
    while ((key = va_arg(fields, const char *)))
        add_field(&record, key, va_arg(fields, const char *));
    va_end(fields);
    add_text(&record, "\"}\n");
    sink_put(log, record.bytes, record.length);
}

static void log_error(struct sink *log, const char *error)
{
    log_event(log, "error", "error", error, NULL);
}

/* O_NONBLOCK is for a FIFO: without it, to open one that is not read would wait. */
static int open_log_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
}

/* Opens the log, where `path` names one, or ends the program (PROG-9). */
static void open_log(struct sink *log, const char *path, int epoll_fd)
{
    log->name = path;
    log->epoll_fd = epoll_fd;
    log->fd = path ? open_log_file(path) : -1;
    if (path && log->fd < 0)
        die(EXIT_FAILURE, "cannot open log %s: %s", path, strerror(errno));
}

/* Opens the log anew, as logrotate has renamed it; where that fails, the old one stays. */
static void reopen(struct sink *log)
{
    int fd = open_log_file(log->name);
    if (fd < 0) {
        log_error(log, formatted("cannot open log %s: %s", log->name, strerror(errno)));
        return;
    }
    sink_flush(log);
    const char *end = log->inside ? memchr(log->pending, '\n', log->length) : NULL;
    if (end) /* the rest of a line belongs to the old file */
        sink_advance(log, (size_t)(end + 1 - log->pending));
    close(log->fd);
    log->fd = fd;
    log->blocked = log->inside = false;
}
