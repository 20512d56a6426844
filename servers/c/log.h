/*
 * log.h: standard output and the log, which never delay the chat (LOG-4, LOG-5).
 *
 * Lines are collected, and written once a round. Lines that are not accepted yet wait, up to a
 * limit; lines beyond the limit are lost, and a message on standard error says so once. When epoll
 * reports an event with a sink as its data, the loop clears `blocked`.
 *
 * Exports: open_sink, open_log, sink_put, sink_flush, sink_finish, log_event, log_error, reopen.
 * Requires: die, formatted, now_ns, decode, is_control.
 */
#include <poll.h>
#include <sys/stat.h>

#define MAX_PENDING (1024 * 1024) /* bytes of lines that wait in a sink */
#define MAX_LOGGED  (8 * 1024)    /* bytes of a line of the log: MAX_FORMATTED as \uXXXX fits */
#define MAX_TIME    32            /* bytes of a time as text */

/* A descriptor to which lines are written, and the lines that wait for it. */
struct sink {
    const char *name; /* the path, for a log */
    int fd;           /* -1 where there is no log */
    int epoll_fd;     /* reports when a blocked sink is writable again */
    bool is_shared;   /* in blocking mode: a socket, or what could not be opened a second time */
    bool blocked;     /* the descriptor is not writable */
    bool lost;        /* lines were lost, and this was reported */
    bool torn;        /* the last line was written only in part */
    size_t length;
    char pending[MAX_PENDING];
};

/* Makes a sink of standard output. A file never blocks. A pipe or a terminal is opened again, as
 * non-blocking: to change the given descriptor would change it for all processes that share it. */
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

/* Writes to the descriptor. In blocking mode it first asks `poll`, and writes only PIPE_BUF bytes,
 * which a writable pipe or socket takes without blocking. */
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

/* Reports on standard error, once, that lines are lost. */
static void report_loss(struct sink *sink, const char *reason)
{
    struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
    char line[MAX_FORMATTED];
    if (sink->lost || poll(&room, 1, 0) <= 0)
        return;
    int length = snprintf(line, sizeof line, "chat-server: lines for %.1000s are lost: %s\n",
                          sink->name, reason);
    sink->lost = write(STDERR_FILENO, line, (size_t)length) > 0;
}

/* Has epoll wait for a blocked sink. If it cannot, the next flush tries again. */
static void watch_sink(struct sink *sink)
{
    struct epoll_event event = {.events = EPOLLOUT | EPOLLONESHOT, .data.ptr = sink};
    sink->blocked = epoll_ctl(sink->epoll_fd, EPOLL_CTL_MOD, sink->fd, &event) == 0 ||
                    epoll_ctl(sink->epoll_fd, EPOLL_CTL_ADD, sink->fd, &event) == 0;
}

static void sink_advance(struct sink *sink, size_t length)
{
    sink->torn = sink->pending[length - 1] != '\n';
    sink->length -= length;
    memmove(sink->pending, sink->pending + length, sink->length);
}

/* Writes the lines, as far as the descriptor takes them. An error loses them (LOG-5). */
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

/* Adds a line, or loses it where too much waits. */
static void sink_put(struct sink *sink, const char *line, size_t length)
{
    if (sink->length + length + 1 > MAX_PENDING)
        sink_flush(sink);
    if (sink->length + length + 1 > MAX_PENDING) {
        report_loss(sink, "not read");
        return;
    }
    if (sink->torn && sink->length == 0)
        sink->pending[sink->length++] = '\n'; /* ends the incomplete line (LOG-6) */
    memcpy(sink->pending + sink->length, line, length);
    sink->length += length;
}

/* Writes the last lines before the process ends, until a time at the latest. */
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

/* A line of the log that is being built. */
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

/* Adds a field, if there is a value. U+FFFD replaces bytes of a path that are not UTF-8. */
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

/* Formats the time of an event as LOG-2 requires. */
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

/* Writes an event to the log, if there is one, as a line of JSON (LOG-2). The fields are keys and
 * values, alternating, then NULL; a field whose value is NULL is omitted. */
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

/* Opens the log for appending. Opening a FIFO does not wait for a reader. */
static int open_log_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
}

/* Opens the log, if `path` is not NULL, or ends the program with the reason (PROG-9). */
static void open_log(struct sink *log, const char *path, int epoll_fd)
{
    log->name = path;
    log->epoll_fd = epoll_fd;
    log->fd = path ? open_log_file(path) : -1;
    if (path && log->fd < 0)
        die(EXIT_FAILURE, "cannot open log %s: %s", path, strerror(errno));
}

/* Continues in a new file at the log's path: logrotate has renamed the old one (LOG-7). */
static void reopen(struct sink *log)
{
    int fd = open_log_file(log->name);
    if (fd < 0) {
        log_error(log, formatted("cannot open log %s: %s", log->name, strerror(errno)));
        return;
    }
    sink_flush(log);
    const char *end = log->torn ? memchr(log->pending, '\n', log->length) : NULL;
    if (end) /* the rest of this line belongs to the old file */
        sink_advance(log, (size_t)(end + 1 - log->pending));
    close(log->fd);
    log->fd = fd;
    log->blocked = log->torn = false;
}
