/*
 * log.h: standard output, standard error and the log. Lines for them never hold up the chat: what
 * is not taken at once waits, up to a bound, and beyond that it is lost (LOG-4, LOG-5).
 *
 *     open_sinks, put, flush_sinks, finish_sinks    lines for one of the three
 *     open_log, reopen_log, log_event               the log, as JSON
 *     format_address                                an address in figures
 *
 * Needs `least`, `now_ms`, and `character_length`, `decode`, `is_control` of UTF-8.
 */
#define MAX_PENDING  (1024 * 1024) /* bytes of lines that may wait for one of them */
#define PENDING_TIME 250           /* milliseconds for them, before the process ends */
#define MAX_LOGGED   (8 * 1024)    /* bytes of a line of the log */
#define MAX_ADDRESS  80            /* bytes of an address and a port in figures */
#define MAX_ERROR    1200          /* bytes of what went wrong, in words */

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* Where lines go. */
struct sink {
    const char *name; /* as it is called when lines are lost */
    int fd;           /* what is written to; -1: there is none */
    bool is_socket;   /* is sent to, so that it never blocks */
    bool is_shared;   /* may block, as it could not be opened a second time */
    bool blocked;     /* takes no more; EPOLLOUT will tell */
    bool said;        /* it has been said that lines are lost */
    bool inside;      /* what was written last is a part of a line */
    bool torn;        /* ... and the rest of that line is lost */
    size_t length;    /* bytes that wait */
    char pending[MAX_PENDING];
};

enum sink_name { STANDARD_OUTPUT, LOG_FILE, STANDARD_ERROR, SINKS };

struct sinks {
    int epoll_fd; /* tells when a sink takes more; its data is the sink */
    struct sink all[SINKS];
};

/* What a line of the log says, in this order (LOG-2); what is NULL is left out. */
struct event {
    const char *level; /* NULL: INFO */
    const char *msg;
    const char *name;
    const char *to;
    const char *text;
    const union address *addr;
    const char *reason;
    const char *error;
};

/*
 * A pipe or a terminal is opened a second time: to make the given descriptor non-blocking would
 * change it for all processes that share it.
 */
static void open_sink(struct sink *sink, const char *name, int fd)
{
    struct stat about;
    char path[32];
    sink->name = name;
    sink->fd = fd;
    if (fstat(fd, &about) < 0)
        return;
    sink->is_socket = S_ISSOCK(about.st_mode);
    if (!S_ISFIFO(about.st_mode) && !isatty(fd))
        return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    sink->is_shared = own < 0;
    if (own >= 0)
        sink->fd = own;
}

static void open_sinks(struct sinks *sinks)
{
    open_sink(&sinks->all[STANDARD_OUTPUT], "standard output", STDOUT_FILENO);
    open_sink(&sinks->all[STANDARD_ERROR], "standard error", STDERR_FILENO);
    sinks->all[STANDARD_ERROR].said = true; /* there is no other place to say it */
    sinks->all[LOG_FILE].fd = -1;
}

/* What is shared is asked before; a pipe that has room takes PIPE_BUF bytes at once. */
static ssize_t sink_write(const struct sink *sink)
{
    struct pollfd room = {.fd = sink->fd, .events = POLLOUT};
    if (sink->is_socket)
        return send(sink->fd, sink->pending, sink->length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (!sink->is_shared)
        return write(sink->fd, sink->pending, sink->length);
    if (poll(&room, 1, 0) > 0)
        return write(sink->fd, sink->pending, least(sink->length, PIPE_BUF));
    errno = EAGAIN;
    return -1;
}

static void watch_sink(const struct sinks *sinks, struct sink *sink)
{
    struct epoll_event event = {.events = EPOLLOUT | EPOLLONESHOT, .data.ptr = sink};
    sink->blocked = epoll_ctl(sinks->epoll_fd, EPOLL_CTL_MOD, sink->fd, &event) == 0 ||
                    epoll_ctl(sinks->epoll_fd, EPOLL_CTL_ADD, sink->fd, &event) == 0;
}

static void sink_advance(struct sink *sink, size_t length)
{
    sink->inside = sink->pending[length - 1] != '\n';
    sink->length -= length;
    memmove(sink->pending, sink->pending + length, sink->length);
}

static void report_loss(struct sinks *sinks, struct sink *sink, const char *reason);

/* Writes what waits. An error loses it all, and tears a line that was written in part (LOG-6). */
static void sink_flush(struct sinks *sinks, struct sink *sink)
{
    while (sink->length > 0 && !sink->blocked) {
        ssize_t written = sink_write(sink);
        if (written > 0) {
            sink_advance(sink, (size_t)written);
        } else if (written < 0 && errno == EAGAIN) {
            watch_sink(sinks, sink);
        } else if (written == 0 || errno != EINTR) {
            sink->length = 0;
            sink->torn = sink->inside;
            report_loss(sinks, sink, strerror(errno));
        }
    }
}

/* Takes a line, to be written at the end of the round; or loses it, where too much waits. */
static void put(struct sinks *sinks, enum sink_name name, const char *line, size_t length)
{
    struct sink *sink = &sinks->all[name];
    if (sink->length + length + 1 > MAX_PENDING)
        sink_flush(sinks, sink);
    if (sink->length + length + 1 > MAX_PENDING) {
        report_loss(sinks, sink, "not read");
        return;
    }
    if (sink->torn)
        sink->pending[sink->length++] = '\n';
    sink->torn = false;
    memcpy(sink->pending + sink->length, line, length);
    sink->length += length;
}

/* Says once on standard error that lines are lost; where that is not read, it is lost itself. */
static void report_loss(struct sinks *sinks, struct sink *sink, const char *reason)
{
    char line[MAX_ERROR];
    if (sink->said)
        return;
    sink->said = true;
    snprintf(line, sizeof line, "chat-server: lines for %.1000s are lost: %s\n", sink->name,
             reason);
    put(sinks, STANDARD_ERROR, line, strlen(line));
}

static void flush_sinks(struct sinks *sinks)
{
    for (int i = 0; i < SINKS; i++)
        sink_flush(sinks, &sinks->all[i]);
}

/* Writes what waits as long as it is taken, for a moment at the most (STOP-3), and closes. */
static void finish_sinks(struct sinks *sinks)
{
    int64_t until = now_ms() + PENDING_TIME, left;
    for (struct sink *sink = sinks->all; sink < sinks->all + SINKS; sink++) {
        struct pollfd room = {.fd = sink->fd, .events = POLLOUT};
        sink_flush(sinks, sink);
        while (sink->blocked && (left = until - now_ms()) > 0 && poll(&room, 1, (int)left) != 0) {
            sink->blocked = false;
            sink_flush(sinks, sink);
        }
        if (sink->length > 0)
            report_loss(sinks, sink, "not read");
        if (sink->fd > STDERR_FILENO)
            close(sink->fd);
    }
}

/* An address in figures (PROG-3). One of IPv4 that IPv6 has mapped is written as IPv4. */
static void format_address(char text[MAX_ADDRESS], const union address *address)
{
    const struct in6_addr *v6 = &address->v6.sin6_addr;
    bool is_v6 = address->any.sa_family == AF_INET6;
    bool is_mapped = is_v6 && IN6_IS_ADDR_V4MAPPED(v6);
    const void *host = !is_v6      ? (const void *)&address->v4.sin_addr
                       : is_mapped ? (const void *)&v6->s6_addr[12]
                                   : (const void *)v6;
    char figures[INET6_ADDRSTRLEN] = "";
    inet_ntop(is_v6 && !is_mapped ? AF_INET6 : AF_INET, host, figures, sizeof figures);
    int port = ntohs(is_v6 ? address->v6.sin6_port : address->v4.sin_port);
    snprintf(text, MAX_ADDRESS, strchr(figures, ':') ? "[%s]:%d" : "%s:%d", figures, port);
}

/* A line of the log that is being written. */
struct record {
    size_t length;
    char bytes[MAX_LOGGED];
};

static void record_put(struct record *record, const char *bytes, size_t length)
{
    length = least(length, sizeof record->bytes - record->length);
    memcpy(record->bytes + record->length, bytes, length);
    record->length += length;
}

static void __attribute__((format(printf, 2, 3)))
record_add(struct record *record, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t room = sizeof record->bytes - record->length;
    int length = vsnprintf(record->bytes + record->length, room, format, arguments);
    va_end(arguments);
    record->length += least((size_t)length, room - 1);
}

/* One character of a JSON text, escaped where it has to be. */
static void record_add_character(struct record *record, const char *bytes, size_t length,
                                 uint32_t code)
{
    if (code == '"' || code == '\\')
        record_add(record, "\\%c", (int)code);
    else if (code == '\t')
        record_add(record, "\\t");
    else if (is_control(code))
        record_add(record, "\\u%04x", code);
    else
        record_put(record, bytes, length);
}

/* A field, where there is a value. Only a path can hold what is not UTF-8; U+FFFD replaces it. */
static void record_add_field(struct record *record, const char *key, const char *value)
{
    uint32_t code;
    if (!value)
        return;
    record_add(record, "%s\"%s\":\"", record->length > 0 ? "," : "{", key);
    for (size_t length, left = strlen(value); left > 0; left -= length, value += length) {
        length = character_length(*value);
        bool valid = length > 0 && length <= left && decode(value, length, &code);
        if (!valid)
            length = 1;
        record_add_character(record, valid ? value : "\xEF\xBF\xBD", valid ? length : 3,
                             valid ? code : 0xFFFD);
    }
    record_add(record, "\"");
}

/* The time of day as RFC 3339 writes it, in UTC. */
static void format_time(char text[MAX_ADDRESS])
{
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t length = strftime(text, MAX_ADDRESS, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text + length, MAX_ADDRESS - length, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

/* A line for the log, where there is one. */
static void log_event(struct sinks *sinks, struct event event)
{
    struct record record;
    char time[MAX_ADDRESS], addr[MAX_ADDRESS];
    if (sinks->all[LOG_FILE].fd < 0)
        return;
    record.length = 0;
    format_time(time);
    if (event.addr)
        format_address(addr, event.addr);
    record_add_field(&record, "time", time);
    record_add_field(&record, "level", event.level ? event.level : "INFO");
    record_add_field(&record, "msg", event.msg);
    record_add_field(&record, "name", event.name);
    record_add_field(&record, "to", event.to);
    record_add_field(&record, "text", event.text);
    record_add_field(&record, "addr", event.addr ? addr : NULL);
    record_add_field(&record, "reason", event.reason);
    record_add_field(&record, "error", event.error);
    record_add(&record, "}\n");
    put(sinks, LOG_FILE, record.bytes, record.length);
}

static void __attribute__((format(printf, 2, 3)))
log_error(struct sinks *sinks, const char *format, ...)
{
    char error[MAX_ERROR];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, sizeof error, format, arguments);
    va_end(arguments);
    log_event(sinks, (struct event){.level = "ERROR", .msg = "error", .error = error});
}

/* O_NONBLOCK is for a FIFO: without it, to open one that is not read would wait. */
static int open_log_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
}

/* Opens the log, or ends the program. */
static void open_log(struct sinks *sinks, const char *path)
{
    sinks->all[LOG_FILE].name = path;
    sinks->all[LOG_FILE].fd = open_log_file(path);
    if (sinks->all[LOG_FILE].fd >= 0)
        return;
    fprintf(stderr, "cannot open log %s: %s\n", path, strerror(errno));
    exit(EXIT_FAILURE);
}

/* Opens the log anew, as logrotate has renamed it; where that fails, the old one stays. */
static void reopen_log(struct sinks *sinks)
{
    struct sink *sink = &sinks->all[LOG_FILE];
    int fd = open_log_file(sink->name);
    if (fd < 0) {
        log_error(sinks, "cannot open log %s: %s", sink->name, strerror(errno));
        return;
    }
    sink_flush(sinks, sink);
    const char *end = sink->inside ? memchr(sink->pending, '\n', sink->length) : NULL;
    if (end) /* the rest of a line belongs to the old file */
        sink_advance(sink, (size_t)(end + 1 - sink->pending));
    close(sink->fd);
    sink->fd = fd;
    sink->blocked = sink->torn = sink->inside = false;
}
